//! The same service with a GPU: busy as it is meant to be, held down, and in a rush.

use super::*;

#[test]
fn the_gpu_is_it_only_when_the_host_was_ready() {
    let busy = |busy, throttled| Some(GpuWindow { busy, throttled });
    assert_eq!(verdict(quiet(), busy(0.99, false)), Verdict::GpuBound);
    assert_eq!(verdict(quiet(), busy(0.5, true)), Verdict::GpuBound);
    assert_eq!(verdict(quiet(), busy(0.3, false)), Verdict::HostOk);
    assert_eq!(verdict(request(2.0, 1.0, 0.9, &[]), busy(0.99, false)), Verdict::CpuContention);
}

#[test]
fn a_service_that_keeps_its_gpu_busy_has_a_usual_like_any_other() {
    let busy = Some(GpuWindow { busy: 0.97, throttled: false });
    let lock = [(STATE_LOCK, 0.15)];
    let mut judge = Judge::default();
    for _ in 0..40 {
        judge.judge(&mut request(1.0, 0.3, 0.05, &lock), busy);
    }
    let mut slower = request(1.3, 0.3, 0.05, &lock);
    judge.judge(&mut slower, busy);
    assert_eq!(slower.finding.verdict, Some(Verdict::GpuBound), "{:?}", slower.finding);
    assert!(slower.finding.slowdown.is_some_and(|slowdown| (slowdown - 1.3).abs() < 1e-6), "{:?}", slower.finding);
    // What it loses more than ever still shows.
    let mut locked = request(1.3, 0.3, 0.05, &[(STATE_LOCK, 0.4)]);
    judge.judge(&mut locked, busy);
    assert_eq!(locked.finding.verdict, Some(Verdict::LockBound), "{:?}", locked.finding);
}

#[test]
fn a_gpu_whose_clocks_are_held_down_does_not_become_usual_at_once() {
    let busy = |throttled| Some(GpuWindow { busy: 0.97, throttled });
    let mut judge = Judge::default();
    (0..10).for_each(|_| judge.judge(&mut quiet(), busy(false)));
    for _ in 0..16 {
        let mut slow = request(2.0, 0.8, 0.05, &[(STATE_LOCK, 0.09)]);
        judge.judge(&mut slow, busy(true));
        assert_eq!(slow.finding.verdict, Some(Verdict::GpuBound), "{:?}", slow.finding);
        assert!(slow.finding.slowdown.is_some_and(|slowdown| slowdown > 1.9), "{:?}", slow.finding);
    }
}

#[test]
fn a_rush_on_a_busy_gpu_does_not_become_usual() {
    let busy = Some(GpuWindow { busy: 0.97, throttled: false });
    let mut judge = Judge::default();
    (0..40).for_each(|_| judge.judge(&mut quiet(), busy));
    for number in 0..200 {
        judge.judge(&mut quiet(), busy);
        // Those that found a place: some as fast as ever, some slower for the company.
        let slow = if number % 2 == 0 { 1.0 } else { 1.5 };
        let mut placed = Request { others_in_flight: 30.0, ..request(slow, 1.5, 0.05, &[]) };
        judge.judge(&mut placed, busy);
        assert_eq!(placed.finding.verdict, Some(Verdict::GpuBound), "{:?}", placed.finding);
        let mut late = Request { ttft_s: Some(2.1), duration_s: 2.5, others_in_flight: 30.0, ..quiet() };
        late.host.prefill = late.host.prefill.map(|host| HostShare { wall_s: 2.1, oncpu_s: 3.0, ..host });
        judge.judge(&mut late, busy);
        assert_eq!(late.finding.verdict, Some(Verdict::Queueing), "{:?}", late.finding);
    }
}
