//! Reads of the kernel side's aggregates, for scrapes, shared by any number of readers; and the way back to zero of
//! what belongs to nobody any more.

use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray, PerCpuHashMap, PerCpuValues},
};
use inferscope_abi::{Counters, LOSS_PLACES, LOSSES, LogRow, Lost, Process, SYSCALL_NUMBERS, SyscallKey, SyscallStats};

use super::{Arrays, shared::Wire, watcher::take};

/// How the name of the program begins that tells of listeners.
pub const LISTEN: &str = "listen_";

/// Counts of one system call of one process.
#[derive(Debug, Clone, Copy)]
pub struct SyscallRow {
    pub key: SyscallKey,
    pub stats: SyscallStats,
}

type SyscallMap = PerCpuHashMap<MapData, Wire<SyscallKey>, Wire<SyscallStats>>;

/// Reads the kernel side's maps; clones read the same maps, from any thread.
#[derive(Clone)]
pub struct CounterReader {
    arrays: Arc<Arrays>,
    syscalls: Arc<Mutex<SyscallMap>>,
    lost: Arc<PerCpuArray<MapData, u64>>,
    /// The loaded programs with their descriptors, which live as long as the load.
    programs: Arc<[(Box<str>, RawFd)]>,
}

impl CounterReader {
    pub(super) fn new(ebpf: &mut Ebpf, arrays: Arc<Arrays>) -> Result<Self> {
        Ok(Self {
            arrays,
            syscalls: Arc::new(Mutex::new(take(ebpf, "SYSCALL")?)),
            lost: Arc::new(take(ebpf, "LOST")?),
            programs: Arc::from([]),
        })
    }

    /// Learns which programs were loaded.
    pub(super) fn watch_programs(&mut self, ebpf: &Ebpf) {
        let fd = |name: &str| Some(ebpf.program(name)?.fd().ok()?.as_fd().as_raw_fd());
        self.programs = ebpf.programs().filter_map(|(name, _)| Some((name.into(), fd(name)?))).collect();
    }

    /// Runs that the kernel left out because the program was running on that CPU already (5.12 and later say so). Without
    /// those of the program that tells of listeners: nearly all of its runs are of sockets that do something else, and
    /// whenever one was left out everything is looked at again.
    pub fn missed_runs(&self) -> u64 {
        self.missed_runs_where(|name| !name.starts_with(LISTEN))
    }

    /// Of the programs whose names begin so.
    pub fn missed_runs_of(&self, programs: &[&str]) -> u64 {
        self.missed_runs_where(|name| programs.iter().any(|begin| name.starts_with(begin)))
    }

    fn missed_runs_where(&self, is_meant: impl Fn(&str) -> bool) -> u64 {
        let missed = |fd: &RawFd| -> Option<u64> {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
        };
        self.programs.iter().filter(|(name, _)| is_meant(name)).filter_map(|(_, fd)| missed(fd)).sum()
    }

    /// The sums of a watched process; None once it is gone.
    pub fn process(&self, tgid: u32) -> Option<Process> {
        let mark = self.arrays.watched.get(tgid as usize).filter(|mark| *mark != 0)?;
        self.arrays.process.get(usize::from(mark) - 1).filter(|process| process.tgid == tgid)
    }

    /// The sums of a service.
    pub fn service(&self, service: u32) -> Option<Counters> {
        self.arrays.service.get(service as usize)
    }

    /// What a service has written to its logs.
    pub fn logs(&self, service: u32) -> Option<LogRow> {
        self.arrays.logs.get(service as usize)
    }

    /// Starts a service's sums from zero. No process of it may be watched yet.
    pub fn clear_service(&self, service: u32, now_ns: u64) {
        self.arrays.logs.set(service as usize, LogRow::default());
        self.arrays.service.set(service as usize, Counters { since_ns: now_ns, ..Counters::default() });
    }

    /// Every (process, system call) pair. One system call per pair: for scrapes only.
    pub fn syscalls(&self) -> Vec<SyscallRow> {
        let map = self.syscalls.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |(Wire(key), cpus): (_, PerCpuValues<Wire<SyscallStats>>)| SyscallRow { key, stats: sum(&cpus) };
        map.iter().filter_map(Result::ok).map(row).collect()
    }

    /// Drops the rows of a process that is not watched any more. The kernel side does it for one that ends.
    pub(super) fn forget_syscalls(&self, tgid: u32) {
        let mut map = self.syscalls.lock().unwrap_or_else(PoisonError::into_inner);
        for number in 0..SYSCALL_NUMBERS as u32 {
            let _ = map.remove(&Wire(SyscallKey { tgid, number }));
        }
    }

    /// What the kernel side lost, by place.
    pub fn lost(&self) -> [(&'static str, u64); LOSS_PLACES] {
        LOSSES.map(|(place, label)| (label, self.lost_at(place)))
    }

    /// What it lost at one place.
    pub fn lost_at(&self, place: Lost) -> u64 {
        self.lost.get(&(place as u32), 0).map(|cpus| cpus.iter().sum()).unwrap_or(0)
    }
}

fn sum(cpus: &[Wire<SyscallStats>]) -> SyscallStats {
    cpus.iter().fold(SyscallStats::default(), |sum, Wire(cpu)| SyscallStats {
        calls: sum.calls + cpu.calls,
        errors: sum.errors + cpu.errors,
        time_ns: sum.time_ns + cpu.time_ns,
        socket_bytes: sum.socket_bytes + cpu.socket_bytes,
    })
}
