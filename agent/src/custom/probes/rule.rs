//! One definition of a metric that is made of a probe, checked as far as that can be done without looking at the host.

use super::{
    super::{check, store},
    From,
    from::{File, Operand},
};
use crate::{
    config::{Custom, CustomKind, Scope},
    export::metrics::Metric,
};
use inferscope_abi::{
    CUSTOM_EDGES, CUSTOM_GAUGE, CUSTOM_HISTOGRAM, CUSTOM_HOST, CUSTOM_LABELS, CUSTOM_RISING, CUSTOM_VALUED, CustomRule,
    Place,
};

/// A metric, checked.
#[derive(Clone, Debug)]
pub struct ProbeRule {
    /// Which of the configuration's metrics it is, from 0.
    pub at: usize,
    pub name: String,
    pub help: String,
    pub kind: CustomKind,
    pub service: Option<String>,
    /// Events of every process, not of services only.
    pub host: bool,
    pub from: From,
    pub value: Option<Operand>,
    pub labels: Vec<(String, Operand)>,
    pub edges: Vec<f64>,
    /// The same as whole numbers of the kernel's.
    bucket_edges: Vec<i64>,
    /// What one of the kernel's is of the metric's unit.
    pub scale: f64,
    pub max_series: usize,
}

/// All that is wrong with it, or the rule.
pub fn rule(at: usize, defined: &Custom, from: &str) -> Result<ProbeRule, Vec<String>> {
    let mut wrong = check::figures(defined);
    let from = match From::parse(from) {
        Ok(from) => from,
        Err(reason) => {
            wrong.push(reason);
            return Err(wrong);
        }
    };
    let mut operand = |text: &str| from.operand(text).map_err(|reason| wrong.push(reason)).ok();
    let value = defined.value.as_deref().and_then(&mut operand);
    let labels: Vec<_> =
        defined.labels.iter().filter_map(|(name, text)| Some((name.clone(), operand(text)?))).collect();
    if value.as_ref().is_some_and(Operand::is_text) {
        wrong.push("a text is no value: take it for a label".to_owned());
    }
    if labels.len() > CUSTOM_LABELS {
        wrong.push(format!("a metric of a probe has {CUSTOM_LABELS} labels at most"));
    }
    let scale = defined.scale.as_ref().map_or(1.0, |scale| scale.0);
    let bucket_edges = whole(&defined.buckets.0, scale).unwrap_or_else(|reason| {
        wrong.push(reason);
        Vec::new()
    });
    let host = defined.scope == Some(Scope::Host);
    if host && defined.service.is_some() {
        wrong.push("`service` is of no use with scope = \"host\": its events are everybody's".to_owned());
    }
    if host && from.file().is_some_and(|file| !matches!(file, File::Path(_))) {
        wrong.push("scope = \"host\" needs a file of the host: an absolute path".to_owned());
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(ProbeRule {
        at,
        name: defined.name.clone(),
        help: check::help(defined),
        kind: defined.kind,
        service: defined.service.clone(),
        host,
        from,
        value,
        labels,
        edges: defined.buckets.0.clone(),
        bucket_edges,
        scale,
        max_series: defined.max_series as usize,
    })
}

/// Edges as the largest whole numbers that are not over them.
fn whole(edges: &[f64], scale: f64) -> Result<Vec<i64>, String> {
    if edges.len() > CUSTOM_EDGES {
        return Err(format!("the histogram of a probe has {CUSTOM_EDGES} buckets at most"));
    }
    // What divides to nearly a whole number is meant to be one: 0.3 / 0.1 is not 3.
    let number = |edge: &f64| (edge / scale * (1.0 + f64::EPSILON * 4.0 * edge.signum())).floor();
    let numbers: Vec<f64> = edges.iter().map(number).collect();
    if numbers.iter().any(|number| number.abs() >= i64::MAX as f64) {
        return Err("`buckets` divided by `scale` are larger than the kernel's numbers".to_owned());
    }
    if !numbers.is_sorted_by(|a, b| a < b) {
        return Err(format!("the kernel counts whole numbers of {scale}: two of the `buckets` are one to it"));
    }
    Ok(numbers.into_iter().map(|number| number as i64).collect())
}

impl ProbeRule {
    /// Whether it is made of a tracepoint.
    pub fn is_tracepoint(&self) -> bool {
        self.from.file().is_none()
    }

    /// Whether it is hung into programs as they appear.
    pub fn follows(&self) -> bool {
        self.from.file().is_some_and(|file| !matches!(file, File::Path(_)))
    }

    /// Rows of the kernel side for each series.
    pub fn rows_each(&self) -> u32 {
        let buckets = if self.kind == CustomKind::Histogram { self.edges.len() + 1 } else { 0 };
        1 + buckets as u32
    }

    /// What its value and its labels are, in the order of the kernel side's places.
    pub fn operands(&self) -> impl Iterator<Item = &Operand> {
        self.value.iter().chain(self.labels.iter().map(|(_, operand)| operand))
    }

    /// What a program takes of its events, where the places are found. `index`: its number among the rules.
    pub fn for_kernel(&self, index: usize, places: &[Place]) -> CustomRule {
        let (value, labels) = places.split_at(usize::from(self.value.is_some()));
        let mut rule = CustomRule {
            rule: index as u32,
            edges: self.bucket_edges.len() as u32,
            max_series: self.max_series as u32,
            value: value.first().copied().unwrap_or_default(),
            ..CustomRule::default()
        };
        rule.flags |= if self.host { CUSTOM_HOST } else { 0 };
        rule.flags |= if self.value.is_some() { CUSTOM_VALUED } else { 0 };
        rule.flags |= match self.kind {
            CustomKind::Counter => CUSTOM_RISING,
            CustomKind::Gauge => CUSTOM_GAUGE,
            CustomKind::Histogram => CUSTOM_HISTOGRAM,
        };
        rule.labels.iter_mut().zip(labels).for_each(|(to, place)| *to = *place);
        rule.bucket_edges.iter_mut().zip(&self.bucket_edges).for_each(|(to, edge)| *to = *edge);
        rule
    }
}

/// The metric as the table has others.
pub(super) fn table_row(rule: &ProbeRule) -> &'static Metric {
    let labels = rule.labels.iter().map(|(name, _)| name.as_str());
    let service = (!rule.host).then_some("service");
    store::table_row(&rule.name, &rule.help, rule.kind, service.into_iter().chain(labels), &rule.edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_whole_numbers_of_the_kernel() {
        assert_eq!(whole(&[0.001, 0.01, 1.0], 1e-9).unwrap(), [1_000_000, 10_000_000, 1_000_000_000]);
        assert_eq!(whole(&[0.3, 0.7], 0.1).unwrap(), [3, 7]);
        assert_eq!(whole(&[-1.5, 0.0, 1.5], 1.0).unwrap(), [-2, 0, 1]);
        assert!(whole(&[0.1, 0.2], 1.0).unwrap_err().contains("two of the `buckets`"));
        assert!(whole(&[1e30], 1.0).unwrap_err().contains("larger than"));
        assert!(whole(&[1.0; 33], 1.0).unwrap_err().contains("32 buckets"));
    }
}
