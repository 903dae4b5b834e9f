//! Families built at a scrape from state that lives elsewhere, so that what is gone leaves no series behind.

use ::prometheus::proto;

use super::metrics::{Kind, Metric};

fn values(row: &proto::Metric) -> impl Iterator<Item = &str> {
    row.get_label().iter().map(proto::LabelPair::value)
}

/// A family under construction.
pub struct Family {
    metric: &'static Metric,
    rows: Vec<proto::Metric>,
}

impl Family {
    pub fn new(metric: &'static Metric) -> Self {
        Self { metric, rows: Vec::new() }
    }

    fn row(&self, labels: &[&str]) -> proto::Metric {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "{}", self.metric.name);
        let mut row = proto::Metric::default();
        let pairs = self.metric.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        row.set_label(pairs.collect());
        row
    }

    /// Adds a counter's or a gauge's value; labels in the order of the table.
    pub fn add(&mut self, labels: &[&str], value: f64) {
        let mut row = self.row(labels);
        if self.metric.kind == Kind::Counter {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            row.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            row.set_gauge(gauge);
        }
        self.rows.push(row);
    }

    /// Adds a value if there is one: what can't be seen has no series.
    pub fn add_some(&mut self, labels: &[&str], value: Option<f64>) {
        if let Some(value) = value {
            self.add(labels, value);
        }
    }

    /// Adds a histogram from counts per bucket (not cumulative; the last takes the rest) and upper edges.
    pub fn add_histogram(&mut self, labels: &[&str], edges: &[f64], counts: &[u64], sum: f64) {
        let mut row = self.row(labels);
        let mut histogram = proto::Histogram::default();
        let mut total = 0;
        let mut buckets = Vec::with_capacity(edges.len());
        for (edge, count) in edges.iter().zip(counts) {
            total += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*edge);
            bucket.set_cumulative_count(total);
            buckets.push(bucket);
        }
        total += counts.iter().skip(edges.len()).sum::<u64>();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(total);
        histogram.set_sample_sum(sum);
        row.set_histogram(histogram);
        self.rows.push(row);
    }

    /// The finished family, its series sorted by their labels; None if it has no series.
    pub fn finish(mut self) -> Option<proto::MetricFamily> {
        if self.rows.is_empty() {
            return None;
        }
        self.rows.sort_by(|a, b| values(a).cmp(values(b)));
        let mut family = proto::MetricFamily::default();
        family.set_name(self.metric.name.to_owned());
        family.set_help(self.metric.help.to_owned());
        family.set_field_type(match self.metric.kind {
            Kind::Counter => proto::MetricType::COUNTER,
            Kind::Gauge => proto::MetricType::GAUGE,
            Kind::Histogram => proto::MetricType::HISTOGRAM,
        });
        family.set_metric(self.rows);
        Some(family)
    }
}
