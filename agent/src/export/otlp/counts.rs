//! What became of exports and of what was in them. Written by the worker and by the queue, read by scrapes.

use std::sync::atomic::{AtomicU64, Ordering};

use ::prometheus::proto::MetricFamily;

use crate::export::{family::Family, metrics};

/// The three things that OTLP carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// What became of an export, or of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// Delivered, and the collector did not take all that was in it.
    Partial,
    /// The collector does not want it.
    Rejected,
    /// Given up.
    Undelivered,
    /// An attempt that is made again.
    Retried,
}

const SIGNALS: [(Signal, &str); 3] = [(Signal::Traces, "traces"), (Signal::Metrics, "metrics"), (Signal::Logs, "logs")];
const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Delivered, "delivered"),
    (Outcome::Partial, "partial"),
    (Outcome::Rejected, "rejected"),
    (Outcome::Undelivered, "undelivered"),
    (Outcome::Retried, "retried"),
];

impl Signal {
    /// Its name in paths and labels.
    pub fn name(self) -> &'static str {
        SIGNALS[self as usize].1
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests and events for which the queue had no room.
    pub queue: AtomicU64,
    /// Spans and log records that the collector did not take.
    pub rejected: AtomicU64,
    /// Spans and log records that were given up.
    pub undelivered: AtomicU64,
    /// Requests without spans, because their caller's trace is not sampled.
    pub unsampled: AtomicU64,
    exports: [[AtomicU64; OUTCOMES.len()]; SIGNALS.len()],
}

impl Counts {
    /// Counts an export or an attempt.
    pub fn export(&self, signal: Signal, outcome: Outcome) {
        self.exports[signal as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Exports with this outcome so far.
    pub fn exports(&self, signal: Signal, outcome: Outcome) -> u64 {
        self.exports[signal as usize][outcome as usize].load(Ordering::Relaxed)
    }

    /// Counts items that are lost. Points of metrics are none: the next export has their sums again.
    pub fn lose(&self, signal: Signal, place: &AtomicU64, items: u64) {
        if signal != Signal::Metrics {
            place.fetch_add(items, Ordering::Relaxed);
        }
    }

    /// What was lost so far, by place.
    pub fn losses(&self) -> [(&'static str, u64); 3] {
        let places =
            [("otlp_queue", &self.queue), ("otlp_rejected", &self.rejected), ("otlp_undelivered", &self.undelivered)];
        places.map(|(place, count)| (place, count.load(Ordering::Relaxed)))
    }

    /// Their families.
    pub fn families(&self) -> Vec<MetricFamily> {
        let mut exports = Family::new(&metrics::OTLP_EXPORTS);
        for (signal, name) in SIGNALS {
            for (outcome, word) in OUTCOMES {
                exports.add(&[name, word], self.exports(signal, outcome) as f64);
            }
        }
        let mut unsampled = Family::new(&metrics::OTLP_UNSAMPLED);
        unsampled.add(&[], self.unsampled.load(Ordering::Relaxed) as f64);
        [exports, unsampled].into_iter().filter_map(Family::finish).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_in_the_order_of_their_types() {
        assert!(SIGNALS.iter().enumerate().all(|(at, (signal, _))| *signal as usize == at));
        assert!(OUTCOMES.iter().enumerate().all(|(at, (outcome, _))| *outcome as usize == at));
    }

    #[test]
    fn points_of_metrics_are_no_loss() {
        let counts = Counts::default();
        counts.lose(Signal::Metrics, &counts.undelivered, 5);
        counts.lose(Signal::Traces, &counts.undelivered, 3);
        counts.export(Signal::Metrics, Outcome::Undelivered);
        assert_eq!(counts.losses(), [("otlp_queue", 0), ("otlp_rejected", 0), ("otlp_undelivered", 3)]);
        let text = ::prometheus::TextEncoder::new().encode_to_string(&counts.families()).unwrap();
        assert!(
            text.contains("inferscope_otlp_exports_total{signal=\"metrics\",outcome=\"undelivered\"} 1\n"),
            "{text}"
        );
    }
}
