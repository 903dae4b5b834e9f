//! Where the time of a phase went, in seconds of the phase itself: the parts add up to it.
//!
//! The service's counters are of all its threads. Threads that work or want to are told from idle ones by their state
//! (an idle one waits for work in a futex, a poll, a read); where several want to at once, each counts for its part of
//! the time. What is left when nobody wanted anything is the GPU's, as far as it was busy, or unexplained.

use inferscope_abi::{STATE_BLOCK_IO, STATE_FAULT, STATE_LOCK, STATE_MEMORY, STATE_SEND, STATE_THROTTLED};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{gpu::GpuWindow, host::HostShare};

/// What a phase's time can go to. The numbers index [`Causes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Cause {
    OnCpu,
    /// Runnable while other programs had the CPUs.
    RunQueue,
    /// Runnable while the service's own threads had the CPUs: it has more at work than there are CPUs.
    OwnThreads,
    /// Runnable, and out of the control group's quota.
    Throttled,
    /// A lock that another thread held: futex(2), or CPython's interpreter lock (estimated).
    Lock,
    /// Block devices and page faults that wait for them.
    BlockIo,
    /// Making room in memory.
    Memory,
    /// The client does not read: a write waits for room.
    Client,
    /// A write waits for room, and segments were lost or take long.
    Network,
    /// The GPU was busy (estimated from its utilisation).
    Gpu,
    /// The engine had other requests to serve first (estimated from its own usual times).
    EngineQueue,
    Unexplained,
}

/// Number of causes.
pub const CAUSES: usize = 12;
/// Names in the order of their numbers: labels, keys of a record.
pub const CAUSE_NAMES: [&str; CAUSES] = [
    "on_cpu",
    "run_queue",
    "own_threads",
    "throttled",
    "lock",
    "block_io",
    "memory",
    "client",
    "network",
    "gpu",
    "engine_queue",
    "unexplained",
];

/// Seconds by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Causes(pub [f64; CAUSES]);

impl Serialize for Causes {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(CAUSES))?;
        for (name, seconds) in CAUSE_NAMES.iter().zip(&self.0) {
            map.serialize_entry(name, seconds)?;
        }
        map.end()
    }
}

/// What is known of a phase beside the host's counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    /// Inside calls that wrote the response.
    pub call_s: f64,
    /// The socket had no room.
    pub full_s: f64,
    /// What waits to be sent is the way's to carry, not the client's to take.
    pub way: bool,
    pub gpu: Option<GpuWindow>,
    /// What the request waited for its turn.
    pub queue_s: f64,
}

impl Causes {
    /// Divides a phase.
    pub fn of(host: &HostShare, beside: &Beside) -> Self {
        let wall = host.wall_s;
        let mut causes = Self::default();
        let sending = (beside.call_s.min(host.state_s(STATE_SEND)) + beside.full_s).min(wall);
        causes.set(if beside.way { Cause::Network } else { Cause::Client }, sending);
        causes.set(Cause::EngineQueue, beside.queue_s.clamp(0.0, wall - sending));
        let left = wall - sending - causes.get(Cause::EngineQueue);
        causes.host(host, left, beside.gpu);
        causes
    }

    /// Divides `left` by what the threads did during the whole phase.
    fn host(&mut self, host: &HostShare, left: f64, gpu: Option<GpuWindow>) {
        let own = host.own_wait_s.min(host.runqueue_s);
        let stalls = [
            (Cause::RunQueue, host.runqueue_s - own),
            (Cause::OwnThreads, own),
            (Cause::Throttled, host.state_s(STATE_THROTTLED)),
            (Cause::Lock, host.state_s(STATE_LOCK) + host.interpreter_wait_s),
            (Cause::BlockIo, host.state_s(STATE_BLOCK_IO) + host.state_s(STATE_FAULT)),
            (Cause::Memory, host.state_s(STATE_MEMORY) + host.reclaim_s),
        ];
        let working = (host.oncpu_s - host.reclaim_s).max(0.0);
        let wanted = working + stalls.iter().map(|(_, seconds)| seconds).sum::<f64>();
        // With fewer thread-seconds than seconds the threads waited for something else meanwhile.
        let scale = if wanted > 0.0 { left / wanted.max(host.wall_s) } else { 0.0 };
        let mut rest = left;
        for (cause, seconds) in stalls {
            self.set(cause, seconds * scale);
            rest -= seconds * scale;
        }
        // A thread may spin while it waits for the GPU: on the CPU is not at work, then.
        let gpu_s = rest.max(0.0) * gpu.map_or(0.0, |gpu| gpu.busy);
        self.set(Cause::Gpu, gpu_s);
        rest -= gpu_s;
        let working = (working * scale).min(rest.max(0.0));
        self.set(Cause::OnCpu, working);
        self.set(Cause::Unexplained, (rest - working).max(0.0));
    }

    fn set(&mut self, cause: Cause, seconds: f64) {
        self.0[cause as usize] = seconds.max(0.0);
    }

    /// Seconds of one cause.
    pub fn get(&self, cause: Cause) -> f64 {
        self.0[cause as usize]
    }

    /// All seconds: the phase's length.
    pub fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    /// Part of the whole, 0 to 1.
    pub fn share(&self, cause: Cause) -> f64 {
        let sum = self.sum();
        if sum > 0.0 { self.get(cause) / sum } else { 0.0 }
    }

    /// Two phases taken together.
    pub fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|cause| self.0[cause] + other.0[cause]))
    }
}

#[cfg(test)]
mod tests {
    use inferscope_abi::FIRST_OFFCPU_STATE;

    use super::*;

    fn host(wall_s: f64, oncpu_s: f64, runqueue_s: f64, states: &[(usize, f64)]) -> HostShare {
        let mut host = HostShare { wall_s, oncpu_s, runqueue_s, ..HostShare::default() };
        states.iter().for_each(|(state, seconds)| host.offcpu_s[state - FIRST_OFFCPU_STATE] = *seconds);
        host
    }

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "{got} is not {want}");
    }

    #[test]
    fn one_thread_is_divided_by_what_it_did() {
        let causes = Causes::of(&host(1.0, 0.4, 0.1, &[(STATE_BLOCK_IO, 0.2)]), &Beside::default());
        near(causes.get(Cause::OnCpu), 0.4);
        near(causes.get(Cause::RunQueue), 0.1);
        near(causes.get(Cause::BlockIo), 0.2);
        near(causes.get(Cause::Unexplained), 0.3);
        near(causes.sum(), 1.0);
    }

    #[test]
    fn many_threads_count_for_their_part_of_the_time() {
        let causes = Causes::of(&host(1.0, 4.0, 4.0, &[]), &Beside::default());
        near(causes.get(Cause::OnCpu), 0.5);
        near(causes.get(Cause::RunQueue), 0.5);
        near(causes.get(Cause::Unexplained), 0.0);
    }

    #[test]
    fn a_spinning_thread_waits_for_a_busy_gpu() {
        let gpu = Some(GpuWindow { busy: 0.9, throttled: false });
        let causes = Causes::of(&host(1.0, 1.0, 0.0, &[]), &Beside { gpu, ..Beside::default() });
        near(causes.get(Cause::Gpu), 0.9);
        near(causes.get(Cause::OnCpu), 0.1);
    }

    #[test]
    fn a_full_socket_is_the_clients_unless_segments_were_lost() {
        let phase = host(1.0, 0.1, 0.0, &[(STATE_SEND, 0.6)]);
        let beside = Beside { call_s: 0.7, full_s: 0.1, ..Beside::default() };
        near(Causes::of(&phase, &beside).get(Cause::Client), 0.7);
        near(Causes::of(&phase, &Beside { way: true, ..beside }).get(Cause::Network), 0.7);
    }

    #[test]
    fn causes_always_add_up_to_the_phase() {
        let phase = host(2.0, 3.0, 1.0, &[(STATE_LOCK, 1.5), (STATE_THROTTLED, 0.3), (STATE_MEMORY, 9.0)]);
        for queue_s in [0.0, 0.5, 2.0, 99.0] {
            for full_s in [0.0, 1.0, 7.0] {
                let beside = Beside {
                    queue_s,
                    full_s,
                    gpu: Some(GpuWindow { busy: 0.5, throttled: true }),
                    ..Beside::default()
                };
                let causes = Causes::of(&phase, &beside);
                near(causes.sum(), 2.0);
                assert!(causes.0.iter().all(|seconds| *seconds >= 0.0), "{causes:?}");
            }
        }
        assert_eq!(Causes::of(&HostShare::default(), &Beside::default()).sum(), 0.0);
    }
}
