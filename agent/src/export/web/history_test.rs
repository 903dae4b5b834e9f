//! Bounds, order and the end of services.

use super::*;

const S: u64 = 1_000_000_000;

fn request(service: &str, end_s: u64, duration_s: f64, slowdown: Option<f64>) -> Arc<Request> {
    let mut request = Request {
        service: service.to_owned(),
        role: "server",
        operation: Some("chat"),
        start_ns: end_s * S - (duration_s * 1e9) as u64,
        duration_s,
        ..Request::default()
    };
    request.finding.slowdown = slowdown;
    Arc::new(request)
}

fn durations(requests: &[Arc<Request>]) -> Vec<f64> {
    requests.iter().map(|request| request.duration_s).collect()
}

#[test]
fn slow_is_what_took_longer_than_usual_and_not_what_is_long() {
    let history = History::new(4);
    for (duration_s, slowdown) in [(10.0, Some(1.0)), (2.0, Some(4.0)), (6.0, None), (3.0, Some(1.5)), (7.0, None)] {
        history.observe(&request("a", 100, duration_s, slowdown));
    }
    assert_eq!(durations(&history.slow(Some("a"), 100 * S, 10)), [2.0, 3.0, 10.0, 7.0, 6.0]);
    assert_eq!(durations(&history.slow(None, 100 * S, 2)), [2.0, 3.0]);
    assert_eq!(durations(&history.recent(Some("a"), 2)), [7.0, 3.0]);
    assert!(history.recent(Some("b"), 9).is_empty() && !history.knows("b"));
}

#[test]
fn the_least_slow_makes_room_and_the_old_goes_first() {
    let history = History::new(4);
    (1..=50).for_each(|n| history.observe(&request("a", 100, f64::from(n), Some(2.0))));
    let slow = history.slow(Some("a"), 100 * S, 100);
    assert_eq!((slow.len(), slow[0].duration_s, slow[SLOW - 1].duration_s), (SLOW, 50.0, 31.0));
    assert!(history.slow(Some("a"), 1001 * S, 100).is_empty());
    history.observe(&request("a", 1001, 0.1, None));
    assert_eq!(durations(&history.slow(Some("a"), 1001 * S, 100)), [0.1]);
}

#[test]
fn records_are_bounded_in_all() {
    let history = History::new(2000);
    for n in 0..3000 {
        (0..10).for_each(|_| history.observe(&request(&format!("s{}", n % 2000), 100, 1.0, None)));
    }
    let held = history.held();
    assert_eq!((held.services, held.recent, held.slow), (2000, RECENT, 2 * 2000));
}

#[test]
fn callers_and_plain_http_are_left_out() {
    let history = History::new(4);
    history.observe(&Arc::new(Request { role: "client", operation: Some("chat"), ..Request::default() }));
    history.observe(&Arc::new(Request { role: "server", operation: None, ..Request::default() }));
    assert_eq!((history.held().services, history.held().recent), (0, 0));
}

#[test]
fn an_ended_service_goes_after_fifteen_minutes_or_for_want_of_room() {
    let history = History::new(2);
    history.observe(&request("a", 100, 1.0, None));
    history.observe(&request("b", 200, 1.0, None));
    history.observe(&request("c", 200, 1.0, None));
    assert_eq!((history.knows("c"), history.refused()), (false, 1));
    history.retire(&FxHashSet::from_iter(["b"]), 999 * S);
    assert!(history.knows("a"));
    history.observe(&request("c", 1000, 1.0, None));
    assert!(!history.knows("a") && history.knows("b") && history.knows("c"));
    history.retire(&FxHashSet::from_iter(["b"]), 1901 * S);
    assert!(history.knows("b") && !history.knows("c"));
}

#[test]
fn a_request_allocates_nothing_of_its_own() {
    let history = History::new(256);
    let requests: Vec<_> = (0..200).map(|n| request(&format!("service-{n}"), 100, 1.0, Some(1.2))).collect();
    requests.iter().for_each(|request| (0..SLOW).for_each(|_| history.observe(request)));
    let held = history.held();
    (0..20).for_each(|_| requests.iter().for_each(|request| history.observe(request)));
    assert_eq!(history.held(), held);
}
