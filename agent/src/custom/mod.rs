//! Metrics of the operator's own, made without a line of code: counts, gauges and histograms of requests (a header, a
//! place in a body, a field of the record) and of probes (tracepoints, functions, USDT; see `probes`). All is checked when the configuration is read; what could publish a
//! secret, or what people write, is refused.
#![forbid(unsafe_code)]

mod check;
mod place;
pub mod probes;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{
    config::{Custom, CustomKind},
    correlate::Request,
    session::wanted::{FieldId, Value, Wanted},
};

pub use probes::{ProbeRules, Probes};
pub use store::CustomMetrics;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// Of a header or a body.
    Field(FieldId),
    /// Names on the way to a field of the record.
    Record(Vec<String>),
}

/// A metric, checked.
#[derive(Clone, Debug)]
struct Rule {
    name: String,
    help: String,
    kind: CustomKind,
    service: Option<String>,
    value: Option<Source>,
    /// Names, and where their values are.
    labels: Vec<(String, Source)>,
    edges: Vec<f64>,
    max_series: usize,
}

/// All custom metrics of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    probes: ProbeRules,
    wanted: Arc<Wanted>,
}

impl Rules {
    /// Errors: what is wrong with which of them, counted from 0, in sentences.
    pub fn new(defined: &[Custom]) -> Result<Self, Vec<(usize, String)>> {
        let (mut rules, mut probes, mut wanted) = (Vec::new(), Vec::new(), Wanted::default());
        let mut wrong = Vec::new();
        for (at, one) in defined.iter().enumerate() {
            if defined[..at].iter().any(|before| before.name == one.name) {
                wrong.push((at, format!("there is a metric `{}` before this one", one.name)));
                continue;
            }
            let checked = match &one.from {
                Some(from) => probes::rule(at, one, from).map(|rule| probes.push(rule)),
                None => check::rule(one, &mut wanted).map(|rule| rules.push(rule)),
            };
            wrong.extend(checked.err().into_iter().flatten().map(|reason| (at, reason)));
        }
        let probes = ProbeRules::new(probes).unwrap_or_else(|reason| {
            wrong.push(reason);
            ProbeRules::default()
        });
        if wrong.is_empty() { Ok(Self { rules, probes, wanted: Arc::new(wanted) }) } else { Err(wrong) }
    }

    /// Those that are made of probes.
    pub fn probes(&self) -> &ProbeRules {
        &self.probes
    }

    /// What must be read of requests for them.
    pub fn wanted(&self) -> Arc<Wanted> {
        Arc::clone(&self.wanted)
    }
}

impl Source {
    /// `record` is the request as JSON.
    fn value(&self, request: &Request, record: Option<&serde_json::Value>) -> Option<Value> {
        match self {
            Source::Field(id) => request.fields.as_ref()?.get(*id).cloned(),
            Source::Record(path) => {
                let found = path.iter().try_fold(record?, |value, name| value.get(name))?;
                match found {
                    serde_json::Value::Bool(yes) => Some(Value::Bool(*yes)),
                    serde_json::Value::Number(number) => number.as_f64().map(Value::Number),
                    serde_json::Value::String(text) => Some(Value::Text(text.as_str().into())),
                    _ => None,
                }
            }
        }
    }
}
