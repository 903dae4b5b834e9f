//! What the kernel adds up: thread states of a process and of a service, and the value of those sums at an instant.

/// What a thread can be doing. The numbers index [`Counters::states`] and [`Snapshot::state_ns`].
pub const STATE_ONCPU: usize = 0;
/// Runnable, waiting for a CPU.
pub const STATE_RUNQUEUE: usize = 1;
/// Blocked in futex(2): a lock, a condition variable, a thread pool without work.
pub const STATE_FUTEX: usize = 2;
/// Blocked in epoll_wait, poll or select.
pub const STATE_POLL: usize = 3;
/// Blocked in a socket read, write, accept or connect.
pub const STATE_SOCKET: usize = 4;
/// Blocked in a file call without waiting for a block device (pipes, eventfds, terminals, locks of the file system).
pub const STATE_FILE: usize = 5;
/// Blocked waiting for a block device (the kernel's `in_iowait`), in whatever call or page fault.
pub const STATE_BLOCK_IO: usize = 6;
/// Asleep on purpose (nanosleep).
pub const STATE_SLEEP: usize = 7;
/// Blocked outside any system call: a page fault that waits for something other than a block device.
pub const STATE_FAULT: usize = 8;
/// Blocked in any other call.
pub const STATE_OTHER: usize = 9;
/// Number of states.
pub const STATES: usize = 10;

/// Names of the states, in order; those from index 2 on are the off-CPU reasons.
pub const STATE_NAMES: [&str; STATES] =
    ["oncpu", "runqueue", "futex", "poll", "socket", "file", "block_io", "sleep", "fault", "other"];
/// The states from here on are reasons to be off the CPU.
pub const FIRST_OFFCPU_STATE: usize = STATE_FUTEX;

/// Thread-nanoseconds spent in one state. The value at `now` is `acc + n * now`, in wrapping arithmetic:
/// a thread that enters subtracts its entry time from `acc` and adds one to `n`, one that leaves adds its leaving
/// time and takes one off. Nothing has to be flushed for the value to be exact at any instant.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSum {
    /// Closed slices, less the entry times of the open ones; wraps.
    pub acc: u64,
    /// Threads in this state now.
    pub n: u64,
}

impl StateSum {
    /// Thread-nanoseconds in this state up to `now_ns`.
    #[inline(always)]
    pub const fn at(&self, now_ns: u64) -> u64 {
        self.acc.wrapping_add(self.n.wrapping_mul(now_ns))
    }
}

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
    /// Fills the struct up to whole cache lines: services are written by different CPUs.
    pub reserved: [u64; 7],
}

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
    /// Thread-nanoseconds in each state so far.
    pub state_ns: [u64; STATES],
    pub major_faults: u64,
    pub block_bytes: u64,
}

impl Counters {
    /// The counters' value at `now_ns`.
    pub fn at(&self, now_ns: u64) -> Snapshot {
        let mut state_ns = [0; STATES];
        for (out, sum) in state_ns.iter_mut().zip(&self.states) {
            *out = sum.at(now_ns);
        }
        Snapshot { at_ns: now_ns, state_ns, major_faults: self.major_faults, block_bytes: self.block_bytes }
    }
}

/// What one thread of a watched process is doing: value of the map THREAD, key tid. The kernel's own bookkeeping.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    pub tgid: u32,
    /// A `STATE_*`, or [`STATE_UNKNOWN`] before its first transition.
    pub state: u32,
    /// When it entered that state.
    pub since_ns: u64,
    /// The system call it is in, or [`NO_SYSCALL`].
    pub syscall: u32,
    /// [`THREAD_EXITED`] or 0.
    pub flags: u32,
    pub syscall_since_ns: u64,
    /// First four arguments of that call.
    pub args: [u64; 4],
}
/// The thread has gone through its exit: its time is closed, only its last switch is still to come.
pub const THREAD_EXITED: u32 = 1;
/// Outside any system call.
pub const NO_SYSCALL: u32 = u32::MAX;
/// Not known yet.
pub const STATE_UNKNOWN: u32 = u32::MAX;

/// Key of the map SYSCALL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SyscallKey {
    pub tgid: u32,
    pub number: u32,
}

/// Value of the map SYSCALL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyscallStats {
    pub calls: u64,
    pub errors: u64,
    /// Time between entry and return, of calls that returned.
    pub time_ns: u64,
}

const _: () = {
    assert!(size_of::<StateSum>() == 16);
    assert!(size_of::<Counters>() == 256);
    assert!(size_of::<Process>() == 512);
    assert!(size_of::<Snapshot>() == 8 + 8 * STATES + 16);
    assert!(size_of::<Thread>() == 64);
    assert!(size_of::<SyscallKey>() == 8 && size_of::<SyscallStats>() == 24);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_sum_is_exact_between_transitions() {
        let mut s = StateSum::default();
        let enter = |s: &mut StateSum, t: u64| {
            s.acc = s.acc.wrapping_sub(t);
            s.n = s.n.wrapping_add(1);
        };
        let leave = |s: &mut StateSum, t: u64| {
            s.acc = s.acc.wrapping_add(t);
            s.n = s.n.wrapping_sub(1);
        };
        enter(&mut s, 1_000);
        enter(&mut s, 1_500);
        assert_eq!(s.at(2_000), 1_500);
        leave(&mut s, 2_500);
        assert_eq!(s.at(3_000), 1_500 + 1_500);
        leave(&mut s, 3_000);
        assert_eq!(s.at(9_000_000), 1_500 + 1_500);
    }

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
