//! The kernel programs' clock, read in user space, and what a thread has used of a CPU.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC nanoseconds, as bpf_ktime_get_ns() gives them.
pub fn monotonic_ns() -> u64 {
    read_ns(ClockId::Monotonic)
}

/// What must be added to CLOCK_MONOTONIC nanoseconds now to make Unix time of them.
pub fn unix_offset_ns() -> u64 {
    let before = monotonic_ns();
    let unix = read_ns(ClockId::Realtime);
    // Half of what passed meanwhile is the best guess at when that was read.
    unix.saturating_sub(before + monotonic_ns().saturating_sub(before) / 2)
}

/// CPU time of the calling thread.
pub fn thread_cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn read_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
