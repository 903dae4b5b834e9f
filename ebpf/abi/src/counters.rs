//! What the kernel adds up: thread states of a process and of a service, and the value of those sums at an instant.

/// What a thread can be doing. The numbers index [`Counters::states`] and [`Snapshot::state_ns`].
pub const STATE_ONCPU: usize = 0;
/// Runnable, waiting for a CPU.
pub const STATE_RUNQUEUE: usize = 1;
/// Blocked in futex(2): a lock, a condition variable, a thread pool without work.
pub const STATE_FUTEX: usize = 2;
/// Blocked in epoll_wait, poll or select.
pub const STATE_POLL: usize = 3;
/// Blocked in a socket read, accept or connect.
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
/// Runnable, but its control group has used up its CPU quota for now.
pub const STATE_THROTTLED: usize = 10;
/// Blocked in futex(2) on a lock that somebody holds, as far as the call tells: see `sched` of the kernel programs.
pub const STATE_LOCK: usize = 11;
/// Blocked while the kernel makes room in memory for it.
pub const STATE_MEMORY: usize = 12;
/// Blocked in a socket write: whoever is to read does not.
pub const STATE_SEND: usize = 13;
/// Number of states.
pub const STATES: usize = 14;

/// Names of the states, in order; those from index 2 on are the off-CPU reasons.
pub const STATE_NAMES: [&str; STATES] = [
    "oncpu",
    "runqueue",
    "futex",
    "poll",
    "socket",
    "file",
    "block_io",
    "sleep",
    "fault",
    "other",
    "throttled",
    "lock",
    "memory",
    "send",
];
/// The states from here on are reasons to be off the CPU.
pub const FIRST_OFFCPU_STATE: usize = STATE_FUTEX;

/// Thread-time spent in one state. The value at `now` is `closed + n * now`: a thread that enters subtracts its entry time
/// from `closed` and adds one to `n`, one that leaves adds its leaving time and takes one off. Nothing has to be flushed
/// for the value to be exact at any instant.
///
/// `packed` holds both, `closed * 2^COUNT_BITS + n`, so that one addition moves both and no reader can see one without
/// the other. `n` stands beside it in full, moved by an addition of its own: it only says which of the values that
/// `packed` agrees with is meant, and may be off by as many transitions as happen at once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSum {
    /// Wraps. Times count in units of [`UNIT_NS`].
    pub packed: u64,
    /// Threads in this state now.
    pub n: u64,
}

/// Low bits of [`StateSum::packed`] that count: up to 127 CPUs may be between the two additions of a transition.
const COUNT_BITS: u32 = 8;
/// Times are cut to this many nanoseconds, so that the sums wrap after 36 years of thread-time and not after 2. Entry and
/// leaving are cut alike: what one slice loses another one gains.
pub const UNIT_NS: u64 = 1 << UNIT_SHIFT;
const UNIT_SHIFT: u32 = 4;
/// State sums count up to here and begin again.
const WRAP_MASK: u64 = u64::MAX >> (COUNT_BITS - UNIT_SHIFT);

impl StateSum {
    /// What a thread that enters at `now_ns` adds to `packed`; to `n` it adds one.
    #[inline(always)]
    pub const fn entering(now_ns: u64) -> u64 {
        Self::leaving(now_ns).wrapping_neg()
    }

    /// What a thread that leaves at `now_ns` adds to `packed`; it takes one off `n`.
    #[inline(always)]
    pub const fn leaving(now_ns: u64) -> u64 {
        ((now_ns >> UNIT_SHIFT) << COUNT_BITS).wrapping_sub(1)
    }

    /// Thread-nanoseconds in this state up to `now_ns`, wrapped: see [`state_ns_between`] and [`state_ns_since_start`].
    #[inline(always)]
    pub const fn at(&self, now_ns: u64) -> u64 {
        // The true count is the one nearest to `n` that agrees with the low bits.
        let off = self.packed.wrapping_sub(self.n) << (64 - COUNT_BITS);
        let n = self.n.wrapping_add((off as i64 >> (64 - COUNT_BITS)) as u64);
        let closed = self.packed.wrapping_sub(n) >> COUNT_BITS;
        (closed.wrapping_add(n.wrapping_mul(now_ns >> UNIT_SHIFT)) << UNIT_SHIFT) & WRAP_MASK
    }
}

/// Thread-nanoseconds between two values of one state. A little below zero where the later one was read while a thread
/// with a later clock entered.
pub const fn state_ns_between(from: u64, to: u64) -> i64 {
    let unused = COUNT_BITS - UNIT_SHIFT;
    (to.wrapping_sub(from) << unused) as i64 >> unused
}

/// A value as thread-nanoseconds since the sums began at zero.
pub const fn state_ns_since_start(value: u64) -> u64 {
    // Just below the end of the range lies what is a little below zero.
    const BELOW_ZERO: u64 = 1 << 40;
    if value > WRAP_MASK - BELOW_ZERO { 0 } else { value }
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
    /// Threads on the CPU that make room in memory before they get what they asked for: part of [`STATE_ONCPU`].
    pub reclaim: StateSum,
    /// Times that they had to.
    pub reclaims: u64,
    /// Time of futex calls that ended by a timeout of [`INTERPRETER_WAIT_NS`].
    pub interpreter_wait_ns: u64,
    /// Time in [`STATE_RUNQUEUE`] in which threads of the same service ran on the CPU that was waited for; of waits that are
    /// over.
    pub own_wait_ns: u64,
    /// Fills the struct up to whole cache lines: services are written by different CPUs.
    pub reserved: [u64; 2],
}

/// CPython waits for its interpreter lock 5 ms at a time (`sys.getswitchinterval()`), each a futex call that times out
/// while another thread holds the lock. A call in this range, with room for waking up late, is taken for one: an estimate.
pub const INTERPRETER_WAIT_NS: core::ops::Range<u64> = 4_900_000..9_000_000;

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
    /// Thread-nanoseconds in each state so far; they wrap, see [`state_ns_between`].
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
    /// `THREAD_*` bits.
    pub flags: u32,
    pub syscall_since_ns: u64,
    /// First four arguments of that call.
    pub args: [u64; 4],
    /// Inode of the socket that the call is on, 0 if it is on none: found when the call begins, for by its end another
    /// thread may have closed the descriptor, and its number may be another's.
    pub socket: u64,
    /// When it began to make room in memory, if it does.
    pub reclaim_ns: u64,
    /// Before its present run; only while a timeline is recorded.
    pub wait: Wait,
    /// What RAN said of its service on the CPU whose queue it is in, when it got there.
    pub ran_ns: u64,
    pub queue_cpu: u32,
    /// The thread that ran where its last wake-up came from; only while a timeline is recorded.
    pub waking: u32,
    /// That CPU's number and one more; 0: not known.
    pub waking_cpu: u32,
    pub reserved: u32,
}

/// What a thread did between two runs on a CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// When it blocked; 0 if it did not (another thread took the CPU), or if that was not seen.
    pub blocked_ns: u64,
    /// When it became runnable; 0 if that was not seen.
    pub runnable_ns: u64,
    /// The thread that ran where the wake-up came from, be it the waker or what an interrupt interrupted.
    pub waker: u32,
    /// CPU of the wake-up.
    pub waker_cpu: u16,
    /// CPU of the run that follows.
    pub cpu: u16,
    /// The `STATE_*` that it was blocked in, or [`WAIT_NONE`].
    pub state: u16,
    /// `WAIT_*` bits.
    pub flags: u16,
    pub reserved: u32,
}
/// It was not blocked, or for what was not seen.
pub const WAIT_NONE: u16 = u16::MAX;
/// It blocked outside any system call.
pub const WAIT_NO_SYSCALL: u16 = 1;
/// It is a new thread.
pub const WAIT_NEW: u16 = 2;
/// The thread has gone through its exit: its time is closed, only its last switch is still to come.
pub const THREAD_EXITED: u32 = 1;
/// The thread makes room in memory: between the two tracepoints of direct reclaim.
pub const THREAD_RECLAIMS: u32 = 2;
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
    assert!(size_of::<StateSum>() == 16);
    assert!(size_of::<Counters>() == 320);
    assert!(size_of::<Process>() == 576);
    assert!(size_of::<Snapshot>() == 8 + 8 * STATES + 48);
    assert!(size_of::<Wait>() == 32);
    assert!(size_of::<Thread>() == 136);
    assert!(size_of::<SyscallKey>() == 8 && size_of::<SyscallStats>() == 32);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(s: &mut StateSum, t: u64) {
        s.packed = s.packed.wrapping_add(StateSum::entering(t));
        s.n = s.n.wrapping_add(1);
    }

    fn leave(s: &mut StateSum, t: u64) {
        s.packed = s.packed.wrapping_add(StateSum::leaving(t));
        s.n = s.n.wrapping_sub(1);
    }

    #[test]
    fn a_state_sum_is_exact_between_transitions() {
        let mut s = StateSum::default();
        enter(&mut s, 1_600);
        enter(&mut s, 3_200);
        assert_eq!(s.at(4_800), 4_800);
        leave(&mut s, 6_400);
        assert_eq!(s.at(8_000), 4_800 + 4_800);
        leave(&mut s, 8_000);
        assert_eq!(s.at(9_000_000_000), 4_800 + 4_800);
    }

    #[test]
    fn what_is_cut_off_a_slice_is_less_than_a_unit() {
        for (from, to) in [(1u64, 17), (15, 16), (1_000_003, 1_000_517), (u64::MAX / 3, u64::MAX / 3 + 12_345)] {
            let mut s = StateSum::default();
            enter(&mut s, from);
            leave(&mut s, to);
            assert!(s.at(to + 99).abs_diff(to - from) < UNIT_NS, "{from} to {to}: {}", s.at(to));
        }
    }

    #[test]
    fn transitions_that_are_half_done_change_nothing() {
        const UPTIME: u64 = 90 << 40;
        for (threads, half_done) in [(0u64, 1i64), (1, 1), (1, -1), (300, 127), (300, -127), (70_000, 90)] {
            let mut s = StateSum::default();
            (0..threads).for_each(|i| enter(&mut s, UPTIME + i * UNIT_NS));
            let now = UPTIME + threads * UNIT_NS;
            let before = s.at(now);
            let change = if half_done > 0 { StateSum::entering(now) } else { StateSum::leaving(now) };
            (0..half_done.unsigned_abs()).for_each(|_| s.packed = s.packed.wrapping_add(change));
            assert_eq!(s.at(now), before, "{threads} threads, {half_done} under way");
        }
    }

    #[test]
    fn sums_wrap_and_differences_do_not_care() {
        let mut s = StateSum::default();
        (0..3).for_each(|_| enter(&mut s, 0));
        let (from, to) = (WRAP_MASK / 3 - 1_000, WRAP_MASK / 3 + 5_000);
        assert!(s.at(to) < s.at(from));
        assert!(state_ns_between(s.at(from), s.at(to)).abs_diff(18_000) <= 3 * UNIT_NS);
        assert_eq!(state_ns_between(96, 64), -32);
        assert_eq!(state_ns_since_start(0u64.wrapping_sub(64) & WRAP_MASK), 0);
        assert_eq!(state_ns_since_start(77), 77);
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
