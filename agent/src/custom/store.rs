//! The series of the custom metrics: written once per finished request, read by scrapes, bounded for each metric.

use std::cell::LazyCell;

use ::prometheus::proto::MetricFamily;
use rustc_hash::FxHashMap;

use super::{Rule, Rules, Source};
use crate::{
    config::CustomKind,
    correlate::Request,
    discover::matches_pattern,
    export::{
        family::Family,
        metrics::{Kind, Metric},
        requests::{OTHER, buckets::Buckets, label},
    },
    privacy,
    session::wanted::Value,
};

#[derive(Debug)]
enum Series {
    /// A counter's or a gauge's.
    Number(f64),
    Histogram(Buckets),
}

#[derive(Debug)]
struct Custom {
    rule: Rule,
    metric: &'static Metric,
    /// By the values of service and labels.
    series: FxHashMap<Vec<String>, Series>,
}

/// All custom metrics.
#[derive(Debug, Default)]
pub struct CustomMetrics {
    metrics: Vec<Custom>,
    /// Requests over a metric's cap of label sets.
    pub overflow: u64,
    /// Values that were there and cannot be used: no number, or less than nothing for a counter.
    pub unusable: u64,
}

impl CustomMetrics {
    /// Without a series yet. To be made once: the names stay in memory for as long as the process lives.
    pub fn new(rules: &Rules) -> Self {
        let metrics = rules.rules.iter().map(|rule| Custom {
            metric: {
                let labels = std::iter::once("service").chain(rule.labels.iter().map(|(name, _)| name.as_str()));
                table_row(&rule.name, &rule.help, rule.kind, labels, &rule.edges)
            },
            rule: rule.clone(),
            series: FxHashMap::default(),
        });
        Self { metrics: metrics.collect(), ..Self::default() }
    }

    /// Adds a finished request.
    pub fn observe(&mut self, request: &Request) {
        if self.metrics.is_empty() || request.role == "client" {
            return;
        }
        // Made once, and only if a metric of this service wants a field of it.
        let record = LazyCell::new(|| serde_json::to_value(request).ok());
        let read = |source: &Source| match source {
            Source::Field(_) => source.value(request, None),
            Source::Record(_) => source.value(request, record.as_ref()),
        };
        for custom in &mut self.metrics {
            let Custom { rule, metric, series } = custom;
            if rule.service.as_deref().is_some_and(|wanted| !matches_pattern(wanted, &request.service)) {
                continue;
            }
            let amount = match &rule.value {
                None => 1.0,
                Some(source) => {
                    let Some(value) = read(source) else { continue };
                    let usable = |number: &f64| rule.kind != CustomKind::Counter || *number >= 0.0;
                    let Some(number) = value.number().filter(usable) else {
                        self.unusable += 1;
                        continue;
                    };
                    number
                }
            };
            let values = rule.labels.iter().map(|(_, source)| read(source));
            // What a client sends as its name may be a key, by mistake or not: metrics are no place for it.
            let text = |value: Value| label(&privacy::name(&value.text()));
            let texts = values.map(|value| value.map(text).unwrap_or_default());
            let mut key: Vec<String> = std::iter::once(request.service.clone()).chain(texts).collect();
            if series.len() >= rule.max_series && !series.contains_key(&key) {
                key.fill(OTHER.to_owned());
                self.overflow += 1;
            }
            let first = || match rule.kind {
                CustomKind::Histogram => Series::Histogram(Buckets::new(metric)),
                _ => Series::Number(0.0),
            };
            match series.entry(key).or_insert_with(first) {
                Series::Histogram(buckets) => buckets.observe(metric, amount),
                Series::Number(number) if rule.kind == CustomKind::Counter => *number += amount,
                Series::Number(number) => *number = amount,
            }
        }
    }

    /// Drops the series of a service that has ended.
    pub fn forget(&mut self, service: &str) {
        for custom in &mut self.metrics {
            custom.series.retain(|key, _| key.first().is_none_or(|of| of != service));
        }
    }

    /// Their families.
    pub fn families(&self) -> Vec<MetricFamily> {
        let family = |custom: &Custom| {
            let mut family = Family::new(custom.metric);
            for (key, series) in &custom.series {
                let labels: Vec<&str> = key.iter().map(String::as_str).collect();
                match series {
                    Series::Number(number) => family.add(&labels, *number),
                    Series::Histogram(buckets) => buckets.write(&mut family, custom.metric, &labels),
                }
            }
            family.finish()
        };
        self.metrics.iter().filter_map(family).collect()
    }
}

/// The metric as the table has others. Leaked: tables live for ever, and this is called once for each.
pub(super) fn table_row<'a>(
    name: &str,
    help: &str,
    kind: CustomKind,
    labels: impl Iterator<Item = &'a str>,
    edges: &[f64],
) -> &'static Metric {
    let text = |text: &str| -> &'static str { Box::leak(Box::from(text)) };
    let labels: Vec<&'static str> = labels.map(text).collect();
    let kind = match kind {
        CustomKind::Counter => Kind::Counter,
        CustomKind::Gauge => Kind::Gauge,
        CustomKind::Histogram => Kind::Histogram,
    };
    Box::leak(Box::new(Metric {
        name: text(name),
        kind,
        unit: "",
        labels: Box::leak(labels.into()),
        help: text(help),
        source: "the configuration",
        buckets: Box::leak(edges.into()),
    }))
}
