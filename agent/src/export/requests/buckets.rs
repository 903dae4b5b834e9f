//! A histogram that is being filled.

use crate::export::{family::Family, metrics::Metric};

/// Counts per bucket, not cumulative; the last count is what lies over the last edge.
#[derive(Debug, Clone)]
pub struct Buckets {
    pub counts: Box<[u64]>,
    pub sum: f64,
}

impl Buckets {
    /// No observation.
    pub fn new(metric: &Metric) -> Self {
        Self { counts: vec![0; metric.buckets.len() + 1].into(), sum: 0.0 }
    }

    /// Adds an observation.
    pub fn observe(&mut self, metric: &Metric, value: f64) {
        let at = metric.buckets.partition_point(|edge| *edge < value);
        self.counts[at] += 1;
        self.sum += value;
    }

    /// Adds the observations of another histogram with the same edges.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    /// Adds its series to the family; one without observations has none.
    pub fn write(&self, family: &mut Family, metric: &Metric, labels: &[&str]) {
        if self.counts.iter().any(|count| *count != 0) {
            family.add_histogram(labels, metric.buckets, &self.counts, self.sum);
        }
    }
}
