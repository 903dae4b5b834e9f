//! In which phase a service was at an instant: of the requests that were in work then, the one that matters most.

use rustc_hash::FxHashMap;

/// A phase, in the order in which they win over one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// A streamed request waits for its first content.
    Prefill,
    /// Between first content and end of a request.
    Decode,
    /// A request is in work that does not tell when its first token was made: not streamed, or ended without content.
    Whole,
    /// No request is in work.
    Idle,
}

/// Every phase.
pub const PHASES: [Phase; 4] = [Phase::Prefill, Phase::Decode, Phase::Whole, Phase::Idle];

impl Phase {
    /// What users read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Whole => "request",
            Self::Idle => "idle",
        }
    }
}

/// A request's times, CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub start_ns: u64,
    pub first_content_ns: Option<u64>,
    /// Its response is streamed, so that its first content will tell when its first token was made.
    pub streams: bool,
    /// None while it is in flight.
    pub end_ns: Option<u64>,
}

/// Requests that are kept at most.
const REQUESTS: usize = 500_000;

/// The phases of all services.
#[derive(Default)]
pub struct Phases {
    /// By service: the times of each phase but idle, from and to.
    spans: FxHashMap<String, [Vec<(u64, u64)>; 3]>,
    pub requests: usize,
    /// Requests for which there was no room: their time counts as idle.
    pub left_out: u64,
}

impl Phases {
    /// A request of a service.
    pub fn add(&mut self, service: &str, times: Times) {
        if self.requests >= REQUESTS {
            self.left_out += 1;
            return;
        }
        self.requests += 1;
        if !self.spans.contains_key(service) {
            self.spans.insert(service.to_owned(), Default::default());
        }
        let Some([prefill, decode, whole]) = self.spans.get_mut(service) else { return };
        let end = times.end_ns.unwrap_or(u64::MAX);
        match times.first_content_ns {
            Some(first) => {
                prefill.push((times.start_ns, first));
                decode.push((first, end));
            }
            None if times.streams && times.end_ns.is_none() => prefill.push((times.start_ns, end)),
            None => whole.push((times.start_ns, end)),
        }
    }

    /// Makes ready for questions: spans of one phase that touch become one.
    pub fn settle(&mut self) {
        for spans in self.spans.values_mut().flatten() {
            spans.sort_unstable();
            let mut joined: Vec<(u64, u64)> = Vec::new();
            for (from, to) in spans.drain(..) {
                match joined.last_mut() {
                    Some(last) if from <= last.1 => last.1 = last.1.max(to),
                    _ => joined.push((from, to)),
                }
            }
            *spans = joined;
        }
    }

    /// The phase of a service at an instant; after [`settle`](Self::settle).
    pub fn at(&self, service: &str, at_ns: u64) -> Phase {
        let Some(spans) = self.spans.get(service) else { return Phase::Idle };
        let inside = |spans: &Vec<(u64, u64)>| {
            let before = spans.partition_point(|span| span.0 <= at_ns);
            before.checked_sub(1).and_then(|last| spans.get(last)).is_some_and(|span| at_ns < span.1)
        };
        PHASES.into_iter().zip(spans).find(|(_, spans)| inside(spans)).map_or(Phase::Idle, |(phase, _)| phase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefill_wins_over_decode_over_the_rest() {
        let mut phases = Phases::default();
        let mut add = |start_ns, first_content_ns, end_ns| {
            phases.add("a", Times { start_ns, first_content_ns, streams: first_content_ns.is_some(), end_ns });
        };
        add(100, Some(200), Some(400));
        add(350, Some(380), Some(390));
        add(50, None, Some(600));
        add(900, Some(950), None);
        phases.settle();
        let got: Vec<_> = [49, 50, 100, 199, 200, 349, 350, 379, 380, 399, 400, 599, 600, 899, 900, 950, 1 << 60]
            .map(|at| phases.at("a", at).name())
            .to_vec();
        let want = "idle request prefill prefill decode decode prefill prefill decode decode request request idle idle \
                    prefill decode decode";
        assert_eq!(got.join(" "), want);
        assert_eq!(phases.at("b", 150), Phase::Idle);
    }

    #[test]
    fn what_still_waits_for_its_first_content_is_in_prefill_if_it_is_streamed() {
        let mut phases = Phases::default();
        for (service, streams, end_ns) in [("in flight", true, None), ("whole", false, None), ("cut", true, Some(200))]
        {
            phases.add(service, Times { start_ns: 100, first_content_ns: None, streams, end_ns });
        }
        phases.settle();
        let got = ["in flight", "whole", "cut"].map(|service| phases.at(service, 150));
        assert_eq!(got, [Phase::Prefill, Phase::Whole, Phase::Whole]);
    }
}
