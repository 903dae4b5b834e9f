//! The kernel side's rows of one metric, as a family: names in place of numbers, values in the metric's unit.

use std::collections::BTreeMap;

use ::prometheus::proto::MetricFamily;
use inferscope_abi::{CUSTOM_ALL, CUSTOM_OTHER, CUSTOM_TEXT_BYTES, CustomKey, CustomSums};
use rustc_hash::FxHashMap;

use super::ProbeRule;
use crate::{
    config::CustomKind,
    export::{
        family::Family,
        metrics::Metric,
        requests::{OTHER, label},
    },
    privacy,
};

#[derive(Default)]
struct Series {
    all: CustomSums,
    buckets: Vec<u64>,
}

impl Series {
    /// Rows with the same labels are one series: a service that was started again can have another index.
    fn add(&mut self, bucket: u16, sums: &CustomSums) {
        if bucket == CUSTOM_ALL {
            let all = &mut self.all;
            all.events += sums.events;
            all.sum = all.sum.wrapping_add(sums.sum);
            if sums.last_at_ns >= all.last_at_ns {
                (all.last, all.last_at_ns) = (sums.last, sums.last_at_ns);
            }
        } else if let Some(count) = self.buckets.get_mut(usize::from(bucket)) {
            *count += sums.events;
        }
    }
}

/// The family, None without series. `texts`: which of the labels are texts; `services`: names by index.
pub fn family<'a>(
    rule: &ProbeRule,
    metric: &'static Metric,
    texts: &[bool],
    rows: impl Iterator<Item = &'a (CustomKey, CustomSums)>,
    services: &FxHashMap<u32, String>,
) -> Option<MetricFamily> {
    let mut all: BTreeMap<Vec<String>, Series> = BTreeMap::new();
    for (key, sums) in rows {
        let Some(labels) = labels(rule, texts, key, services) else { continue };
        let fresh = || Series { buckets: vec![0; rule.edges.len() + 1], ..Series::default() };
        all.entry(labels).or_insert_with(fresh).add(key.bucket, sums);
    }
    let mut family = Family::new(metric);
    let value = |number: u64| number as i64 as f64 * rule.scale;
    for (labels, Series { all, buckets }) in &all {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        match rule.kind {
            CustomKind::Counter if rule.value.is_none() => family.add(&labels, all.events as f64),
            CustomKind::Counter => family.add(&labels, value(all.sum)),
            CustomKind::Gauge => family.add(&labels, value(all.last)),
            CustomKind::Histogram => family.add_histogram(&labels, metric.buckets, buckets, value(all.sum)),
        }
    }
    family.finish()
}

/// Values of service and labels; None: the service is nobody's any more.
fn labels(rule: &ProbeRule, texts: &[bool], key: &CustomKey, services: &FxHashMap<u32, String>) -> Option<Vec<String>> {
    let service = match key.service {
        _ if rule.host => None,
        CUSTOM_OTHER => Some(OTHER.to_owned()),
        index => Some(services.get(&index)?.clone()),
    };
    let one = |at: usize| match key.service {
        CUSTOM_OTHER => OTHER.to_owned(),
        _ if texts.get(at) == Some(&true) => text(&key.labels[at]),
        _ => (key.labels[at][0] as i64).to_string(),
    };
    Some(service.into_iter().chain((0..rule.labels.len()).map(one)).collect())
}

/// What a program or the kernel holds as a text may be anything: secrets of a known form are no labels.
fn text(words: &[u64; CUSTOM_TEXT_BYTES / 8]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    label(&privacy::name(&String::from_utf8_lossy(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, custom::Rules};
    use inferscope_abi::CUSTOM_ANYONE;

    fn rule(toml: &str) -> ProbeRule {
        let text = format!("[[metrics.custom]]\nfrom = \"tracepoint:a:b\"\n{toml}");
        let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        Rules::new(&config.metrics.custom).unwrap().probes().0[0].clone()
    }

    fn words(text: &str) -> [u64; CUSTOM_TEXT_BYTES / 8] {
        let mut bytes = [0; CUSTOM_TEXT_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        std::array::from_fn(|at| u64::from_ne_bytes(bytes[8 * at..8 * at + 8].try_into().unwrap()))
    }

    fn lines(rule: &ProbeRule, texts: &[bool], rows: &[(CustomKey, CustomSums)]) -> String {
        let services = FxHashMap::from_iter([(1, "a".to_owned()), (2, "b".to_owned()), (3, "a".to_owned())]);
        let family = family(rule, super::super::rule::table_row(rule), texts, rows.iter(), &services);
        let text = ::prometheus::TextEncoder::new().encode_to_string(&Vec::from_iter(family)).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    }

    fn row(service: u32, bucket: u16, label: [u64; 4], events: u64, sum: i64) -> (CustomKey, CustomSums) {
        let key = CustomKey { rule: 0, bucket, service, labels: [label, [0; 4], [0; 4], [0; 4]] };
        (key, CustomSums { events, sum: sum as u64, last: sum as u64, last_at_ns: events })
    }

    #[test]
    fn numbers_and_texts_of_the_kernel_become_labels() {
        let counter = rule("name = \"x_total\"\ntype = \"counter\"\nlabels = { what = \"field.f\" }");
        let minus = (-5_i64) as u64;
        let rows = [row(1, CUSTOM_ALL, [minus, 0, 0, 0], 2, 0), row(3, CUSTOM_ALL, [minus, 0, 0, 0], 3, 0)];
        assert_eq!(lines(&counter, &[false], &rows), "x_total{service=\"a\",what=\"-5\"} 5");
        let rows = [row(2, CUSTOM_ALL, words("worker"), 1, 0), row(9, CUSTOM_ALL, words("gone"), 1, 0)];
        assert_eq!(lines(&counter, &[true], &rows), "x_total{service=\"b\",what=\"worker\"} 1");
        let other = [row(CUSTOM_OTHER, CUSTOM_ALL, [0; 4], 7, 0)];
        assert_eq!(lines(&counter, &[true], &other), "x_total{service=\"_other\",what=\"_other\"} 7");
        let key = [row(1, CUSTOM_ALL, words("AKIAQ3EGRIZPLD5WKX7B"), 1, 0)];
        assert!(!lines(&counter, &[true], &key).contains("AKIAQ3"), "{}", lines(&counter, &[true], &key));
    }

    #[test]
    fn values_are_in_the_unit_of_the_metric() {
        let sum =
            rule("name = \"x_seconds_total\"\ntype = \"counter\"\nvalue = \"field.f\"\nscale = 1e-3\nscope = \"host\"");
        assert_eq!(lines(&sum, &[], &[row(CUSTOM_ANYONE, CUSTOM_ALL, [0; 4], 2, 1500)]), "x_seconds_total 1.5");
        let last = rule("name = \"x\"\ntype = \"gauge\"\nvalue = \"field.f\"");
        let rows = [row(1, CUSTOM_ALL, [0; 4], 9, -4), row(3, CUSTOM_ALL, [0; 4], 2, 8)];
        assert_eq!(lines(&last, &[], &rows), "x{service=\"a\"} -4");
        let histogram =
            rule("name = \"x\"\ntype = \"histogram\"\nvalue = \"field.f\"\nbuckets = [1, 2.5]\nscale = 0.5");
        let rows = [
            row(1, CUSTOM_ALL, [0; 4], 4, 30),
            row(1, 0, [0; 4], 1, 0),
            row(1, 1, [0; 4], 1, 0),
            row(1, 2, [0; 4], 2, 0),
            row(1, 77, [0; 4], 2, 0),
        ];
        assert_eq!(
            lines(&histogram, &[], &rows),
            "x_bucket{service=\"a\",le=\"1\"} 1\nx_bucket{service=\"a\",le=\"2.5\"} 2\n\
             x_bucket{service=\"a\",le=\"+Inf\"} 4\nx_sum{service=\"a\"} 15\nx_count{service=\"a\"} 4"
        );
    }
}
