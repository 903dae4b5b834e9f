//! CPU and memory limits of a group, of either version, and how often they struck.
//! A limit of an ancestor holds too: the effective one is the tightest on the way to the root.

#![forbid(unsafe_code)]

use std::path::Path;

use super::Folder;

/// CPU bandwidth. Counters are those of the group whose limit is the tightest, or of the process's own group without a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuReading {
    /// CPU time that may be used per period, in seconds; `None`: no limit. On how many CPUs that is, see [`Self::cpus`].
    pub quota_seconds: Option<f64>,
    pub period_seconds: f64,
    /// Periods in which the group ran, and those of them that ended in throttling. Counters.
    pub periods: u64,
    pub throttled_periods: u64,
    /// Time throttled, summed over CPUs. A counter.
    pub throttled_seconds: f64,
}

impl CpuReading {
    /// The limit as a number of CPUs; `None`: no limit.
    pub fn cpus(&self) -> Option<f64> {
        self.quota_seconds.map(|quota| quota / self.period_seconds)
    }
}

/// Memory of the process's own group; `max` and `high` are the tightest on the way to the root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryReading {
    pub current_bytes: u64,
    /// The hard limit; `None`: none.
    pub max_bytes: Option<u64>,
    /// Above this the group is throttled; v2 only.
    pub high_bytes: Option<u64>,
    /// Times the limit was hit with nothing left to reclaim; v2 only.
    pub oom_events: Option<u64>,
    /// Processes of the group killed for memory.
    pub oom_kills: Option<u64>,
}

pub(super) fn read_cpu(folder: &Folder) -> Option<CpuReading> {
    let at = if folder.v2 { cpu_v2 } else { cpu_v1 };
    let mut levels = folder.levels();
    let own = at(levels.next()?);
    let tightest = levels.filter_map(at).filter(|reading| reading.quota_seconds.is_some()).fold(own, |best, next| {
        let tighter = best.is_none_or(|best| best.cpus().is_none_or(|cpus| next.cpus() < Some(cpus)));
        if tighter { Some(next) } else { best }
    });
    tightest.or(own)
}

fn cpu_v2(level: &Path) -> Option<CpuReading> {
    let stat = text(&level.join("cpu.stat"))?;
    let limit = text(&level.join("cpu.max")).unwrap_or_default();
    let mut words = limit.split_ascii_whitespace();
    let quota_us: Option<f64> = words.next().and_then(|word| word.parse().ok());
    let period_us: f64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(100_000.0);
    Some(CpuReading {
        quota_seconds: quota_us.map(|us| us / 1e6),
        period_seconds: period_us / 1e6,
        periods: keyed(&stat, "nr_periods").unwrap_or(0),
        throttled_periods: keyed(&stat, "nr_throttled").unwrap_or(0),
        throttled_seconds: keyed(&stat, "throttled_usec").unwrap_or(0) as f64 / 1e6,
    })
}

fn cpu_v1(level: &Path) -> Option<CpuReading> {
    let stat = text(&level.join("cpu.stat")).unwrap_or_default();
    let period_us = number(&level.join("cpu.cfs_period_us"))?;
    Some(CpuReading {
        // -1 is no limit.
        quota_seconds: number(&level.join("cpu.cfs_quota_us")).map(|us| us as f64 / 1e6),
        period_seconds: period_us as f64 / 1e6,
        periods: keyed(&stat, "nr_periods").unwrap_or(0),
        throttled_periods: keyed(&stat, "nr_throttled").unwrap_or(0),
        throttled_seconds: keyed(&stat, "throttled_time").unwrap_or(0) as f64 / 1e9,
    })
}

pub(super) fn read_memory(folder: &Folder) -> Option<MemoryReading> {
    let tightest = |file: &str| folder.levels().filter_map(|level| number(&level.join(file))).min();
    if folder.v2 {
        let events = text(&folder.leaf.join("memory.events")).unwrap_or_default();
        return Some(MemoryReading {
            current_bytes: number(&folder.leaf.join("memory.current"))?,
            max_bytes: tightest("memory.max"),
            high_bytes: tightest("memory.high"),
            oom_events: keyed(&events, "oom"),
            oom_kills: keyed(&events, "oom_kill"),
        });
    }
    let control = text(&folder.leaf.join("memory.oom_control")).unwrap_or_default();
    Some(MemoryReading {
        current_bytes: number(&folder.leaf.join("memory.usage_in_bytes"))?,
        // No limit is the largest page-aligned signed number.
        max_bytes: tightest("memory.limit_in_bytes").filter(|bytes| *bytes < 1 << 62),
        high_bytes: None,
        oom_events: None,
        oom_kills: keyed(&control, "oom_kill"),
    })
}

/// From the file that counts them.
pub(super) fn read_oom_kills(folder: &Folder) -> Option<u64> {
    let file = if folder.v2 { "memory.events" } else { "memory.oom_control" };
    keyed(&text(&folder.leaf.join(file))?, "oom_kill")
}

/// The value of a line `key value`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A file of one number; `None` also for `max` and `-1`.
fn number(path: &Path) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

pub(super) fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}
