//! How many changes there were of each kind, by service, and when the last one was. Bounded: those of services over the
//! cap are counted under `_other`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ::prometheus::proto::MetricFamily;
use rustc_hash::FxHashMap;

use crate::{
    events::Event,
    export::{family::Family, metrics, requests::OTHER},
};

/// Services times kinds that are told apart.
const SERIES: usize = 4096;

#[derive(Debug, Default)]
struct State {
    /// How many, and Unix time of the last in nanoseconds.
    counts: FxHashMap<(String, &'static str), (u64, u64)>,
    overflow: u64,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counts(Mutex<State>);

impl Counts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a change. What is no service's has an empty name.
    pub fn count(&self, event: &Event) {
        let mut state = self.state();
        let mut key = (event.service.clone().unwrap_or_default(), event.name);
        if state.counts.len() >= SERIES && !state.counts.contains_key(&key) {
            key.0 = OTHER.to_owned();
            state.overflow += 1;
        }
        let (count, last_ns) = state.counts.entry(key).or_default();
        *count += 1;
        *last_ns = event.unix_ns.max(*last_ns);
    }

    /// Drops the counts of a service that has ended.
    pub fn forget(&self, service: &str) {
        self.state().counts.retain(|(of, _), _| of != service);
    }

    /// Changes counted under `_other`.
    pub fn overflow(&self) -> u64 {
        self.state().overflow
    }

    /// Their families.
    pub fn families(&self) -> impl Iterator<Item = MetricFamily> {
        let mut changes = Family::new(&metrics::CHANGES);
        let mut last = Family::new(&metrics::LAST_CHANGE);
        for ((service, change), (count, last_ns)) in &self.state().counts {
            changes.add(&[service, change], *count as f64);
            last.add(&[service, change], *last_ns as f64 / 1e9);
        }
        [changes, last].into_iter().filter_map(Family::finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Severity, Topic};

    #[test]
    fn what_is_over_the_cap_is_counted() {
        let counts = Counts::default();
        let change = |service: &str| Event::new(Topic::Change, "start", Severity::Info).of(service, 1);
        (0..SERIES + 3).for_each(|n| counts.count(&change(&n.to_string())));
        counts.count(&Event { unix_ns: 5_500_000_000, ..change("7") });
        assert_eq!((counts.overflow(), counts.state().counts[&("7".to_owned(), "start")].0), (3, 2));
        assert_eq!(counts.state().counts[&(OTHER.to_owned(), "start")].0, 3);
        counts.forget("7");
        counts.forget("8");
        counts.count(&Event { unix_ns: 5_500_000_000, ..change("new") });
        let text = ::prometheus::TextEncoder::new().encode_to_string(&counts.families().collect::<Vec<_>>()).unwrap();
        assert!(text.contains("inferscope_last_change_timestamp_seconds{service=\"new\",change=\"start\"} 5.5\n"));
        assert!(!text.contains("service=\"7\""));
    }
}
