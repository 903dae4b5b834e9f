//! Why a request was slow, in one word: what it lost to each cause beyond what its service usually loses, weighed by
//! whether it was slow at all against what it would have taken when nothing was wrong.

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::{
    baseline::{Baseline, Expected},
    causes::{Beside, Cause, Causes},
    gpu::GpuWindow,
    host::HostShare,
    lesson::{Lesson, Rarely, lesson},
    request::Request,
};

/// What was the matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Verdict {
    /// The GPU was busy, or its clocks were held down, and the host was ready.
    GpuBound,
    /// More work on the CPU than usual.
    CpuBound,
    /// Others had the CPUs.
    CpuContention,
    /// The control group's CPU quota.
    CpuThrottled,
    LockBound,
    IoBound,
    MemoryPressure,
    NetworkBound,
    /// The client did not read as fast as the response came.
    ClientSlow,
    /// The engine had more requests than it takes.
    Queueing,
    /// Nothing was wrong with the host.
    HostOk,
    /// Slow for no reason that shows.
    Unknown,
}

/// Number of verdicts.
pub const VERDICTS: usize = 12;
/// Names in the order of their numbers.
pub const VERDICT_NAMES: [&str; VERDICTS] = [
    "gpu_bound",
    "cpu_bound",
    "cpu_contention",
    "cpu_throttled",
    "lock_bound",
    "io_bound",
    "memory_pressure",
    "network_bound",
    "client_slow",
    "queueing",
    "host_ok",
    "unknown",
];

impl Verdict {
    /// Its name.
    pub fn name(self) -> &'static str {
        VERDICT_NAMES[self as usize]
    }
}

/// Where the time of each phase went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PhaseCauses {
    pub prefill: Option<Causes>,
    pub decode: Option<Causes>,
    pub total: Option<Causes>,
}

/// What is said of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Finding {
    #[serde(serialize_with = "named")]
    pub verdict: Option<Verdict>,
    /// 0 to 1.
    pub verdict_confidence: Option<f64>,
    /// The duration over what it would have been when nothing was wrong; None until the usual of its service and model is
    /// known, and where it is not known how many tokens it was for.
    pub slowdown: Option<f64>,
    /// Seconds of each phase by cause.
    pub causes: PhaseCauses,
}

fn named<S: serde::Serializer>(verdict: &Option<Verdict>, out: S) -> Result<S::Ok, S::Error> {
    verdict.map(Verdict::name).serialize(out)
}

/// Part of a request's time of which it must be known where it went: what becomes of a response that is cut off can be
/// seen too late for the rest.
const SEEN: f64 = 0.5;
/// A slower request than this is slow, whatever it lost.
const SLOW: f64 = 2.0;
/// A faster one than this lost nothing that matters.
pub const NOT_SLOW: f64 = 1.15;
/// Part of a slow request that a cause of the host must have taken more than usual.
const EXCESS: f64 = 0.10;
/// The same where it is not known whether the request was slow.
const EXCESS_UNKNOWN: f64 = 0.20;
/// The same of one that was not.
const EXCESS_NOT_SLOW: f64 = 0.60;
/// Parts that the client, the way to it, and the engine's queue must have taken.
const CLIENT: f64 = 0.15;
/// Part of the writes after which the client had no room for what waited, as a part of the request: the server need not
/// have waited for it.
const UNREAD: f64 = 0.3;
const NETWORK: f64 = 0.20;
/// The round-trip time from which on a full send buffer is put down to the way and not to the reader.
const FAR_S: f64 = 0.02;
/// The round-trip time beyond the usual that makes a response late: a receiver may hold its acknowledgement back for 40 ms.
const LATE_S: f64 = 0.05;
const QUEUE: f64 = 0.25;
/// A GPU is busy from this time share on.
const GPU_BUSY: f64 = 0.9;
/// A first token that takes so many times as long as usual has waited for others: a fuller batch makes it slower too.
const QUEUED: f64 = 3.0;
/// What a lost segment costs a stream of small ones at least: the sender's timer (TCP_RTO_MIN).
const RETRANSMIT_S: f64 = 0.2;
/// Services whose usual is kept.
const SERVICES: usize = 1024;

/// Gives each request its verdict and learns from it what is usual.
#[derive(Default)]
pub struct Judge {
    services: FxHashMap<String, Baseline>,
    rarely: Rarely,
}

/// A cause that may be the one, its part of the request, and from which part on it is.
struct Candidate {
    verdict: Verdict,
    part: f64,
    from: f64,
}

impl Judge {
    /// Fills in the request's [`Finding`].
    pub fn judge(&mut self, request: &mut Request, gpu: Option<GpuWindow>) {
        if request.role != "server" || request.operation.is_none() {
            return;
        }
        if self.services.len() >= SERVICES && !self.services.contains_key(&request.service) {
            self.services.clear();
        }
        let baseline = match self.services.get_mut(&request.service) {
            Some(baseline) => baseline,
            None => self.services.entry(request.service.clone()).or_default(),
        };
        let expected = baseline.expected(request);
        let causes = divide(request, baseline, expected, gpu);
        let mut slowdown = expected.map(|expected| request.duration_s / expected.duration_s);
        let (verdict, confidence) = match causes.total {
            Some(total) if total.sum() >= SEEN * request.duration_s => decide(request, baseline, &total, slowdown, gpu),
            _ => (Verdict::Unknown, 0.0),
        };
        // That so many are there is what is wrong then, and no reason to expect less.
        if verdict == Verdict::Queueing {
            slowdown = expected.map(|expected| request.duration_s / expected.uncrowded_s);
        }
        request.finding = Finding { verdict: Some(verdict), verdict_confidence: Some(confidence), slowdown, causes };
        if request.error_type.is_none()
            && let Some(total) = causes.total
        {
            let crowded = baseline.is_known() && baseline.is_crowded(request);
            match lesson(verdict, slowdown).filter(|lesson| self.rarely.takes(*lesson, crowded)) {
                Some(Lesson::Whole) => baseline.learn(request, &total),
                Some(Lesson::Times) => baseline.learn_times(request),
                None => {}
            }
        }
    }
}

/// How long a request waited for its turn: at least as long as the engine says, where it does; the front can have a queue
/// too.
fn queued_s(request: &Request, baseline: &Baseline, expected: Option<Expected>) -> f64 {
    let told_s = request.engine_times.as_ref().and_then(|times| times.queue_s);
    late_in_a_crowd_s(request, baseline, expected).max(told_s.unwrap_or(0.0))
}

/// An estimate of the same: what it took longer than usual, if that is much and it had more beside it than usual.
fn late_in_a_crowd_s(request: &Request, baseline: &Baseline, expected: Option<Expected>) -> f64 {
    if !baseline.is_crowded(request) {
        return 0.0;
    }
    let (took_s, usual_s) = match (request.ttft_s, expected) {
        // With nothing to compare with: a first token that takes longer than all the others together.
        (Some(ttft_s), _) => (ttft_s, baseline.usual_ttft_s(request).unwrap_or(request.duration_s - ttft_s)),
        (None, Some(expected)) => (request.duration_s, expected.uncrowded_s),
        (None, None) => return 0.0,
    };
    if took_s >= QUEUED * usual_s { took_s - usual_s } else { 0.0 }
}

fn divide(request: &Request, baseline: &Baseline, expected: Option<Expected>, gpu: Option<GpuWindow>) -> PhaseCauses {
    let queue_s = queued_s(request, baseline, expected);
    let network = &request.network;
    let of = |host: &HostShare, parts: std::ops::Range<usize>, queue_s: f64| {
        let sum = |by_phase: [f64; 2]| by_phase[parts.clone()].iter().sum();
        let way = network.unread_ratio < UNREAD && (network.retransmits > 1 || network.rtt_s >= FAR_S);
        let (call_s, full_s) = (sum(network.write_s), sum(network.full_s));
        Causes::of(host, &Beside { call_s, full_s, way, gpu, queue_s })
    };
    let prefill = request.host.prefill.map(|host| of(&host, 0..1, queue_s));
    let decode = request.host.decode.map(|host| of(&host, 1..2, 0.0));
    let total = match (&prefill, &decode) {
        (Some(prefill), Some(decode)) => Some(prefill.plus(decode)),
        _ => request.host.total.map(|host| of(&host, 0..2, queue_s)),
    };
    PhaseCauses { prefill, decode, total }
}

/// How much later than usual the response reached its client on the way, as part of all the time until then: an estimate,
/// for the server does not wait for it.
fn late(request: &Request, baseline: &Baseline) -> f64 {
    let usual_s = baseline.usual_rtt_s().unwrap_or(0.0);
    let far_s = Some(request.network.rtt_s - usual_s).filter(|far_s| *far_s >= LATE_S).unwrap_or(0.0);
    // One alone is a tail that the client was slow to acknowledge, as often as not.
    let again = request.network.retransmits.saturating_sub(1);
    let again_s = f64::from(again) * (RETRANSMIT_S + request.network.rtt_s);
    let late_s = far_s + again_s.min(request.duration_s.max(RETRANSMIT_S));
    late_s / (late_s + request.duration_s)
}

fn candidates(request: &Request, baseline: &Baseline, total: &Causes, slowdown: Option<f64>) -> [Candidate; 8] {
    let excess = |cause| baseline.excess(total, cause);
    let (mut run_queue, mut throttled) = (excess(Cause::RunQueue), excess(Cause::Throttled));
    let (mut io, mut memory) = (excess(Cause::BlockIo), excess(Cause::Memory));
    // Threads that wait already when the quota runs out are runnable to the kernel's books.
    if throttled > 0.05 {
        (throttled, run_queue) = (throttled + run_queue, 0.0);
    }
    // What is read again was thrown out to make room.
    let host = request.host.total.unwrap_or_default();
    if host.reclaims > 0 && host.reclaims >= host.major_faults / 8 {
        (memory, io) = (memory + io, 0.0);
    }
    let from = match slowdown {
        None => EXCESS_UNKNOWN,
        Some(slowdown) if slowdown < NOT_SLOW => EXCESS_NOT_SLOW,
        Some(_) => EXCESS,
    };
    let unread = request.network.unread_ratio * CLIENT / UNREAD;
    let candidate = |verdict, part, from| Candidate { verdict, part, from };
    [
        candidate(Verdict::CpuContention, run_queue, from),
        candidate(Verdict::CpuThrottled, throttled, from),
        candidate(Verdict::LockBound, excess(Cause::Lock), from),
        candidate(Verdict::IoBound, io, from),
        candidate(Verdict::MemoryPressure, memory, from),
        candidate(Verdict::ClientSlow, total.share(Cause::Client).max(unread), CLIENT),
        candidate(Verdict::NetworkBound, total.share(Cause::Network).max(late(request, baseline)), NETWORK),
        candidate(Verdict::Queueing, total.share(Cause::EngineQueue), QUEUE),
    ]
}

/// The verdict and how sure it is.
fn decide(
    request: &Request,
    baseline: &Baseline,
    total: &Causes,
    slowdown: Option<f64>,
    gpu: Option<GpuWindow>,
) -> (Verdict, f64) {
    let mut all = candidates(request, baseline, total, slowdown);
    all.sort_by(|a, b| (b.part / b.from).total_cmp(&(a.part / a.from)));
    let [first, second, ..] = &all;
    let known = if baseline.is_known() { 1.0 } else { 0.8 };
    if first.part >= first.from {
        let apart = 1.0 - (second.part / first.part).min(1.0);
        return (first.verdict, known * first.part / (first.part + first.from / 2.0) * (0.7 + 0.3 * apart));
    }
    let near = (first.part / first.from).min(1.0);
    if let Some(gpu) = gpu
        && (gpu.throttled || gpu.busy >= GPU_BUSY)
    {
        return (Verdict::GpuBound, (1.0 - near / 2.0) * gpu.busy.max(0.5));
    }
    match slowdown {
        Some(slowdown) if slowdown >= SLOW => {
            let on_cpu = total.share(Cause::OnCpu) + total.share(Cause::OwnThreads);
            let certainty = (1.0 - SLOW / slowdown / 2.0) * (1.0 - near / 2.0);
            if on_cpu >= 0.5 { (Verdict::CpuBound, certainty * on_cpu) } else { (Verdict::Unknown, certainty / 2.0) }
        }
        _ => (Verdict::HostOk, known * (1.0 - near / 2.0)),
    }
}

#[cfg(test)]
#[path = "verdict_test.rs"]
mod tests;
