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
