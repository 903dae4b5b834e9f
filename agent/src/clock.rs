//! The kernel programs' clock, read in user space.

/// CLOCK_MONOTONIC nanoseconds, as bpf_ktime_get_ns() gives them.
pub fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
