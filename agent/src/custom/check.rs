//! One definition of a custom metric, checked: names that Prometheus takes and nobody has, edges that ascend, places
//! that can be had.

use super::{
    Rule,
    place::{self, Use},
};
use crate::{
    config::{Custom, CustomKind},
    export::metrics::METRICS,
    session::wanted::Wanted,
};

/// Labels that series have anyway.
const TAKEN: [&str; 9] =
    ["service", "service_group", "le", "quantile", "namespace", "pod", "container", "job", "instance"];
const LABELS: usize = 8;
const EDGES: usize = 64;
/// What Prometheus puts behind a histogram's name.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// All that is wrong with it, or the rule.
pub(super) fn rule(defined: &Custom, wanted: &mut Wanted) -> Result<Rule, Vec<String>> {
    let mut wrong = figures(defined);
    let only = [("scope", defined.scope.is_some()), ("scale", defined.scale.is_some())];
    let only = only.into_iter().filter(|(_, is_set)| *is_set);
    wrong.extend(only.map(|(key, _)| format!("`{key}` goes with `from`, and a metric of requests has none")));
    let mut source = |text: &str, used| match place::source(text, used, wanted) {
        Ok(source) => Some(source),
        Err(reason) => {
            wrong.push(reason);
            None
        }
    };
    let value = defined.value.as_deref().and_then(|text| source(text, Use::Figure));
    let sources = defined.labels.iter().filter_map(|(name, text)| Some((name.clone(), source(text, Use::Label)?)));
    let labels = sources.collect();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(Rule {
        name: defined.name.clone(),
        help: help(defined),
        kind: defined.kind,
        service: defined.service.clone(),
        value,
        labels,
        edges: defined.buckets.0.clone(),
        max_series: defined.max_series as usize,
    })
}

/// All that is wrong with its name, its labels' names, its buckets and its kind.
pub(super) fn figures(defined: &Custom) -> Vec<String> {
    let mut wrong = Vec::from_iter(name(defined));
    wrong.extend(edges(defined));
    wrong.extend(labels(defined));
    if defined.value.is_none() && defined.kind != CustomKind::Counter {
        wrong.push("a gauge and a histogram need a `value`; only a counter counts without".to_owned());
    }
    wrong
}

pub(super) fn help(defined: &Custom) -> String {
    if defined.help.is_empty() { "A metric of the configuration.".to_owned() } else { defined.help.clone() }
}

fn is_name(text: &str, colons: bool) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || colons && c == ':';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn name(defined: &Custom) -> Option<String> {
    let name = defined.name.as_str();
    let base = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    if !is_name(name, true) {
        return Some(format!("`{name}` is no name of a metric: letters, digits and _"));
    }
    if METRICS.iter().any(|metric| metric.name == name || metric.name == base) || name.starts_with("inferscope_") {
        return Some(format!("`{name}` is a name of inferscope's own: take another one"));
    }
    match (defined.kind, name.ends_with("_total")) {
        (CustomKind::Counter, false) => Some(format!("the name of a counter ends in _total: `{name}_total`")),
        (CustomKind::Gauge | CustomKind::Histogram, true) => {
            Some(format!("`{name}` ends in _total, as only counters do"))
        }
        _ => SUFFIXES
            .iter()
            .find(|suffix| name.ends_with(*suffix))
            .map(|suffix| format!("`{name}` ends in {suffix}, which histograms put behind their name")),
    }
}

fn edges(defined: &Custom) -> Option<String> {
    let edges = &defined.buckets.0;
    match defined.kind {
        CustomKind::Histogram if edges.is_empty() => {
            Some("a histogram needs `buckets`, such as [0.1, 1, 10]".to_owned())
        }
        CustomKind::Histogram if edges.len() > EDGES => Some(format!("there are {EDGES} buckets at most")),
        CustomKind::Histogram if !edges.iter().all(|edge| edge.is_finite()) || !edges.is_sorted_by(|a, b| a < b) => {
            Some("`buckets` are finite numbers, each larger than the one before".to_owned())
        }
        CustomKind::Counter | CustomKind::Gauge if !edges.is_empty() => {
            Some("only a histogram has `buckets`".to_owned())
        }
        _ => None,
    }
}

fn labels(defined: &Custom) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in defined.labels.keys() {
        if !is_name(name, false) || name.starts_with("__") {
            wrong.push(format!("`{name}` is no name of a label: letters, digits and _"));
        } else if TAKEN.contains(&name.as_str()) || name.starts_with("label_") {
            wrong.push(format!("series have a label `{name}` already, or get one: take another name"));
        }
    }
    if defined.labels.len() > LABELS {
        wrong.push(format!("there are {LABELS} labels at most"));
    }
    wrong
}
