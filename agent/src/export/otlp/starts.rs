//! Since when each sum counts. A collector that makes differences of sums takes the whole of a sum which began after the
//! collector itself, and a sum that falls without a new start is one that OTLP does not allow.

use std::hash::{Hash, Hasher};

use ::prometheus::proto::{self, MetricFamily, MetricType};
use rustc_hash::{FxHashMap, FxHasher};

use crate::export::metrics::{self as table, METRICS};

/// Sums that others count: their zero is long before the agent, and is not known here.
const ELSEWHERE: &[&str] = &[
    table::PROCESS_CPU.name,
    table::PROCESS_FAULTS.name,
    table::PROCESS_DISK.name,
    table::CGROUP_THROTTLED.name,
    table::CGROUP_THROTTLED_PERIODS.name,
    table::CGROUP_OOM_KILLS.name,
    table::GPU_ENERGY.name,
    // The driver counts those of ECC.
    table::GPU_ERRORS.name,
];
/// OTLP's word for a start that is not known.
const UNKNOWN: u64 = 0;

#[derive(Debug, Clone, Copy)]
struct Sum {
    value: f64,
    start_ns: u64,
}

/// The sums of the export before: as many as it had, for what is gone is not remembered.
#[derive(Debug)]
pub struct Starts {
    sums: FxHashMap<u64, Sum>,
    /// When they were read; before the first export, when the agent began.
    read_ns: u64,
}

impl Starts {
    /// All sums begin at `began_ns`, Unix nanoseconds.
    pub fn new(began_ns: u64) -> Self {
        Self { sums: FxHashMap::default(), read_ns: began_ns }
    }

    /// The start of every series of these families, which were read at `read_ns`, in their order. A sum that was not there
    /// before, or was more, has begun since.
    pub fn turn(&mut self, families: &[MetricFamily], read_ns: u64) -> Vec<Vec<u64>> {
        let mut now = FxHashMap::with_capacity_and_hasher(self.sums.len(), Default::default());
        let starts = families.iter().map(|family| self.of(family, &mut now)).collect();
        (self.sums, self.read_ns) = (now, read_ns);
        starts
    }

    fn of(&self, family: &MetricFamily, now: &mut FxHashMap<u64, Sum>) -> Vec<u64> {
        let rows = family.get_metric();
        let value = match family.get_field_type() {
            MetricType::COUNTER => |row: &proto::Metric| row.get_counter().get_value(),
            MetricType::HISTOGRAM => |row: &proto::Metric| row.get_histogram().get_sample_count() as f64,
            _ => return vec![UNKNOWN; rows.len()],
        };
        if ELSEWHERE.contains(&family.name()) {
            return vec![UNKNOWN; rows.len()];
        }
        // Others come behind these once the pod of a service is known: it is the same series.
        let own = METRICS.iter().find(|metric| metric.name == family.name()).map(|metric| metric.labels.len());
        let start = |row: &proto::Metric| {
            let (key, value) = (key(family.name(), row, own), value(row));
            let before = self.sums.get(&key).filter(|before| before.value <= value);
            let start_ns = before.map_or(self.read_ns, |before| before.start_ns);
            now.insert(key, Sum { value, start_ns });
            start_ns
        };
        rows.iter().map(start).collect()
    }
}

/// Stands for a series. Two with the same would only begin when the other does.
fn key(family: &str, row: &proto::Metric, own: Option<usize>) -> u64 {
    let mut hasher = FxHasher::default();
    family.hash(&mut hasher);
    for label in row.get_label().iter().take(own.unwrap_or(usize::MAX)) {
        (label.name(), label.value()).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{family::Family, metrics::Kind};

    #[test]
    fn sums_of_the_kernel_and_of_drivers_are_told_from_those_of_the_agent() {
        for metric in METRICS.iter().filter(|metric| metric.kind != Kind::Gauge) {
            let theirs = ["/proc/PID/", "cgroup", "NVML"].iter().any(|source| metric.source.starts_with(source));
            // Calls that failed are counted by the agent.
            let theirs = theirs && metric.name != table::NVML_ERRORS.name;
            assert_eq!(ELSEWHERE.contains(&metric.name), theirs, "{}", metric.name);
        }
    }

    #[test]
    fn no_more_is_remembered_than_was_exported() {
        let mut starts = Starts::new(1);
        for read_ns in 2..5 {
            let mut calls = Family::new(&table::SYSCALLS);
            (0..100).for_each(|pid| calls.add(&["a", &format!("{read_ns}-{pid}"), "comm", "read"], 1.0));
            starts.turn(&[calls.finish().unwrap()], read_ns);
            assert_eq!(starts.sums.len(), 100);
        }
        starts.turn(&[], 5);
        assert!(starts.sums.is_empty());
    }
}
