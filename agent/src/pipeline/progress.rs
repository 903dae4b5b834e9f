//! How the LLM requests in flight get on: how many a service has, how old the oldest is, and how long the service has made
//! no progress with them. That a client sends or gives up is no progress. Takes the time from its caller.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::session::{InFlight, exchange::Role};
use crate::shared::Flight;

#[derive(Default)]
struct Service {
    /// Last progress of requests that have ended.
    ended_ns: u64,
    /// Since when one request or another has been in flight all the time.
    busy_since_ns: Option<u64>,
}

/// By the kernel side's index of a service, of which there is a bounded number.
#[derive(Default)]
pub struct Progress(FxHashMap<u32, Service>);

struct Open {
    requests: u64,
    oldest_ns: u64,
    last_content_ns: u64,
}

impl Progress {
    /// An LLM request of this service ended. `at_ns`: its answer's end, or the last content if it came to none.
    pub fn ended(&mut self, service: u32, at_ns: Option<u64>) {
        let service = self.0.entry(service).or_default();
        service.ended_ns = service.ended_ns.max(at_ns.unwrap_or_default());
    }

    /// What is in flight at `now_ns` in the server role, by service. To be asked often: what begins and ends between two
    /// questions was not in flight.
    pub fn at(&mut self, now_ns: u64, in_flight: impl Iterator<Item = InFlight>) -> BTreeMap<u32, Flight> {
        let mut services: BTreeMap<u32, Open> = BTreeMap::new();
        for request in in_flight.filter(|request| request.is_llm && request.role == Role::Server) {
            let first = Open { requests: 0, oldest_ns: request.start_ns, last_content_ns: 0 };
            let open = services.entry(request.service).or_insert(first);
            open.requests += 1;
            open.oldest_ns = open.oldest_ns.min(request.start_ns);
            open.last_content_ns = open.last_content_ns.max(request.last_content_ns.unwrap_or_default());
        }
        let idle = self.0.iter_mut().filter(|(service, _)| !services.contains_key(service));
        idle.for_each(|(_, service)| service.busy_since_ns = None);
        let flight = |(index, open): (u32, Open)| {
            let service = self.0.entry(index).or_default();
            let since_ns = *service.busy_since_ns.get_or_insert(open.oldest_ns);
            let last_ns = since_ns.max(service.ended_ns).max(open.last_content_ns);
            let (oldest_ns, idle_ns) = (now_ns.saturating_sub(open.oldest_ns), now_ns.saturating_sub(last_ns));
            (index, Flight { requests: open.requests, oldest_ns, idle_ns })
        };
        services.into_iter().map(flight).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLM: InFlight = InFlight {
        service: 1,
        tgid: 10,
        role: Role::Server,
        server_port: 80,
        is_llm: true,
        streams: true,
        start_ns: 100,
        first_content_ns: None,
        last_content_ns: None,
    };

    fn at(start_ns: u64) -> InFlight {
        InFlight { start_ns, ..LLM }
    }

    #[test]
    fn the_oldest_and_the_last_content() {
        let open = [
            LLM,
            InFlight { last_content_ns: Some(200), ..at(50) },
            // Just come: no progress of the service.
            at(990),
            InFlight { service: 2, last_content_ns: Some(1010), ..at(990) },
            // Not an LLM's, a caller's own.
            InFlight { is_llm: false, last_content_ns: Some(999), ..LLM },
            InFlight { role: Role::Client, last_content_ns: Some(999), ..LLM },
        ];
        let one = Flight { requests: 3, oldest_ns: 950, idle_ns: 800 };
        // A record can be later than the clock that was read before it.
        let two = Flight { requests: 1, oldest_ns: 10, idle_ns: 0 };
        assert_eq!(Progress::default().at(1000, open.into_iter()), BTreeMap::from([(1, one), (2, two)]));
    }

    #[test]
    fn a_request_that_was_answered_was_progress() {
        let mut progress = Progress::default();
        let idle_ns = |progress: &mut Progress, open| progress.at(1000, [open].into_iter())[&1].idle_ns;
        assert_eq!(idle_ns(&mut progress, LLM), 900);
        progress.ended(1, Some(700));
        progress.ended(1, Some(600));
        progress.ended(1, None);
        progress.ended(2, Some(999));
        assert_eq!(idle_ns(&mut progress, LLM), 300);
    }

    #[test]
    fn clients_that_give_up_one_after_another_hide_nothing() {
        let mut progress = Progress::default();
        progress.ended(1, Some(10));
        for now_ns in 2..=9 {
            // Each waits for two rounds; the next is there before it goes.
            let open = [at((now_ns - 1) * 100), at(now_ns * 100)];
            let flight = progress.at(now_ns * 100, open.into_iter())[&1];
            assert_eq!(flight, Flight { requests: 2, oldest_ns: 100, idle_ns: (now_ns - 1) * 100 });
            progress.ended(1, None);
        }
        assert!(progress.at(1000, std::iter::empty()).is_empty());
        assert_eq!(progress.at(2000, [at(1990)].into_iter())[&1].idle_ns, 10, "nothing was asked of it before");
    }
}
