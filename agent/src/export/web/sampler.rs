//! Reads the counters of live services every two seconds, for rates and for what was in flight; and what the agent itself
//! did in the last half minute. Keeps nothing of requests.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use inferscope_abi::{STATE_ONCPU, STATE_RUNQUEUE};
use rustc_hash::FxHashSet;

use super::{source::Source, steps::Reading};
use crate::{clock::monotonic_ns, shared::Live};

const EVERY: Duration = Duration::from_secs(2);
/// Samples of the agent that are kept: half a minute.
const KEPT: usize = 16;

/// The agent at one instant.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ns: u64,
    events: u64,
    cpu_s: Option<f64>,
}

/// What the agent did lately.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<VecDeque<Sample>>);

/// Rates of the agent over the last half minute; None until there are two samples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    pub events_per_s: Option<f64>,
    pub cpu_cores: Option<f64>,
}

impl Pulse {
    fn add(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The rates as of the last sample.
    pub fn rates(&self) -> Rates {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else { return Rates::default() };
        let seconds = last.at_ns.saturating_sub(first.at_ns) as f64 / 1e9;
        if seconds <= 0.0 {
            return Rates::default();
        }
        let cpu = first.cpu_s.zip(last.cpu_s).map(|(first, last)| (last - first).max(0.0) / seconds);
        Rates { events_per_s: Some(last.events.saturating_sub(first.events) as f64 / seconds), cpu_cores: cpu }
    }
}

/// LLM and other requests in flight by service.
pub fn in_flight(live: &Live) -> BTreeMap<String, u64> {
    let mut by_service = BTreeMap::new();
    for ((service, _), requests) in live.snapshot().in_flight {
        *by_service.entry(service).or_default() += requests;
    }
    by_service
}

/// One sample of everything.
pub fn sample(source: &dyn Source, pulse: &Pulse) {
    let (services, now_ns) = (source.services(), monotonic_ns());
    let in_flight = in_flight(source.live());
    for service in services.iter() {
        let counters = source.counters(service.index).map(|now| Reading {
            at_ns: now.at_ns,
            oncpu_ns: now.state_ns[STATE_ONCPU],
            runqueue_ns: now.state_ns[STATE_RUNQUEUE],
        });
        let requests = in_flight.get(&service.name).copied().unwrap_or(0);
        source.history().read(&service.name, now_ns, requests, counters);
    }
    source.history().retire(&services.iter().map(|service| service.name.as_str()).collect::<FxHashSet<_>>(), now_ns);
    let events = source.live().events().map(|(_, count)| count).sum();
    let cpu_s = source.own().map(|own| own.cpu_user_seconds + own.cpu_system_seconds);
    pulse.add(Sample { at_ns: now_ns, events, cpu_s });
}

/// Samples for as long as it is polled.
pub async fn run(source: &dyn Source, pulse: &Pulse) -> Infallible {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        sample(source, pulse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_want_two_samples() {
        let pulse = Pulse::default();
        assert_eq!(pulse.rates(), Rates::default());
        let at = |seconds: u64, cpu_s| Sample { at_ns: seconds * 1_000_000_000, events: 100 * seconds, cpu_s };
        pulse.add(at(1, None));
        assert_eq!(pulse.rates(), Rates::default());
        (2..50).for_each(|n| pulse.add(at(n, Some(n as f64 / 4.0))));
        assert_eq!(pulse.rates(), Rates { events_per_s: Some(100.0), cpu_cores: Some(0.25) });
        assert_eq!(pulse.0.lock().unwrap().len(), KEPT);
    }
}
