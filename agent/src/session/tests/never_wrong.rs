//! The promise of the whole layer: with records lost at random, what comes out is right to the nanosecond, or does
//! not come out.

use proptest::prelude::*;

use super::*;
use crate::session::exchange::Ending;

/// One exchange as it was on the wire.
#[derive(Clone, Debug)]
struct Planned {
    chunked: bool,
    interim: bool,
    posts: bool,
    size: usize,
    /// Most bytes of a call.
    call: usize,
    /// A server reads the next request before the last call of this response has returned; a client reads the first
    /// of this response before the last call of the request has.
    crossed: bool,
}

impl Planned {
    fn request(&self, i: usize) -> String {
        if self.posts { post(&format!("/{i}"), "", &"q".repeat(self.size)) } else { get(&format!("/{i}")) }
    }

    fn response(&self, i: usize) -> String {
        let interim = if self.interim { "HTTP/1.1 102 Processing\r\n\r\n" } else { "" };
        let body = "r".repeat(self.size);
        if !self.chunked {
            return format!(
                "{interim}HTTP/1.1 200 OK\r\nx-request-id: {i}\r\ncontent-length: {}\r\n\r\n{body}",
                self.size
            );
        }
        let chunks: String =
            body.as_bytes().chunks(9).map(|c| format!("{:x}\r\n{}\r\n", c.len(), "r".repeat(c.len()))).collect();
        format!("{interim}HTTP/1.1 200 OK\r\nx-request-id: {i}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
    }
}

fn planned() -> impl Strategy<Value = Planned> {
    (any::<[bool; 3]>(), 0usize..60, prop_oneof![Just(10_000usize), 5usize..80], prop::bool::weighted(0.3)).prop_map(
        |([chunked, interim, posts], size, call, crossed)| Planned { chunked, interim, posts, size, call, crossed },
    )
}

/// A call of the wire: direction, bytes, entry and return.
struct Moved {
    request: bool,
    bytes: Vec<u8>,
    enter_ns: u64,
    at_ns: u64,
}

/// Start, end and sizes that the exchange must have.
#[derive(Debug, PartialEq, Eq)]
struct Truth {
    start_ns: u64,
    end_ns: u64,
    request_bytes: u64,
    response_bytes: u64,
}

fn moves(plan: &[Planned], role: Role) -> (Vec<Moved>, Vec<Truth>) {
    let (mut moved, mut truths) = (Vec::<Moved>::new(), Vec::new());
    let mut now = 1_000_000;
    let mut crossed = false;
    for (i, planned) in plan.iter().enumerate() {
        let (request, response) = (planned.request(i), planned.response(i));
        let first = moved.len();
        for (is_request, bytes) in [(true, &request), (false, &response)] {
            for call in bytes.as_bytes().chunks(planned.call) {
                now += 1000;
                moved.push(Moved { request: is_request, bytes: call.to_vec(), enter_ns: now - 500, at_ns: now });
            }
        }
        let mut start_ns = if role == Role::Server { moved[first].at_ns } else { moved[first].enter_ns };
        if std::mem::take(&mut crossed) {
            // The record of the call before comes after this request's first; both calls overlap in time.
            moved.swap(first - 1, first);
            let (request_at, request_enter) = (moved[first - 1].at_ns, moved[first - 1].enter_ns);
            moved[first].at_ns = request_at + 1;
            moved[first].enter_ns = request_enter - 100;
            let last: &mut Truth = truths.last_mut().expect("one before");
            last.end_ns = request_at + 1;
            start_ns = request_at;
        }
        crossed = planned.crossed && role == Role::Server;
        if planned.crossed && role == Role::Client {
            let answer = first + request.len().div_ceil(planned.call);
            moved.swap(answer - 1, answer);
            moved[answer].at_ns = moved[answer - 1].at_ns + 1;
        }
        truths.push(Truth {
            start_ns,
            end_ns: now,
            request_bytes: request.len() as u64,
            response_bytes: response.len() as u64,
        });
    }
    (moved, truths)
}

/// The records of a call of which only the beginning and the end are captured.
fn captured(wire: &mut Wire, call: &Moved, (head, tail): (usize, usize)) {
    let size = call.bytes.len();
    if size <= head.saturating_add(tail) {
        return wire.record(call.request, &call.bytes, size as u64, call.enter_ns, 0);
    }
    let more = if tail > 0 { PAYLOAD_MORE } else { 0 };
    wire.record(call.request, &call.bytes[..head], (size - tail) as u64, call.enter_ns, more);
    if tail > 0 {
        wire.record(call.request, &call.bytes[size - tail..], tail as u64, call.enter_ns, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn lost_records_never_make_a_wrong_one(
        plan in prop::collection::vec(planned(), 1..12),
        server in any::<bool>(),
        lost in prop::collection::vec(prop::bool::weighted(0.15), 1..60),
        lossless in any::<bool>(),
        // Bytes captured from the beginning and from the end of a call.
        capture in prop_oneof![Just((usize::MAX, 0usize)), (20usize..90, 0usize..20)],
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let (moved, truths) = moves(&plan, role);
        let mut wire = Wire::new(role);
        for (call, lost) in moved.iter().zip(lost.iter().cycle()) {
            wire.now = call.at_ns;
            if *lost && !lossless {
                wire.lost(call.request, call.bytes.len() as u64);
                wire.first = false;
            } else {
                captured(&mut wire, call, capture);
            }
        }
        for x in &wire.out {
            let i: usize = x.path[1..].parse().expect("a number");
            prop_assert_eq!(x.request_id.clone(), Some(i.to_string()), "{:?}", wire.failures());
            // A body whose last record was lost looks like one that the server did not wait for, and says so.
            let whole = x.request_end.is_some();
            prop_assert!(x.request_bytes <= truths[i].request_bytes);
            let request_bytes = if whole { x.request_bytes } else { truths[i].request_bytes };
            let response_bytes = x.response_bytes;
            let got = Truth { start_ns: x.start.at_ns, end_ns: x.end.at_ns, request_bytes, response_bytes };
            prop_assert_eq!(&got, &truths[i]);
            prop_assert_eq!((x.status, x.ending), (200, Ending::Complete));
        }
        if lossless && capture.0 == usize::MAX && (server || plan.iter().all(|p| !p.crossed)) {
            prop_assert_eq!(wire.out.len(), plan.len(), "{:?}", wire.failures());
            prop_assert!(wire.out.iter().all(|x| x.request_end.is_some()));
        }
        let known = wire.out.len() + wire.sessions.stats().exchanges_lost as usize + wire.sessions.in_flight().count();
        prop_assert!(known <= plan.len());
    }
}

#[test]
fn a_loss_costs_the_exchanges_around_it() {
    for role in [Role::Server, Role::Client] {
        for crossed in [false, true] {
            let shape = Planned { chunked: true, interim: false, posts: true, size: 50, call: 60, crossed };
            let plan = vec![shape; 1000];
            let (moved, _) = moves(&plan, role);
            let mut wire = Wire::new(role);
            let mut losses = 0;
            for (n, call) in moved.iter().enumerate() {
                wire.now = call.at_ns;
                if n % 97 == 96 {
                    losses += 1;
                    wire.lost(call.request, call.bytes.len() as u64);
                } else {
                    wire.record(call.request, &call.bytes, call.bytes.len() as u64, call.enter_ns, 0);
                }
            }
            let missing = plan.len() - wire.out.len();
            assert!(missing <= 2 * losses, "{missing} of {losses} losses, {role:?}, {:?}", wire.failures());
            let counted: u64 = wire.failures().iter().map(|(_, n)| n).sum();
            assert!(missing as u64 <= counted + wire.sessions.stats().exchanges_lost, "{:?}", wire.failures());
        }
    }
}

#[test]
fn a_connection_outlives_a_time_of_heavy_loss() {
    for role in [Role::Server, Role::Client] {
        let shape = Planned { chunked: true, interim: false, posts: true, size: 50, call: 60, crossed: false };
        let (moved, _) = moves(&vec![shape; 400], role);
        let mut wire = Wire::new(role);
        for (n, call) in moved.iter().enumerate() {
            wire.now = call.at_ns;
            // Two of three records, for half of the time.
            if n < moved.len() / 2 && n % 3 != 0 {
                wire.lost(call.request, call.bytes.len() as u64);
            } else {
                wire.record(call.request, &call.bytes, call.bytes.len() as u64, call.enter_ns, 0);
            }
        }
        assert!(wire.out.len() >= 199, "{} {role:?}, {:?}", wire.out.len(), wire.failures());
    }
}

proptest! {
    #[test]
    fn requests_sent_ahead_are_never_paired_wrongly(
        window in 2usize..5,
        lost in prop::collection::vec(prop::bool::weighted(0.1), 1..60),
        server in any::<bool>(),
    ) {
        let shape = Planned { chunked: false, interim: false, posts: false, size: 20, call: 50, crossed: false };
        let mut wire = Wire::new(if server { Role::Server } else { Role::Client });
        let lossless = !lost.contains(&true);
        let mut lost = lost.iter().cycle();
        for i in 0..60 {
            let ahead = if i == 0 { 0..window } else { i + window - 1..i + window };
            for bytes in ahead.map(|n| (true, shape.request(n))).chain([(false, shape.response(i))]) {
                for call in bytes.1.as_bytes().chunks(shape.call) {
                    // That requests are sent ahead shows as soon as the first response comes.
                    if i > 0 && *lost.next().expect("an endless cycle") {
                        wire.lost(bytes.0, call.len() as u64);
                    } else {
                        wire.call(bytes.0, call);
                    }
                }
            }
        }
        for x in &wire.out {
            prop_assert_eq!(x.request_id.as_deref(), Some(&x.path[1..]));
        }
        prop_assert!(!lossless || wire.out.len() == 60);
    }
}
