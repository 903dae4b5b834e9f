//! Requests that a service hands on to itself.

use inferscope_abi::CLOSE_CLOSED;

use super::*;

const CHILD: [u16; 2] = [40_000, 9000];

/// The server's end of a connection from outside, and both ends of one of the service with itself.
fn service_with_a_child() -> (Wire, Elsewhere, Elsewhere) {
    let asks = Elsewhere::new(Role::Client, 2, CHILD);
    (Wire::server(), asks, Elsewhere::new(Role::Server, 3, CHILD))
}

fn at(w: &mut Wire, place: &mut Elsewhere, what: impl FnOnce(&mut Wire)) {
    w.swap(place);
    what(w);
    w.swap(place);
}

fn answered(w: &mut Wire) {
    w.response(OK);
}

#[test]
fn a_request_that_is_handed_on_is_one() {
    // The child's record can come before that of the parent's call.
    for child_first in [false, true] {
        let (mut w, mut asks, mut child) = service_with_a_child();
        w.request(chat(false));
        let ask = |w: &mut Wire| _ = w.request(chat(false));
        if child_first {
            at(&mut w, &mut child, ask);
            at(&mut w, &mut asks, ask);
        } else {
            at(&mut w, &mut asks, ask);
            at(&mut w, &mut child, ask);
        }
        assert_eq!(w.sessions.flying(SERVICE).count(), if child_first { 2 } else { 1 });
        at(&mut w, &mut child, answered);
        at(&mut w, &mut asks, answered);
        assert_eq!(w.said(), [""; 0]);
        w.response(OK);
        assert_eq!(w.said(), ["POST /v1/chat/completions 200 Complete"]);
        assert_eq!((w.out[0].server_port, w.sessions.stats().hops), (PORT, 2));
        assert_eq!(w.out[0].others_in_flight, 0.0);
        // By now both ends are known.
        w.request(chat(false));
        at(&mut w, &mut child, ask);
        assert_eq!(w.sessions.flying(SERVICE).count(), 1);
    }
}

#[test]
fn what_outlives_the_request_that_it_was_for_is_a_hop_still() {
    let (mut w, mut asks, mut child) = service_with_a_child();
    w.request(chat(true));
    at(&mut w, &mut asks, |w| _ = w.request(chat(true)));
    at(&mut w, &mut child, |w| _ = w.request(chat(true)));
    w.close(CLOSE_CLOSED);
    at(&mut w, &mut asks, |w| _ = w.close(CLOSE_CLOSED));
    at(&mut w, &mut child, |w| _ = w.close(CLOSE_CLOSED));
    assert_eq!((w.out.len(), w.sessions.stats().hops), (1, 2));
}

#[test]
fn a_service_whose_own_api_is_no_known_one_is_seen_by_its_hops() {
    let (mut w, mut asks, mut child) = service_with_a_child();
    w.request(post("/ask", "", "why"));
    at(&mut w, &mut asks, |w| _ = w.request(chat(false)));
    at(&mut w, &mut child, |w| _ = w.request(chat(false)));
    at(&mut w, &mut child, answered);
    at(&mut w, &mut asks, answered);
    w.response(OK);
    assert_eq!((w.out.len(), w.sessions.stats().hops), (3, 0));
    // Nor are two at a time each other's.
    let mut second = [Elsewhere::new(Role::Client, 4, [40_001, 9000]), Elsewhere::new(Role::Server, 5, [40_001, 9000])];
    for place in [&mut asks, &mut child].into_iter().chain(&mut second) {
        at(&mut w, place, |w| _ = w.request(chat(false)));
    }
    for place in [&mut asks, &mut child].into_iter().chain(&mut second) {
        at(&mut w, place, answered);
    }
    assert_eq!((w.out.len(), w.sessions.stats().hops), (7, 0));
}

#[test]
fn requests_side_by_side_are_no_hops() {
    let (mut w, ..) = service_with_a_child();
    let mut other = Elsewhere::new(Role::Server, 4, [50_001, PORT]);
    // It asks another service, from a port that is nobody's here.
    let mut away = Elsewhere::new(Role::Client, 5, [40_000, PORT]);
    w.request(chat(false));
    at(&mut w, &mut other, |w| _ = w.request(chat(false)));
    at(&mut w, &mut away, |w| _ = w.request(chat(false)));
    at(&mut w, &mut away, answered);
    at(&mut w, &mut other, answered);
    w.response(OK);
    assert_eq!((w.out.len(), w.sessions.stats().hops), (3, 0));
}
