//! What the thread and its readers share: the snapshot, the call in progress, the wish to stop.
//! No lock is held across an NVML call, so a reader never waits for the driver.

#![forbid(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tracing::warn;

use super::snapshot::{GpuSnapshot, NvmlHealth};

/// The shared cell.
#[derive(Debug)]
pub(super) struct Cell {
    state: RwLock<State>,
    run: Mutex<Run>,
    wake: Condvar,
    deadline: Duration,
}

#[derive(Debug)]
struct State {
    snapshot: Arc<GpuSnapshot>,
    call: Option<(&'static str, Instant, Duration)>,
}

#[derive(Debug, Default)]
struct Run {
    stop: bool,
    finished: bool,
}

impl Cell {
    /// An empty cell; a call counts as hung after `deadline`.
    pub fn new(deadline: Duration) -> Cell {
        let state = State { snapshot: Arc::new(GpuSnapshot::empty()), call: None };
        Cell { state: RwLock::new(state), run: Mutex::default(), wake: Condvar::new(), deadline }
    }

    /// The snapshot, its health turned to `Hung` if a call is overdue.
    pub fn snapshot(&self) -> Arc<GpuSnapshot> {
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if state.overdue().is_none() {
                return Arc::clone(&state.snapshot);
            }
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((call, since)) = state.overdue() {
            warn!(call, "NVML call hangs; GPU values stay as they were, everything else goes on");
            let mut snapshot = GpuSnapshot::clone(&state.snapshot);
            snapshot.health = NvmlHealth::Hung { call, since };
            state.snapshot = Arc::new(snapshot);
        }
        Arc::clone(&state.snapshot)
    }

    /// Waits until there is news after `Starting`, be it good or bad, for at most `patience`.
    pub fn first(&self, patience: Duration) -> Arc<GpuSnapshot> {
        let until = Instant::now() + patience;
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let snapshot = self.snapshot();
            let left = until.saturating_duration_since(Instant::now());
            if snapshot.health != NvmlHealth::Starting || left.is_zero() {
                return snapshot;
            }
            // A hang wakes nobody, so look again now and then.
            let nap = left.min(Duration::from_millis(50));
            (run, _) = self.wake.wait_timeout(run, nap).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Publishes a finished round.
    pub fn publish(&self, snapshot: GpuSnapshot) {
        self.write(|state| state.snapshot = Arc::new(snapshot));
        self.wake.notify_all();
    }

    /// Says that there is no NVML now. Devices go, counters stay.
    pub fn publish_absent(&self, reason: String) {
        self.write(|state| {
            let mut snapshot = GpuSnapshot::clone(&state.snapshot);
            snapshot.devices = Arc::new([]);
            snapshot.library = None;
            snapshot.health = NvmlHealth::Absent { reason };
            state.snapshot = Arc::new(snapshot);
        });
        self.wake.notify_all();
    }

    /// Runs `body`, an NVML call; readers see it as hung once it is overdue.
    pub fn calling<T>(&self, call: &'static str, body: impl FnOnce() -> T) -> T {
        self.calling_within(call, self.deadline, body)
    }

    /// The same with a deadline of its own.
    pub fn calling_within<T>(&self, call: &'static str, deadline: Duration, body: impl FnOnce() -> T) -> T {
        self.write(|state| state.call = Some((call, Instant::now(), deadline)));
        let answer = body();
        self.write(|state| state.call = None);
        answer
    }

    /// Sleeps until `until` or the wish to stop; false when to stop.
    pub fn sleep_until(&self, until: Instant) -> bool {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        while !run.stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            (run, _) = self.wake.wait_timeout(run, left).unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    /// Whether the thread is asked to stop.
    pub fn stopping(&self) -> bool {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).stop
    }

    /// Asks the thread to stop and gives it `patience` to say that it has.
    pub fn stop(&self, patience: Duration) {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.stop = true;
        self.wake.notify_all();
        let outcome = self.wake.wait_timeout_while(run, patience, |run| !run.finished);
        drop(outcome.unwrap_or_else(PoisonError::into_inner));
    }

    /// The thread's last word.
    pub fn finish(&self) {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).finished = true;
        self.wake.notify_all();
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// The call in progress if it is overdue and not yet reported.
    fn overdue(&self) -> Option<(&'static str, Instant)> {
        let (call, since, deadline) = self.call?;
        let reported = matches!(self.snapshot.health, NvmlHealth::Hung { since: known, .. } if known == since);
        (!reported && since.elapsed() > deadline).then_some((call, since))
    }
}
