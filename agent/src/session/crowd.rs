//! How many LLM requests a service has in flight, and how many a request had beside it on average: the integral of their
//! number over time, which costs two additions per request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use super::hops::Ends;

#[derive(Clone, Copy, Default)]
struct Sum {
    now: u32,
    at_ns: u64,
    /// Request-nanoseconds until `at_ns`.
    integral: u64,
}

impl Sum {
    /// Records of different CPUs can come a little out of order: time does not go back here.
    fn moved_to(mut self, at_ns: u64) -> Self {
        if at_ns > self.at_ns {
            if self.at_ns != 0 {
                self.integral += u64::from(self.now) * (at_ns - self.at_ns);
            }
            self.at_ns = at_ns;
        }
        self
    }
}

/// The requests in flight of one service. Only the session layer writes it.
#[derive(Default)]
pub(super) struct InFlight {
    sum: Mutex<Sum>,
    /// The connections that they came on, in no order.
    ends: Mutex<Vec<Option<Ends>>>,
}

impl InFlight {
    fn update(&self, change: impl FnOnce(Sum) -> Sum) -> Sum {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = change(*sum);
        *sum
    }

    fn ends(&self) -> MutexGuard<'_, Vec<Option<Ends>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one of them came on such a connection.
    pub fn has_any(&self, is_meant: impl Fn(Option<Ends>) -> bool) -> bool {
        self.ends().iter().any(|ends| is_meant(*ends))
    }
}

/// Stands for one request in flight, from its begin until it is dropped.
pub(super) struct Counted {
    all: Arc<InFlight>,
    ends: Option<Ends>,
    begin: Sum,
}

impl Counted {
    pub fn new(all: &Arc<InFlight>, ends: Option<Ends>, at_ns: u64) -> Self {
        let begin = all.update(|sum| Sum { now: sum.now + 1, ..sum.moved_to(at_ns) });
        all.ends().push(ends);
        Self { all: Arc::clone(all), ends, begin }
    }

    /// Requests beside this one, on average from its begin to `at_ns`.
    pub fn others(&self, at_ns: u64) -> f64 {
        let end = self.all.update(|sum| sum.moved_to(at_ns));
        if end.at_ns <= self.begin.at_ns {
            return f64::from(self.begin.now - 1);
        }
        let mean = (end.integral - self.begin.integral) as f64 / (end.at_ns - self.begin.at_ns) as f64;
        (mean - 1.0).max(0.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.update(|sum| Sum { now: sum.now.saturating_sub(1), ..sum });
        let mut all = self.all.ends();
        if let Some(at) = all.iter().position(|ends| *ends == self.ends) {
            all.swap_remove(at);
        }
    }
}

/// LLM requests in flight by service. The server role's only: a caller's own requests are not what it serves.
#[derive(Default)]
pub(super) struct Crowds(FxHashMap<u32, Arc<InFlight>>);

impl Crowds {
    pub fn of(&mut self, service: u32) -> &Arc<InFlight> {
        self.0.entry(service).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_those_that_were_there_meanwhile() {
        let mut crowds = Crowds::default();
        let all = Arc::clone(crowds.of(1));
        let first = Counted::new(&all, None, 1_000);
        let second = Counted::new(&all, None, 1_500);
        assert_eq!(first.others(2_000), 0.5);
        drop(first);
        assert_eq!(second.others(3_500), 0.25);
        drop(second);
        let alone = Counted::new(&all, None, 9_000);
        assert_eq!(alone.others(9_500), 0.0);
        // Its end was seen before its begin's neighbours were.
        assert_eq!(Counted::new(&all, None, 9_400).others(9_400), 1.0);
        assert_eq!(crowds.of(1).update(|sum| sum).now, 1);
    }
}
