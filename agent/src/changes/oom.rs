//! Whether a SIGKILL came from the kernel's OOM killer. The kernel tells nobody who sent it; it counts its kills, by
//! control group and for the host, before it sends the signal. So a process that ended by SIGKILL is taken for one of
//! them if the count of its service's group has risen lately, each rise for one process; and if the group has no count, or
//! went with the process, if the host's count has. That is a conclusion, not an observation: beside a kill in the same
//! group, somebody's SIGKILL within the same half minute is taken for the kernel's.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

use crate::poll::cgroup::{CgroupPaths, Cgroups};

/// For so long a rise waits for the process that it stands for: the end of a large one takes its time.
const WAITS: Duration = Duration::from_secs(30);
/// Rises of one count that wait.
const RISES: usize = 64;

/// A count that only grows, and its rises that no process was found for yet.
#[derive(Debug, Default)]
struct Count {
    seen: Option<u64>,
    rises: VecDeque<Instant>,
}

impl Count {
    fn see(&mut self, now: u64, at: Instant) {
        let rose = now.saturating_sub(self.seen.unwrap_or(now)).min(RISES as u64);
        self.seen = Some(now);
        self.rises.extend((0..rose).map(|_| at));
        let over = self.rises.len().saturating_sub(RISES);
        self.rises.drain(..over);
    }

    fn take(&mut self, at: Instant) -> bool {
        self.rises.retain(|rose| at.duration_since(*rose) < WAITS);
        self.rises.pop_front().is_some()
    }
}

#[derive(Debug, Default)]
struct State {
    /// By the service's index.
    groups: FxHashMap<u32, (CgroupPaths, Count)>,
    host: Count,
}

/// By what a kill for want of memory is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The count of the service's control group rose.
    Group,
    /// That of the host did; the group's could not be read.
    Host,
}

impl Evidence {
    /// Its word in attributes.
    pub fn name(self) -> &'static str {
        match self {
            Evidence::Group => "cgroup",
            Evidence::Host => "host",
        }
    }
}

/// The counts of all groups with a watched service.
#[derive(Debug)]
pub struct Oom {
    groups: Cgroups,
    state: Mutex<State>,
}

/// Since 4.13: `oom_kill N` in /proc/vmstat.
fn host_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

impl Oom {
    /// Counts from now on.
    pub fn new(groups: Cgroups) -> Self {
        let oom = Self { groups, state: Mutex::default() };
        oom.look(Instant::now());
        oom
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A service is in the group of this process.
    pub fn watch(&self, service: u32, paths: &CgroupPaths, at: Instant) {
        let mut count = Count::default();
        if let Some(now) = self.groups.oom_kills(paths) {
            count.see(now, at);
        }
        self.state().groups.insert(service, (paths.clone(), count));
    }

    /// Nobody asks for this service any more.
    pub fn forget(&self, service: u32) {
        self.state().groups.remove(&service);
    }

    /// Reads all counts.
    pub fn look(&self, at: Instant) {
        let mut state = self.state();
        if let Some(now) = host_kills() {
            state.host.see(now, at);
        }
        for (paths, count) in state.groups.values_mut() {
            if let Some(now) = self.groups.oom_kills(paths) {
                count.see(now, at);
            }
        }
    }

    /// A process of a service ended by SIGKILL: whether the OOM killer sent it, and by what that is known.
    pub fn killed(&self, service: u32, at: Instant) -> Option<Evidence> {
        let mut state = self.state();
        let State { groups, host } = &mut *state;
        if let Some(now) = host_kills() {
            host.see(now, at);
        }
        if let Some((paths, count)) = groups.get_mut(&service) {
            let now = self.groups.oom_kills(paths);
            if let Some(now) = now {
                count.see(now, at);
            }
            if count.take(at) {
                host.take(at);
                return Some(Evidence::Group);
            }
            if now.is_some() {
                return None;
            }
        }
        host.take(at).then_some(Evidence::Host)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_rise_stands_for_one_process_and_not_for_long() {
        let (mut count, now) = (Count::default(), Instant::now());
        count.see(7, now);
        assert!(!count.take(now), "what was before is no rise");
        count.see(9, now);
        assert!(count.take(now) && count.take(now) && !count.take(now));
        count.see(10, now);
        assert!(!count.take(now + WAITS));
        count.see(1000, now);
        assert_eq!(count.rises.len(), RISES);
    }

    #[test]
    fn a_groups_count_tells_a_kill_for_memory_from_another() {
        for (controllers, line, file) in
            [("memory", "4:memory:/g\n0::/\n", "memory/g/memory.oom_control"), ("", "0::/g\n", "g/memory.events")]
        {
            let folder = tempfile::tempdir().unwrap();
            let (mount, proc) = (folder.path().join("sys"), folder.path().join("proc"));
            fs::create_dir_all(mount.join(file).parent().unwrap()).unwrap();
            fs::create_dir_all(proc.join("7")).unwrap();
            fs::write(proc.join("7/cgroup"), line).unwrap();
            if controllers.is_empty() {
                fs::write(mount.join("cgroup.controllers"), "memory").unwrap();
            }
            let kills = |count: u32| fs::write(mount.join(file), format!("oom 3\noom_kill {count}\n")).unwrap();
            kills(2);
            let groups = Cgroups::at(&mount, &proc);
            let paths = groups.of(7).unwrap().unwrap();
            let (oom, now) = (Oom::new(groups), Instant::now());
            oom.watch(1, &paths, now);
            assert_eq!(oom.killed(1, now), None, "{file}: somebody's SIGKILL");
            kills(3);
            assert_eq!(oom.killed(1, now), Some(Evidence::Group), "{file}");
            assert_eq!(oom.killed(1, now), None, "{file}");
            kills(4);
            oom.look(now);
            fs::remove_file(mount.join(file)).unwrap();
            assert_eq!(oom.killed(1, now), Some(Evidence::Group), "{file}: the group went with the process");
        }
    }
}
