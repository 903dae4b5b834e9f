//! Metrics of the operator's own: `[[metrics.custom]]`. What they mean is in [`crate::custom`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A metric that is made of requests, or of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    pub name: String,
    #[serde(default)]
    pub help: String,
    #[serde(rename = "type")]
    pub kind: CustomKind,
    /// Where the events come from, in the words of [`crate::custom::probes`]; requests if not set.
    pub from: Option<String>,
    /// Whose events; of probes only.
    pub scope: Option<Scope>,
    /// Pattern of the services' names; all if not set.
    pub service: Option<String>,
    /// What is added, set or observed. A counter without it counts requests.
    pub value: Option<String>,
    /// What one of the kernel's numbers is in the unit of the metric; of probes only.
    pub scale: Option<Scale>,
    /// Where the value of each label is, by the label's name.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub buckets: Edges,
    #[serde(default = "max_series")]
    pub max_series: u32,
}

/// Prometheus's type of a custom metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CustomKind {
    Counter,
    Gauge,
    Histogram,
}

/// Whose events a probe counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Of watched services, each by its name.
    Services,
    /// Of every process of the host.
    Host,
}

/// A factor above zero.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scale(pub f64);

impl PartialEq for Scale {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Scale {}

/// Upper edges of a histogram's buckets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Edges(pub Vec<f64>);

impl PartialEq for Edges {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|edge| edge.to_bits()).eq(other.0.iter().map(|edge| edge.to_bits()))
    }
}

impl Eq for Edges {}

fn max_series() -> u32 {
    100
}
