//! What threads do, as states, and the time spent in each as sums that are exact at any instant.

/// What a thread can be doing. The numbers index [`Counters::states`](crate::Counters) and [`Snapshot::state_ns`](crate::Snapshot).
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

const _: () = assert!(size_of::<StateSum>() == 16);

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
}
