//! What the page and the API tell of the past: per service its steps and its slowest requests, and the last requests of
//! all. Fed once per finished request; bounded in services, in time and in records. Computes no figure of a request.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::steps::{Point, Reading, STEP_NS, STEPS, Steps, Sums};
use crate::correlate::{Request, VERDICTS};

/// Last requests of all services.
pub const RECENT: usize = 512;
/// Slow requests of one service.
pub const SLOW: usize = 20;
/// Slow requests of all services: with more than 256 of them each has fewer.
const SLOW_IN_ALL: usize = 5120;
/// How long a slow request, and a service that has ended, are kept.
pub const KEPT_NS: u64 = STEP_NS * STEPS;

/// What one service has behind it.
struct Past {
    steps: Steps,
    slow: Vec<Arc<Request>>,
    /// CLOCK_MONOTONIC of the last sign of it.
    seen_ns: u64,
    live: bool,
}

/// The history of all services. Written by the pipeline, read by the HTTP server; a lock is of one service, and is held
/// for a step or a window of it.
pub struct History {
    services_most: usize,
    slow_most: usize,
    services: RwLock<FxHashMap<String, Arc<Mutex<Past>>>>,
    recent: Mutex<VecDeque<Arc<Request>>>,
    refused: AtomicU64,
}

/// How much a history holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub services: usize,
    pub recent: usize,
    pub slow: usize,
    /// Without the records themselves.
    pub bytes: usize,
}

/// When it ended, CLOCK_MONOTONIC nanoseconds.
pub fn end_ns(request: &Request) -> u64 {
    request.start_ns + (request.duration_s * 1e9) as u64
}

/// Seconds beyond what the verdict would have expected; 0 if it was faster, or nothing is known to compare with.
pub fn excess_s(request: &Request) -> f64 {
    let slowdown = request.finding.slowdown.filter(|slowdown| *slowdown > 1.0);
    slowdown.map_or(0.0, |slowdown| request.duration_s * (1.0 - 1.0 / slowdown))
}

/// The slower of two has more seconds beyond the usual, or else took longer.
pub fn slower(a: &Request, b: &Request) -> std::cmp::Ordering {
    let key = |request: &Request| (excess_s(request), request.duration_s);
    let (a, b) = (key(a), key(b));
    b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Past {
    fn new(now_ns: u64) -> Self {
        Self { steps: Steps::new(now_ns), slow: Vec::new(), seen_ns: now_ns, live: true }
    }

    fn keep_if_slow(&mut self, request: &Arc<Request>, now_ns: u64, most: usize) {
        if self.slow.len() < most {
            return self.slow.push(Arc::clone(request));
        }
        let old = |kept: &Arc<Request>| end_ns(kept) + KEPT_NS < now_ns;
        let least = (0..self.slow.len()).max_by(|a, b| slower(&self.slow[*a], &self.slow[*b]));
        let place = self.slow.iter().position(old);
        let place = place.or(least.filter(|at| slower(request, &self.slow[*at]).is_lt()));
        place.into_iter().for_each(|at| self.slow[at] = Arc::clone(request));
    }
}

impl History {
    /// `services_most`: services that are kept at once.
    pub fn new(services_most: usize) -> Self {
        Self {
            services_most,
            slow_most: (SLOW_IN_ALL / services_most.max(1)).clamp(1, SLOW),
            services: RwLock::default(),
            recent: Mutex::new(VecDeque::with_capacity(RECENT)),
            refused: AtomicU64::new(0),
        }
    }

    /// Takes a finished LLM request that a watched server answered; others are left out.
    pub fn observe(&self, request: &Arc<Request>) {
        if request.role != "server" || request.operation.is_none() {
            return;
        }
        let ended_ns = end_ns(request);
        if let Some(past) = self.past_or_new(&request.service, request.start_ns) {
            let mut past = lock(&past);
            past.seen_ns = past.seen_ns.max(ended_ns);
            past.steps.add(request, ended_ns);
            past.keep_if_slow(request, ended_ns, self.slow_most);
        }
        let mut recent = lock(&self.recent);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(request));
    }

    /// What is in flight and the counters of a live service now.
    pub fn read(&self, service: &str, now_ns: u64, in_flight: u64, counters: Option<Reading>) {
        if let Some(past) = self.past_or_new(service, now_ns) {
            let mut past = lock(&past);
            (past.seen_ns, past.live) = (now_ns, true);
            past.steps.read(now_ns, in_flight, counters);
        }
    }

    /// Only these services are live; what ended fifteen minutes ago goes.
    pub fn retire(&self, live: &FxHashSet<&str>, now_ns: u64) {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        services.retain(|name, past| {
            let mut past = lock(past);
            past.live = live.contains(name.as_str());
            past.slow.retain(|request| end_ns(request) + KEPT_NS >= now_ns);
            past.live || past.seen_ns + KEPT_NS >= now_ns
        });
    }

    fn past(&self, service: &str) -> Option<Arc<Mutex<Past>>> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).get(service).cloned()
    }

    /// Where there is no room, the one that ended first makes some; None if all are live.
    fn past_or_new(&self, service: &str, now_ns: u64) -> Option<Arc<Mutex<Past>>> {
        if let Some(past) = self.past(service) {
            return Some(past);
        }
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        if services.len() >= self.services_most {
            let ended = services.iter().map(|(name, past)| (name, lock(past))).filter(|(_, past)| !past.live);
            let first = ended.min_by_key(|(_, past)| past.seen_ns).map(|(name, _)| name.clone());
            let Some(name) = first else {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return None;
            };
            services.remove(&name);
        }
        let past = services.entry(service.to_owned()).or_insert_with(|| Arc::new(Mutex::new(Past::new(now_ns))));
        Some(Arc::clone(past))
    }

    /// Sums of a service's last 30 and 60 s, and its last minute's verdicts by their share of the time.
    pub fn lately(&self, service: &str, now_ns: u64) -> Option<([Sums; 2], Option<[f64; VERDICTS]>)> {
        let past = self.past(service)?;
        let past = lock(&past);
        Some(([30, 60].map(|window_s| past.steps.sums(now_ns, window_s)), past.steps.verdicts.shares(now_ns)))
    }

    /// A service's whole steps of the last fifteen minutes; None for a service that is not known.
    pub fn points(&self, service: &str, now_ns: u64) -> Option<Vec<Option<Point>>> {
        Some(lock(&*self.past(service)?).steps.points(now_ns))
    }

    /// Slow requests of the last fifteen minutes, slowest first; of one service, or of all.
    pub fn slow(&self, service: Option<&str>, now_ns: u64, limit: usize) -> Vec<Arc<Request>> {
        let pasts: Vec<Arc<Mutex<Past>>> = match service {
            Some(service) => self.past(service).into_iter().collect(),
            None => self.services.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect(),
        };
        let mut slow: Vec<Arc<Request>> = pasts.iter().flat_map(|past| lock(past).slow.clone()).collect();
        slow.retain(|request| end_ns(request) + KEPT_NS >= now_ns);
        slow.sort_by(|a, b| slower(a, b));
        slow.truncate(limit);
        slow
    }

    /// The last requests, newest first; of one service, or of all.
    pub fn recent(&self, service: Option<&str>, limit: usize) -> Vec<Arc<Request>> {
        let recent = lock(&self.recent);
        let of = recent.iter().rev().filter(|request| service.is_none_or(|service| request.service == service));
        of.take(limit).cloned().collect()
    }

    /// Whether anything is known of a service.
    pub fn knows(&self, service: &str) -> bool {
        self.past(service).is_some()
    }

    /// Requests whose service had no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How much it holds now.
    pub fn held(&self) -> Held {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let (slow, bytes) = services.iter().fold((0, 0), |(slow, bytes), (name, past)| {
            let past = lock(past);
            let here = past.steps.bytes() + past.slow.capacity() * size_of::<Arc<Request>>() + 2 * name.len();
            (slow + past.slow.len(), bytes + here + size_of::<Past>())
        });
        Held { services: services.len(), recent: lock(&self.recent).len(), slow, bytes }
    }
}

#[cfg(test)]
#[path = "history_test.rs"]
mod tests;
