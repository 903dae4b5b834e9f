//! What the kernel adds up: thread states of a process and of a service, and the value of those sums at an instant.

use crate::{STATES, StateSum};

/// Sums of one process, or of one service (all processes of it). Written with atomic additions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By `STATE_*`.
    pub states: [StateSum; STATES],
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    pub major_faults: u64,
    /// Requests that the process itself handed to a block device (write-back by the kernel's own threads is not in it).
    pub block_ios: u64,
    /// Bytes of those requests.
    pub block_bytes: u64,
    /// Threads on the CPU that make room in memory before they get what they asked for: part of [`STATE_ONCPU`](crate::STATE_ONCPU).
    pub reclaim: StateSum,
    /// Times that they had to.
    pub reclaims: u64,
    /// Time of futex calls that ended by a timeout of [`INTERPRETER_WAIT_NS`], up to [`INTERPRETER_TIMEOUTS`] in a row.
    pub interpreter_wait_ns: u64,
    /// Time in [`STATE_RUNQUEUE`](crate::STATE_RUNQUEUE) in which threads of the same service ran on the CPU that was waited for; of waits that are
    /// over.
    pub own_wait_ns: u64,
    /// Of a service: when its sums began. A state that a thread entered before was another's, who had the same place.
    pub since_ns: u64,
    /// Fills the struct up to whole cache lines: services are written by different CPUs.
    pub reserved: u64,
}

/// CPython waits for its interpreter lock 5 ms at a time (`sys.getswitchinterval()`), each a futex call that times out
/// while another thread holds the lock. A call in this range, with room for waking up late, is taken for one: an estimate.
pub const INTERPRETER_WAIT_NS: core::ops::Range<u64> = 4_900_000..9_000_000;
/// A wait for the lock ends with a wake-up. Whoever waits for the same so often in a row and is never woken looks at
/// something from time to time.
pub const INTERPRETER_TIMEOUTS: u32 = 100;

/// Buckets of the run-queue delay: bucket `i` counts delays below `2^(i + RUNQ_SHIFT)` ns that no earlier bucket took;
/// the last one takes all the rest.
pub const RUNQ_BUCKETS: usize = 26;
/// Bucket 0 is what is below `2^RUNQ_SHIFT` ns.
pub const RUNQ_SHIFT: u32 = 10;

/// The bucket of a run-queue delay.
#[inline(always)]
pub const fn runq_bucket(delay_ns: u64) -> usize {
    let bits = (64 - (delay_ns >> RUNQ_SHIFT).leading_zeros()) as usize;
    if bits < RUNQ_BUCKETS { bits } else { RUNQ_BUCKETS - 1 }
}

/// The index in the array SERVICE of processes that are watched and are of no service: what they answer will show what
/// they are. It is never published.
pub const CANDIDATES: u32 = 0;

/// Bits of the array TRAITS, one value for each service: its processes speak ZMTP among themselves.
pub const TRAIT_ZMTP: u32 = 1;
/// One of them runs Python's interpreter.
pub const TRAIT_PYTHON: u32 = 2;

/// A watched process: value of the array PROCESS, index its slot (see [`crate::WatchRow`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub tgid: u32,
    /// Index into the array SERVICE.
    pub service: u32,
    /// When the watch began.
    pub since_ns: u64,
    pub counters: Counters,
    /// Waits in the run queue, by [`runq_bucket`].
    pub runq_delay: [u64; RUNQ_BUCKETS],
    pub reserved: [u64; 4],
}

/// A service's counters at one instant, carried by every payload event. The difference of two is exact in time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When it was taken.
    pub at_ns: u64,
    /// Thread-nanoseconds in each state so far; they wrap, see [`state_ns_between`](crate::state_ns_between).
    pub state_ns: [u64; STATES],
    pub major_faults: u64,
    pub block_bytes: u64,
    /// [`Counters::reclaim`], like `state_ns`.
    pub reclaim_ns: u64,
    pub reclaims: u64,
    pub interpreter_wait_ns: u64,
    pub own_wait_ns: u64,
}

impl Counters {
    /// The counters' value at `now_ns`.
    pub fn at(&self, now_ns: u64) -> Snapshot {
        let mut state_ns = [0; STATES];
        for (out, sum) in state_ns.iter_mut().zip(&self.states) {
            *out = sum.at(now_ns);
        }
        Snapshot {
            at_ns: now_ns,
            state_ns,
            major_faults: self.major_faults,
            block_bytes: self.block_bytes,
            reclaim_ns: self.reclaim.at(now_ns),
            reclaims: self.reclaims,
            interpreter_wait_ns: self.interpreter_wait_ns,
            own_wait_ns: self.own_wait_ns,
        }
    }
}

/// Key of the map SYSCALL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SyscallKey {
    pub tgid: u32,
    pub number: u32,
}

/// Value of the map SYSCALL: one of each CPU, so that threads of a process do not wait for each other's cache lines.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyscallStats {
    pub calls: u64,
    pub errors: u64,
    /// Time between entry and return, of calls that returned.
    pub time_ns: u64,
    /// Bytes that they moved through sockets.
    pub socket_bytes: u64,
}

const _: () = {
    assert!(size_of::<Counters>() == 320);
    assert!(size_of::<Process>() == 576);
    assert!(size_of::<Snapshot>() == 8 + 8 * STATES + 48);
    assert!(size_of::<SyscallKey>() == 8 && size_of::<SyscallStats>() == 32);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_queue_buckets_are_powers_of_two() {
        assert_eq!(runq_bucket(0), 0);
        assert_eq!(runq_bucket(1023), 0);
        assert_eq!(runq_bucket(1024), 1);
        assert_eq!(runq_bucket(2047), 1);
        assert_eq!(runq_bucket(2048), 2);
        assert_eq!(runq_bucket(u64::MAX), RUNQ_BUCKETS - 1);
    }
}
