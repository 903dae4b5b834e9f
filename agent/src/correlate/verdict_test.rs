//! One made-up service, its usual requests, and each thing that can go wrong with it.

use inferscope_abi::{FIRST_OFFCPU_STATE, STATE_BLOCK_IO, STATE_LOCK, STATE_MEMORY, STATE_SEND, STATE_THROTTLED};

use super::*;
use crate::correlate::{HostPhases, NetworkShare};

#[path = "verdict_gpu_test.rs"]
mod gpu;

/// A request that prefills for 100 ms and decodes 20 tokens in 400 ms, each slowed down `slow` times; what its threads
/// did is a part of its time.
fn request(slow: f64, oncpu: f64, runqueue: f64, states: &[(usize, f64)]) -> Request {
    let share = |wall_s: f64| {
        let mut host =
            HostShare { wall_s, oncpu_s: oncpu * wall_s, runqueue_s: runqueue * wall_s, ..HostShare::default() };
        states.iter().for_each(|(state, part)| host.offcpu_s[state - FIRST_OFFCPU_STATE] = part * wall_s);
        Some(host)
    };
    Request {
        service: "s".into(),
        role: "server",
        operation: Some("chat"),
        stream: true,
        status: 200,
        input_tokens: Some(50),
        output_tokens: Some(21),
        ttft_s: Some(0.1 * slow),
        tpot_s: Some(0.02 * slow),
        duration_s: 0.5 * slow,
        host: HostPhases { prefill: share(0.1 * slow), decode: share(0.4 * slow), total: share(0.5 * slow) },
        ..Request::default()
    }
}

fn quiet() -> Request {
    request(1.0, 1.5, 0.05, &[(STATE_BLOCK_IO, 0.01)])
}

fn learned() -> Judge {
    let mut judge = Judge::default();
    for _ in 0..30 {
        let mut request = quiet();
        judge.judge(&mut request, None);
        assert_eq!(request.finding.verdict, Some(Verdict::HostOk));
    }
    judge
}

#[track_caller]
fn verdict(mut request: Request, gpu: Option<GpuWindow>) -> Verdict {
    learned().judge(&mut request, gpu);
    let Finding { verdict, verdict_confidence, .. } = request.finding;
    let confidence = verdict_confidence.expect("given");
    assert!((0.0..=1.0).contains(&confidence), "{verdict:?} {confidence}");
    verdict.expect("given")
}

#[test]
fn each_fault_is_called_by_its_name() {
    assert_eq!(verdict(quiet(), None), Verdict::HostOk);
    assert_eq!(verdict(request(2.0, 1.0, 0.9, &[]), None), Verdict::CpuContention);
    assert_eq!(verdict(request(3.0, 0.6, 0.4, &[(STATE_THROTTLED, 0.9)]), None), Verdict::CpuThrottled);
    assert_eq!(verdict(request(2.0, 0.5, 0.05, &[(STATE_LOCK, 0.5)]), None), Verdict::LockBound);
    assert_eq!(verdict(request(2.0, 0.5, 0.05, &[(STATE_BLOCK_IO, 0.6)]), None), Verdict::IoBound);
    assert_eq!(verdict(request(2.0, 0.5, 0.05, &[(STATE_MEMORY, 0.6)]), None), Verdict::MemoryPressure);
    assert_eq!(verdict(request(2.0, 1.5, 0.05, &[]), None), Verdict::CpuBound);
    assert_eq!(verdict(request(3.0, 0.1, 0.0, &[]), None), Verdict::Unknown);
}

#[test]
fn threads_that_wait_for_each_other_are_no_contention() {
    let mut crowded = request(1.0, 1.0, 0.9, &[]);
    for host in [&mut crowded.host.prefill, &mut crowded.host.decode, &mut crowded.host.total].into_iter().flatten() {
        host.own_wait_s = 0.85 * host.wall_s;
    }
    let mut judge = Judge::default();
    judge.judge(&mut crowded, None);
    assert_eq!(crowded.finding.verdict, Some(Verdict::HostOk));
}

#[test]
fn pages_that_are_read_again_were_thrown_out_for_want_of_memory() {
    let mut squeezed = request(2.0, 0.5, 0.05, &[(STATE_BLOCK_IO, 0.6)]);
    squeezed.host.total = squeezed.host.total.map(|host| HostShare { major_faults: 400, reclaims: 300, ..host });
    assert_eq!(verdict(squeezed, None), Verdict::MemoryPressure);
}

#[test]
fn the_interpreters_lock_is_a_lock() {
    let mut waits = request(2.0, 0.5, 0.05, &[]);
    for host in [&mut waits.host.prefill, &mut waits.host.decode, &mut waits.host.total].into_iter().flatten() {
        host.interpreter_wait_s = 0.5 * host.wall_s;
    }
    assert_eq!(verdict(waits, None), Verdict::LockBound);
}

#[test]
fn a_client_that_does_not_read_is_told_from_a_way_that_loses() {
    let slow = Request {
        network: NetworkShare { write_s: [0.0, 1.0], full_s: [0.0, 0.5], ..NetworkShare::default() },
        ..request(4.0, 0.3, 0.0, &[(STATE_SEND, 0.5)])
    };
    assert_eq!(verdict(slow.clone(), None), Verdict::ClientSlow);
    // The server did not wait, but what it wrote waits for the client.
    let unread = NetworkShare { unread_ratio: 0.8, retransmits: 3, ..NetworkShare::default() };
    assert_eq!(verdict(Request { network: unread, ..quiet() }, None), Verdict::ClientSlow);
    let loses = NetworkShare { retransmits: 9, rtt_s: 0.05, ..slow.network };
    assert_eq!(verdict(Request { network: loses, ..slow }, None), Verdict::NetworkBound);
    // The server does not wait for the way; the client does.
    let far = NetworkShare { rtt_s: 0.2, ..NetworkShare::default() };
    assert_eq!(verdict(Request { network: far, ..quiet() }, None), Verdict::NetworkBound);
    let near = NetworkShare { rtt_s: 0.004, ..NetworkShare::default() };
    assert_eq!(verdict(Request { network: near, ..quiet() }, None), Verdict::HostOk);
    // A client that holds back the acknowledgement of a short response.
    let held_back = NetworkShare { rtt_s: 0.039, ..NetworkShare::default() };
    let mut short = Request { network: held_back, duration_s: 0.012, ttft_s: Some(0.005), ..quiet() };
    short.output_tokens = Some(1);
    assert_eq!(verdict(short, None), Verdict::HostOk);
}

#[test]
fn a_client_that_keeps_one_large_write_waiting_is_slow_all_the_same() {
    for (write_s, full_s) in [([1.0, 0.0], [0.0, 0.0]), ([0.0, 0.0], [0.5, 0.0])] {
        let network = NetworkShare { write_s, full_s, ..NetworkShare::default() };
        let mut slow = Request { network, ..request(4.0, 0.3, 0.0, &[(STATE_SEND, 0.5)]) };
        (slow.stream, slow.ttft_s, slow.tpot_s) = (false, None, None);
        slow.host = HostPhases { total: slow.host.total, ..HostPhases::default() };
        assert_eq!(verdict(slow, None), Verdict::ClientSlow);
    }
}

/// An embedding that takes so long, with so many others beside it; its threads work as little as ever.
fn embedding(duration_s: f64, others_in_flight: f64) -> Request {
    let host = HostShare { wall_s: duration_s, oncpu_s: 0.01, ..HostShare::default() };
    let host = HostPhases { total: Some(host), ..HostPhases::default() };
    let (stream, ttft_s, tpot_s, output_tokens) = (false, None, None, None);
    let operation = Some("embeddings");
    Request { operation, stream, ttft_s, tpot_s, output_tokens, duration_s, others_in_flight, host, ..quiet() }
}

#[test]
fn what_makes_no_tokens_is_slow_and_queues_like_anything_else() {
    let judged = |mut request: Request| {
        let mut judge = Judge::default();
        for _ in 0..20 {
            let mut usual = embedding(0.02, 0.0);
            judge.judge(&mut usual, None);
            assert_eq!(usual.finding.verdict, Some(Verdict::HostOk));
        }
        judge.judge(&mut request, None);
        (request.finding.verdict.expect("given"), request.finding.slowdown.map(f64::round))
    };
    assert_eq!(judged(embedding(0.02, 0.0)), (Verdict::HostOk, Some(1.0)));
    assert_eq!(judged(embedding(0.2, 0.0)), (Verdict::Unknown, Some(10.0)));
    assert_eq!(judged(embedding(0.2, 39.0)), (Verdict::Queueing, Some(10.0)));
    let much = Request { input_tokens: Some(500), ..embedding(0.2, 0.0) };
    assert_eq!(judged(much), (Verdict::HostOk, None), "ten times as much");
}

#[test]
fn a_first_token_that_comes_late_in_a_crowd_has_queued() {
    let late = |others| {
        let mut late = Request { ttft_s: Some(2.1), duration_s: 2.5, others_in_flight: others, ..quiet() };
        late.host.prefill = late.host.prefill.map(|host| HostShare { wall_s: 2.1, oncpu_s: 3.0, ..host });
        late
    };
    assert_eq!(verdict(late(30.0), None), Verdict::Queueing);
    assert_ne!(verdict(late(0.0), None), Verdict::Queueing);
    // Where part of the response was not seen there are no tokens to hold the rest of its time to.
    let unseen = Request { gap: true, output_tokens: None, tpot_s: None, duration_s: 4.0, ..late(30.0) };
    assert_eq!(verdict(unseen, None), Verdict::Queueing);
}

#[test]
fn a_long_stream_of_which_part_was_not_seen_is_not_slow_for_that() {
    let gap = |runqueue| {
        let mut long = Request { gap: true, output_tokens: None, tpot_s: None, duration_s: 3.0, ..quiet() };
        let decode = request(1.0, 1.0, runqueue, &[]).host.decode.map(|host| HostShare {
            wall_s: 2.9,
            oncpu_s: 2.9,
            runqueue_s: 2.9 * runqueue,
            ..host
        });
        (long.host.decode, long.host.total) = (decode, None);
        let mut judge = learned();
        judge.judge(&mut long, None);
        (long.finding.verdict.expect("given"), long.finding.slowdown)
    };
    assert_eq!(gap(0.05), (Verdict::HostOk, None));
    assert_eq!(gap(0.9), (Verdict::CpuContention, None));
}

#[test]
fn a_rush_does_not_become_usual() {
    let mut judge = learned();
    for _ in 0..200 {
        // Those that found a place at once; the others, whole and streamed, have waited.
        judge.judge(&mut Request { others_in_flight: 30.0, ..quiet() }, None);
        let whole = request(1.0, 1.5, 0.05, &[]).host.total;
        let mut late =
            Request { stream: false, ttft_s: None, tpot_s: None, duration_s: 5.0, others_in_flight: 30.0, ..quiet() };
        late.host = HostPhases { total: whole.map(|host| HostShare { wall_s: 5.0, ..host }), ..HostPhases::default() };
        judge.judge(&mut late, None);
        assert_eq!(late.finding.verdict, Some(Verdict::Queueing), "{:?}", late.finding);
        assert!(late.finding.slowdown.is_some_and(|slowdown| slowdown > 5.0), "{:?}", late.finding);
        judge.judge(&mut quiet(), None);
    }
}

#[test]
fn what_a_service_always_loses_is_not_what_made_it_slow() {
    let mut judge = Judge::default();
    for _ in 0..50 {
        judge.judge(&mut request(1.0, 1.0, 0.17, &[]), None);
    }
    let mut same = request(1.0, 1.0, 0.2, &[]);
    judge.judge(&mut same, None);
    assert_eq!(same.finding.verdict, Some(Verdict::HostOk));
}

#[test]
fn a_fault_that_was_there_from_the_start_is_seen_without_a_usual() {
    let mut judge = Judge::default();
    let mut first = request(1.0, 1.0, 0.9, &[]);
    judge.judge(&mut first, None);
    assert_eq!((first.finding.verdict, first.finding.slowdown), (Some(Verdict::CpuContention), None));
}

#[test]
fn a_fault_does_not_become_usual() {
    let mut judge = learned();
    for _ in 0..500 {
        let mut request = request(2.0, 1.0, 0.9, &[]);
        judge.judge(&mut request, None);
        assert_eq!(request.finding.verdict, Some(Verdict::CpuContention));
    }
}

#[test]
fn other_work_becomes_usual_in_time() {
    let mut judge = learned();
    let mut last = None;
    for _ in 0..1_500 {
        let mut request = request(2.0, 1.5, 0.05, &[]);
        judge.judge(&mut request, None);
        last = request.finding.verdict;
    }
    assert_eq!(last, Some(Verdict::HostOk));
}

/// Given up by its client after so many seconds without a byte of response; known is where part of its time went.
fn given_up(after_s: f64, known: f64) -> Request {
    let host = request(after_s * known / 0.5, 1.0, 0.9, &[]).host;
    let error_type = Some("cancelled".to_owned());
    let (ttft_s, tpot_s, output_tokens) = (None, None, None);
    let host = HostPhases { total: host.total, ..HostPhases::default() };
    Request { error_type, status: 0, duration_s: after_s, host, ttft_s, tpot_s, output_tokens, ..quiet() }
}

#[test]
fn what_was_given_up_is_judged_by_the_time_until_then() {
    let mut judge = learned();
    let mut cut = given_up(1.5, 1.0);
    judge.judge(&mut cut, None);
    assert_eq!(cut.finding.verdict, Some(Verdict::CpuContention));
    assert!((cut.finding.causes.total.expect("seen").sum() - 1.5).abs() < 1e-9, "{:?}", cut.finding);
    // A service that was sick from the start.
    let mut first = given_up(1.5, 1.0);
    Judge::default().judge(&mut first, None);
    assert_eq!(first.finding.verdict, Some(Verdict::CpuContention));
}

#[test]
fn where_most_of_the_time_was_not_seen_nothing_is_said() {
    for known in [0.0, 0.3] {
        for mut judge in [Judge::default(), learned()] {
            let mut cut = given_up(1.5, known);
            judge.judge(&mut cut, Some(GpuWindow { busy: 1.0, throttled: true }));
            let said = (cut.finding.verdict, cut.finding.verdict_confidence);
            assert_eq!(said, (Some(Verdict::Unknown), Some(0.0)), "{known}");
        }
    }
}

#[test]
fn callers_and_other_requests_get_no_verdict() {
    let mut judge = Judge::default();
    for mut request in [Request { role: "client", ..quiet() }, Request { operation: None, ..quiet() }] {
        judge.judge(&mut request, None);
        assert_eq!(request.finding, Finding::default());
    }
    let mut unseen = Request { host: HostPhases::default(), ..quiet() };
    judge.judge(&mut unseen, None);
    assert_eq!(unseen.finding.verdict, Some(Verdict::Unknown));
}
