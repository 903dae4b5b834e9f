//! The kernel's own scheduling figures, the truth for on-CPU time and run-queue delay.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::ops::Sub;

/// Sums over the live threads of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedStat {
    pub oncpu_ns: u64,
    pub runqueue_ns: u64,
    pub slices: u64,
    pub threads: u64,
}

impl Sub for SchedStat {
    type Output = Self;
    fn sub(self, before: Self) -> Self {
        Self {
            oncpu_ns: self.oncpu_ns - before.oncpu_ns,
            runqueue_ns: self.runqueue_ns - before.runqueue_ns,
            slices: self.slices - before.slices,
            threads: self.threads,
        }
    }
}

/// Reads /proc/PID/task/*/schedstat. A thread that ends during the walk is left out.
pub fn read(pid: u32) -> Result<SchedStat> {
    let mut sum = SchedStat::default();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))? {
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let mut fields = text.split_whitespace().map(str::parse::<u64>);
        let mut next = || fields.next().context("schedstat has too few fields")?.context("schedstat");
        sum.oncpu_ns += next()?;
        sum.runqueue_ns += next()?;
        sum.slices += next()?;
        sum.threads += 1;
    }
    Ok(sum)
}

/// Seconds that interrupts and the hypervisor took of all CPUs so far: irq, softirq and steal of /proc/stat. Where the
/// kernel accounts for them, it leaves them out of [`SchedStat::oncpu_ns`], which a clock does not.
pub fn taken_s() -> Result<f64> {
    // Linux gives these in hundredths of a second on every architecture.
    const TICKS_PER_S: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(6).take(3);
    Ok(fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_run() {
        let s = super::read(std::process::id()).unwrap();
        assert!(s.threads >= 1 && s.oncpu_ns > 0);
    }
}
