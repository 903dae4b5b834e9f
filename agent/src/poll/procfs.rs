//! Processes through /proc: CPU, memory, faults, disk, threads and descriptors of the watched ones, and the figures of
//! their control groups, read every two seconds.
//! A process that vanishes between two reads is normal, and is then left out. Who is watched is decided elsewhere.

#![forbid(unsafe_code)]

mod reader;

use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tracing::warn;

use super::cgroup::{CgroupPaths, CgroupReading, Cgroups};
pub use reader::{FD_LIMIT, ProcReader, ProcessReading};

/// What the poller saw last.
#[derive(Debug, Clone, Default)]
pub struct ProcSnapshot {
    /// When the round ended; `None` before the first.
    pub at: Option<Instant>,
    /// By process id. Holds no process that was gone at `at`.
    pub processes: Arc<FxHashMap<u32, ProcessReading>>,
    /// Control group of each of `processes` that is in one that this host shows.
    pub cgroups: Arc<FxHashMap<u32, Arc<CgroupReading>>>,
    /// The agent itself.
    pub own: Option<ProcessReading>,
    /// Reads that failed for another reason than that the process is gone, since the start.
    pub failures: u64,
}

/// The running poller. Dropping it ends the thread.
#[derive(Debug)]
pub struct ProcPoller {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    snapshot: RwLock<ProcSnapshot>,
    order: Mutex<Order>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Order {
    watched: Vec<u32>,
    at_once: bool,
    stop: bool,
}

impl ProcPoller {
    /// Starts the thread, which has `held` until it ends; it reads `reader`'s /proc every `interval`. Errors: the system
    /// refuses a thread.
    pub fn spawn(
        reader: ProcReader,
        groups: Cgroups,
        interval: Duration,
        held: impl Send + 'static,
    ) -> std::io::Result<ProcPoller> {
        let shared = Arc::<Shared>::default();
        let thread_shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("procfs".into()).spawn(move || {
            let _held = held;
            thread_shared.run(reader, &groups, interval);
        })?;
        Ok(ProcPoller { shared, thread: Some(thread) })
    }

    /// Replaces the list of watched processes, and reads at once if it holds a new one.
    pub fn watch(&self, pids: &[u32]) {
        let mut order = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        let news = pids.iter().any(|pid| !order.watched.contains(pid));
        order.watched = pids.to_vec();
        if news {
            order.at_once = true;
            self.shared.wake.notify_all();
        }
    }

    /// The last round's readings.
    pub fn snapshot(&self) -> ProcSnapshot {
        self.shared.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ProcPoller {
    fn drop(&mut self) {
        self.shared.order.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the procfs thread ended by a defect");
        }
    }
}

impl Shared {
    fn run(&self, mut reader: ProcReader, groups: &Cgroups, interval: Duration) {
        let mut failures = 0;
        while let Some(watched) = self.next(interval) {
            let mut processes = FxHashMap::default();
            for pid in watched {
                match reader.read(pid) {
                    Ok(Some(reading)) => drop(processes.insert(pid, reading)),
                    Ok(None) => {}
                    Err(error) => {
                        if failures == 0 {
                            warn!(pid, %error, "cannot read a process; later failures are only counted");
                        }
                        failures += 1;
                    }
                }
            }
            let own = reader.read(std::process::id()).ok().flatten();
            let cgroups = Arc::new(read_cgroups(groups, processes.keys().copied()));
            let processes = Arc::new(processes);
            let snapshot = ProcSnapshot { at: Some(Instant::now()), processes, cgroups, own, failures };
            *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        }
    }

    /// Waits for the next round; `None` when to stop.
    fn next(&self, interval: Duration) -> Option<Vec<u32>> {
        let first = self.snapshot.read().unwrap_or_else(PoisonError::into_inner).at.is_none();
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = if first { Duration::ZERO } else { interval };
        let idle = |order: &mut Order| !order.stop && !order.at_once;
        let waited = self.wake.wait_timeout_while(order, wait, idle);
        let (mut order, _) = waited.unwrap_or_else(PoisonError::into_inner);
        order.at_once = false;
        (!order.stop).then(|| order.watched.clone())
    }
}

/// The control group of each process, each group read once.
fn read_cgroups(groups: &Cgroups, pids: impl Iterator<Item = u32>) -> FxHashMap<u32, Arc<CgroupReading>> {
    let mut read: Vec<(CgroupPaths, Arc<CgroupReading>)> = Vec::new();
    let mut by_pid = FxHashMap::default();
    for pid in pids {
        // A process that is gone, or whose group may not be seen, has none.
        let Ok(Some(paths)) = groups.of(pid) else { continue };
        let known = read.iter().find(|(known, _)| *known == paths).map(|(_, reading)| Arc::clone(reading));
        let reading = known.unwrap_or_else(|| {
            let reading = Arc::new(groups.read(&paths));
            read.push((paths, Arc::clone(&reading)));
            reading
        });
        by_pid.insert(pid, reading);
    }
    by_pid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(poller: &ProcPoller, what: &str, wanted: impl Fn(&ProcSnapshot) -> bool) -> ProcSnapshot {
        let start = Instant::now();
        loop {
            let snapshot = poller.snapshot();
            if wanted(&snapshot) {
                return snapshot;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "no {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_watched_process_is_read_and_leaves_when_it_ends() {
        let poller =
            ProcPoller::spawn(ProcReader::new(), Cgroups::new(None), Duration::from_millis(50), ()).expect("thread");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        poller.watch(&[child.id(), u32::MAX]);
        let snapshot = until(&poller, "child", |s| s.processes.contains_key(&child.id()));
        assert_eq!((snapshot.processes.len(), snapshot.failures), (1, 0));
        let paths = Cgroups::new(None).of(child.id()).expect("readable");
        assert_eq!(snapshot.cgroups.contains_key(&child.id()), paths.is_some());
        assert!(snapshot.own.expect("ourselves").resident_bytes > 0);
        child.kill().expect("kill");
        child.wait().expect("wait");
        until(&poller, "end", |s| s.processes.is_empty());
    }

    #[test]
    fn a_new_process_is_read_before_the_interval_is_over() {
        let poller =
            ProcPoller::spawn(ProcReader::new(), Cgroups::new(None), Duration::from_secs(3600), ()).expect("thread");
        until(&poller, "first round", |s| s.at.is_some());
        poller.watch(&[std::process::id()]);
        until(&poller, "reading", |s| !s.processes.is_empty());
    }
}
