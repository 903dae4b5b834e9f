//! The host's share of a phase: the difference of two snapshots of the service's counters.
//!
//! A service's counters add up all its threads, so a phase of one second can hold several seconds of on-CPU time, and
//! requests that run at the same time share it. Unit: thread-seconds.

use inferscope_abi::{
    FIRST_OFFCPU_STATE, STATE_BLOCK_IO, STATE_NAMES, STATE_ONCPU, STATE_RUNQUEUE, STATES, Snapshot, state_ns_between,
};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{candidates::CANDIDATES, session::exchange::Mark};

/// What the service's threads did between two instants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct HostShare {
    /// Between the two snapshots.
    pub wall_s: f64,
    pub oncpu_s: f64,
    pub runqueue_s: f64,
    /// By reason, in the order of [`STATE_NAMES`] from [`FIRST_OFFCPU_STATE`] on.
    #[serde(serialize_with = "by_reason")]
    pub offcpu_s: [f64; STATES - FIRST_OFFCPU_STATE],
    pub major_faults: u64,
    /// Waiting for block devices; the same figure as the reason `block_io`.
    pub block_io_s: f64,
    pub block_io_bytes: u64,
    /// Making room in memory; part of `oncpu_s`.
    pub reclaim_s: f64,
    pub reclaims: u64,
    /// Waiting for CPython's interpreter lock, as far as it shows from outside: an estimate, part of the reason `futex`.
    pub interpreter_wait_s: f64,
    /// Of `runqueue_s`, behind threads of the service itself; waits count when they are over.
    pub own_wait_s: f64,
}

/// Phases of a request. A phase whose bounds can't be seen is None: a response that is not streamed does not show
/// where prefill ends. So is one at whose bounds the process was not counted for one and the same service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct HostPhases {
    /// Start to first content.
    pub prefill: Option<HostShare>,
    /// First content to end.
    pub decode: Option<HostShare>,
    /// Start to end.
    pub total: Option<HostShare>,
}

fn by_reason<S: Serializer>(reasons: &[f64; STATES - FIRST_OFFCPU_STATE], out: S) -> Result<S::Ok, S::Error> {
    let mut map = out.serialize_map(Some(reasons.len()))?;
    for (name, seconds) in STATE_NAMES[FIRST_OFFCPU_STATE..].iter().zip(reasons) {
        map.serialize_entry(name, seconds)?;
    }
    map.end()
}

impl HostShare {
    /// The difference of two snapshots of one service, the earlier first.
    pub fn between(from: &Snapshot, to: &Snapshot) -> Self {
        let seconds = |state: usize| state_ns_between(from.state_ns[state], to.state_ns[state]).max(0) as f64 / 1e9;
        Self {
            wall_s: to.at_ns.saturating_sub(from.at_ns) as f64 / 1e9,
            oncpu_s: seconds(STATE_ONCPU),
            runqueue_s: seconds(STATE_RUNQUEUE),
            offcpu_s: std::array::from_fn(|reason| seconds(FIRST_OFFCPU_STATE + reason)),
            major_faults: to.major_faults.saturating_sub(from.major_faults),
            block_io_s: seconds(STATE_BLOCK_IO),
            block_io_bytes: to.block_bytes.saturating_sub(from.block_bytes),
            reclaim_s: state_ns_between(from.reclaim_ns, to.reclaim_ns).max(0) as f64 / 1e9,
            reclaims: to.reclaims.saturating_sub(from.reclaims),
            own_wait_s: to.own_wait_ns.saturating_sub(from.own_wait_ns) as f64 / 1e9,
            interpreter_wait_s: to.interpreter_wait_ns.saturating_sub(from.interpreter_wait_ns) as f64 / 1e9,
        }
    }

    /// What two services did in the same time, taken together.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            wall_s: self.wall_s.max(other.wall_s),
            oncpu_s: self.oncpu_s + other.oncpu_s,
            runqueue_s: self.runqueue_s + other.runqueue_s,
            offcpu_s: std::array::from_fn(|reason| self.offcpu_s[reason] + other.offcpu_s[reason]),
            major_faults: self.major_faults + other.major_faults,
            block_io_s: self.block_io_s + other.block_io_s,
            block_io_bytes: self.block_io_bytes + other.block_io_bytes,
            reclaim_s: self.reclaim_s + other.reclaim_s,
            reclaims: self.reclaims + other.reclaims,
            interpreter_wait_s: self.interpreter_wait_s + other.interpreter_wait_s,
            own_wait_s: self.own_wait_s + other.own_wait_s,
        }
    }

    /// Thread-seconds in an off-CPU state, by `STATE_*`.
    pub fn state_s(&self, state: usize) -> f64 {
        self.offcpu_s.get(state - FIRST_OFFCPU_STATE).copied().unwrap_or(0.0)
    }
}

/// None if the two instants do not hold the counters of one service; all candidates share one sum.
fn share(from: &Mark, to: &Mark) -> Option<HostShare> {
    let comparable = from.service == to.service && from.service != CANDIDATES;
    comparable.then(|| HostShare::between(&from.snapshot, &to.snapshot))
}

/// What is read so late after the end of a response that was cut off still says something of it, however short the
/// stretch is that it is for.
const LATE_NS: u64 = 250_000_000;

/// A response that was cut off ended without a record, and its end has the counters of the last one. Takes them on to the
/// end by a later reading of the same service: as if the service had gone on evenly between the two. More than the stretch
/// until the end can hold is never put into it. A reading that is later by more than that stretch, and by more than
/// 250 ms, says too little of it: the counters stay as they are.
pub fn take_on(end: &mut Mark, later: &Snapshot) {
    let from = end.snapshot;
    let (stretch_ns, read_ns) = (end.at_ns.saturating_sub(from.at_ns), later.at_ns.saturating_sub(from.at_ns));
    if stretch_ns == 0 || read_ns == 0 || later.at_ns.saturating_sub(end.at_ns) > stretch_ns.max(LATE_NS) {
        return;
    }
    let part = (stretch_ns as f64 / read_ns as f64).min(1.0);
    let of = |more: u64| (more as f64 * part).round() as u64;
    // States wrap; that of two values the later one can be a little below the other.
    let state = |from: u64, to: u64| from.wrapping_add(of(state_ns_between(from, to).max(0).unsigned_abs()));
    let count = |from: u64, to: u64| from + of(to.saturating_sub(from));
    end.snapshot = Snapshot {
        at_ns: end.at_ns,
        state_ns: std::array::from_fn(|at| state(from.state_ns[at], later.state_ns[at])),
        major_faults: count(from.major_faults, later.major_faults),
        block_bytes: count(from.block_bytes, later.block_bytes),
        reclaim_ns: state(from.reclaim_ns, later.reclaim_ns),
        reclaims: count(from.reclaims, later.reclaims),
        interpreter_wait_ns: count(from.interpreter_wait_ns, later.interpreter_wait_ns),
        own_wait_ns: count(from.own_wait_ns, later.own_wait_ns),
    };
}

impl HostPhases {
    /// The phases between the instants of a request.
    pub fn new(start: &Mark, first_content: Option<&Mark>, end: &Mark) -> Self {
        Self {
            prefill: first_content.and_then(|first| share(start, first)),
            decode: first_content.and_then(|first| share(first, end)),
            total: share(start, end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_add_up_and_never_go_below_zero() {
        let mark = |at_ns: u64, oncpu: u64, faults: u64| {
            let mut mark = Mark { at_ns, service: 1, ..Mark::default() };
            mark.snapshot.state_ns[STATE_ONCPU] = oncpu;
            mark.snapshot.major_faults = faults;
            mark
        };
        let phases = HostPhases::new(&mark(0, 500, 1), Some(&mark(10, 2_000_000_500, 1)), &mark(20, 3_000_000_500, 4));
        assert_eq!(phases.prefill.expect("seen").oncpu_s, 2.0);
        assert_eq!(phases.decode.expect("seen").oncpu_s, 1.0);
        assert_eq!(phases.decode.expect("seen").major_faults, 3);
        assert_eq!(phases.total.expect("seen").oncpu_s, 3.0);
        let back = HostPhases::new(&mark(0, 500, 0), None, &mark(1, 400, 0));
        assert_eq!((back.total.expect("seen").oncpu_s, back.prefill), (0.0, None));
        let json = serde_json::to_value(phases).expect("plain");
        assert_eq!(json["decode"]["offcpu_s"]["futex"], 0.0);
    }

    /// A response whose last record came at 1 s and that was cut off at `end_ms`, and a reading of the counters: three
    /// threads ran since, through the place where a state's figure wraps.
    fn cut_off(end_ms: u64, read_ms: u64) -> HostShare {
        const MS: u64 = 1_000_000;
        let mut last = Snapshot { at_ns: 1_000 * MS, major_faults: 7, ..Snapshot::default() };
        last.state_ns[STATE_ONCPU] = u64::MAX - 5;
        let read_ns = (read_ms - 1_000) * MS;
        let mut later = Snapshot { at_ns: read_ms * MS, major_faults: 47, own_wait_ns: read_ns / 2, ..last };
        later.state_ns[STATE_ONCPU] = last.state_ns[STATE_ONCPU].wrapping_add(3 * read_ns);
        later.state_ns[STATE_RUNQUEUE] = read_ns;
        later.state_ns[STATE_BLOCK_IO] = last.state_ns[STATE_BLOCK_IO].wrapping_sub(9);
        let mut end = Mark { at_ns: end_ms * MS, service: 1, snapshot: last };
        take_on(&mut end, &later);
        HostShare::between(&last, &end.snapshot)
    }

    #[test]
    fn what_was_cut_off_has_the_counters_of_its_end() {
        for (end_ms, read_ms, faults) in [(2_500, 2_500, 40), (2_500, 2_600, 38), (2_500, 4_000, 20), (1_050, 1_250, 8)]
        {
            let share = cut_off(end_ms, read_ms);
            let wall_s = (end_ms - 1_000) as f64 / 1e3;
            let near =
                |got: f64, want: f64| assert!((got - want).abs() < 1e-6, "{got} is not {want}: {end_ms} {read_ms}");
            near(share.wall_s, wall_s);
            near(share.oncpu_s, 3.0 * wall_s);
            near(share.runqueue_s, wall_s);
            near(share.own_wait_s, wall_s / 2.0);
            assert_eq!((share.major_faults, share.block_io_s), (faults, 0.0));
        }
        // What clocks of two CPUs make of a reading at the end itself is not stretched.
        let share = cut_off(2_500, 2_400);
        assert_eq!((share.wall_s, (share.oncpu_s * 10.0).round()), (1.5, 42.0));
    }

    #[test]
    fn a_reading_that_is_mostly_of_later_says_nothing() {
        assert_eq!(cut_off(2_500, 4_001), HostShare::default());
        assert_eq!(cut_off(1_050, 1_301), HostShare::default());
        assert_eq!(cut_off(1_000, 1_100), HostShare::default(), "nothing is missing");
        assert_eq!(cut_off(1_500, 1_000), HostShare::default(), "it is no later than what is known");
    }

    #[test]
    fn counters_of_two_services_are_not_subtracted() {
        let mark = |service: u32, oncpu: u64| {
            let mut mark = Mark { service, ..Mark::default() };
            mark.snapshot.state_ns[STATE_ONCPU] = oncpu;
            mark
        };
        let (stranger, ours, later) = (mark(CANDIDATES, 7_000_000_000), mark(3, 1_000_000_000), mark(3, 2_000_000_000));
        assert_eq!(HostPhases::new(&stranger, Some(&stranger), &stranger), HostPhases::default());
        assert_eq!(HostPhases::new(&mark(4, 0), None, &later).total, None);
        let adopted = HostPhases::new(&stranger, Some(&ours), &later);
        assert_eq!(
            (adopted.prefill, adopted.decode.map(|share| share.oncpu_s), adopted.total),
            (None, Some(1.0), None)
        );
        assert!(serde_json::to_value(adopted).expect("plain")["total"].is_null());
    }
}
