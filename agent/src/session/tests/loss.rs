//! Bytes that were lost, left out or out of place: the right record or none.

use super::*;

#[test]
fn gaps_inside_bodies_are_bridged() {
    let mut wire = Wire::server();
    // In the request's body, in a response of known length, in a chunk's data.
    wire.request("POST /r HTTP/1.1\r\ncontent-length: 100\r\n\r\n{").lost(true, 50).request([b'x'; 49]).response(OK);
    wire.request(get("/l"))
        .response("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
        .lost(false, 60)
        .response([b'x'; 40]);
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\nab";
    wire.request(get("/c")).response(head).lost(false, 90).response("12345678\r\n0\r\n\r\n");
    assert_eq!(wire.said(), ["POST /r 200 Complete", "GET /l 200 Complete", "GET /c 200 Complete"]);
    assert_eq!(wire.out[0].request_bytes, 41 + 1 + 50 + 49);
    assert_eq!(wire.out[2].response_bytes, head.len() as u64 + 90 + 15);
    assert_eq!((wire.sessions.stats().bytes_left_out, wire.sessions.stats().resyncs), (200, 0));
}

#[test]
fn calls_longer_than_the_capture() {
    let mut wire = Wire::server();
    wire.call_bytes = 100;
    let body = "x".repeat(1000);
    wire.request(post("/p", "", &body));
    let request_end = wire.now;
    wire.response(format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{body}"));
    assert_eq!(wire.out[0].request_end.map(|m| m.at_ns), Some(request_end));
    assert_eq!(wire.out[0].end.at_ns, wire.now);
    // One write per chunk: the cut takes the chunk's line end too.
    wire.request(get("/c")).response("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    wire.response(format!("3e8\r\n{body}\r\n")).response("0\r\n\r\n");
    assert_eq!(wire.said(), ["POST /p 200 Complete", "GET /c 200 Complete"]);
    assert_eq!(wire.sessions.stats().resyncs, 0, "{:?}", wire.failures());
}

#[test]
fn a_stream_with_a_gap_says_so() {
    let mut wire = Wire::server();
    wire.request(chat(true)).response(STREAM_HEAD).response(token("a"));
    wire.call_bytes = 30;
    wire.response(token("b"));
    wire.call_bytes = usize::MAX;
    // The event after it is lost with it: where it begins is in what was lost.
    wire.response(token("c")).response(token("d")).response(token("e")).response(STREAM_END);
    wire.request(chat(true)).response(STREAM_HEAD).response(token("a")).response(token("b")).response(STREAM_END);
    let seen: Vec<_> = wire.out.iter().map(|x| (x.content_chunks, x.gap, x.chunk_gaps.buckets[0])).collect();
    // Between "a" and "d" something was lost: that is no time between two chunks.
    assert_eq!(seen, [(3, true, 1), (2, false, 1)]);
    // The line end of a chunk holds no content.
    let part = token("a");
    wire.request(chat(true)).response(STREAM_HEAD).response(&part[..part.len() - 2]).lost(false, 2);
    wire.response(token("b")).response(STREAM_END);
    assert_eq!((wire.out[2].content_chunks, wire.out[2].gap), (2, false));
}

type Step = fn(&mut Wire);

/// (name, the loss, the fault counted, records that come out before the connection is in step again)
const LOSSES: &[(&str, Step, &str, &[&str])] = &[
    (
        "gap in a request head",
        |w| _ = w.request("GET /x HTTP/1.1\r\nho").lost(true, 5).request("\r\n\r\n").response(OK),
        "gap_in_head",
        &[],
    ),
    (
        "gap in a response head",
        |w| _ = w.request(get("/x")).response("HTTP/1.1 2").lost(false, 5).response(&OK[15..]),
        "gap_in_head",
        &[],
    ),
    ("response head lost", |w| _ = w.request(get("/x")).lost(false, 19).response(&OK[19..]), "gap_in_head", &[]),
    (
        "whole response lost",
        |w| _ = w.request(get("/x")).lost(false, 40).request(get("/y")).response(OK),
        "gap_in_head",
        &[],
    ),
    (
        "whole request lost",
        |w| _ = w.request(get("/w")).response(OK).lost(true, 30).response(OK),
        "response_unasked",
        &["GET /w 200 Complete"],
    ),
    (
        "gap over chunk framing",
        |w| {
            _ = w
                .request(get("/x"))
                .response("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\na")
                .lost(false, 10)
                .response("\r\n0\r\n\r\n")
        },
        "gap_in_chunk",
        &[],
    ),
    (
        "chunk that lies",
        |w| {
            _ = w
                .request(get("/x"))
                .response("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabcd\r\n0\r\n\r\n")
        },
        "chunk_end",
        &[],
    ),
    (
        "chunk size of nonsense",
        |w| {
            _ = w
                .request(get("/x"))
                .response("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabcd\r\n0\r\n\r\n")
        },
        "chunk_size",
        &[],
    ),
    (
        "garbage for a response",
        |w| _ = w.request(get("/w")).response(OK).request(get("/x")).response("\0\u{1}garbage"),
        "response_head",
        &["GET /w 200 Complete"],
    ),
    ("broken status line", |w| _ = w.request(get("/x")).response("HTTP/1.1 abc\r\n\r\n"), "response_head", &[]),
    (
        "garbage for a request",
        |w| _ = w.request(get("/x")).response(OK).request("\0\0\0\r\n\r\n"),
        "request_head",
        &["GET /x 200 Complete"],
    ),
    (
        "two lengths",
        |w| _ = w.request(get("/x")).response(OK.replace("\r\n\r\n", "\r\ncontent-length: 3\r\n\r\n")),
        "content_length",
        &[],
    ),
    (
        "response to half a request",
        |w| _ = w.request("GET /x HTTP/1.1\r\n").response(OK).request("\r\n"),
        "response_unasked",
        &[],
    ),
    (
        "line without end",
        |w| {
            for _ in 0..20 {
                w.request([b'A'; 8192]);
            }
        },
        "head_too_long",
        &[],
    ),
    (
        "body of which a part went out unseen",
        |w| {
            _ = w
                .request(get("/file"))
                .response("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\npart")
                .request(get("/y"))
                .response(OK)
        },
        "response_in_body",
        &[],
    ),
];

#[test]
fn a_lost_place_gives_no_record_until_the_next_request() {
    for role in [Role::Server, Role::Client] {
        for (name, lose, fault, before) in LOSSES {
            let mut wire = Wire::new(role);
            if *name == "line without end" {
                wire.request("GET /");
            }
            lose(&mut wire);
            assert_eq!(wire.said(), *before, "{name} as {role:?}");
            assert!(wire.failures().iter().any(|(label, _)| label == fault), "{name}: {:?}", wire.failures());
            wire.out.clear();
            wire.request(get("/again")).response(OK).request(get("/more")).response(OK);
            assert_eq!(wire.said(), ["GET /again 200 Complete", "GET /more 200 Complete"], "{name} as {role:?}");
        }
    }
}

/// sendfile carries no payload here: the response is over when the next one begins, and what follows is right.
#[test]
fn a_body_that_goes_out_unseen() {
    for role in [Role::Server, Role::Client] {
        let mut wire = Wire::new(role);
        wire.request(get("/file")).response("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n");
        wire.request(get("/y")).response(OK).request(get("/z")).response(OK);
        assert_eq!(wire.said(), ["GET /file 200 Complete", "GET /y 200 Complete", "GET /z 200 Complete"], "{role:?}");
        assert!(wire.out[0].gap && !wire.out[1].gap && wire.failures().is_empty());
    }
}

#[test]
fn capture_that_begins_in_the_middle() {
    let mut wire = Wire::server().in_the_middle();
    wire.response("tail of a response").request("tail of a body").response(OK);
    assert_eq!((wire.sessions.connections(), wire.said().len()), (0, 0));
    // Which response is the first to be seen can't be known; from then on it can.
    wire.request(get("/a")).response(OK).request(get("/b")).response(OK);
    assert_eq!(wire.said(), ["GET /b 200 Complete"]);
    assert!(wire.sessions.stats().bytes_skipped > 30);
}

#[test]
fn capture_that_begins_between_request_and_response() {
    let mut wire = Wire::server();
    // The tail of the response before it is written after the request was read.
    wire.request(get("/a")).response("\r\n0\r\n\r\n").response(OK).request(get("/b")).response(OK);
    assert_eq!(wire.said(), ["GET /a 200 Complete", "GET /b 200 Complete"]);
}

#[test]
fn a_lost_pipelined_connection_is_left_alone() {
    let mut wire = Wire::server();
    let three = [get("/1"), get("/2"), get("/3")].concat();
    wire.request(three).response(OK).lost(false, 10).response(OK);
    wire.request(get("/4")).response(OK);
    assert_eq!(wire.said(), ["GET /1 200 Complete"], "a response to /3 could be taken for one to /4");
    assert_eq!(wire.sessions.stats().exchanges_lost, 2);
}

#[test]
fn an_answer_that_is_not_http() {
    let mut wire = Wire::server();
    wire.request(get("/x")).response("\0\u{1}garbage").request(get("/y")).response(OK);
    assert!(wire.said().is_empty(), "it could be the answer to /x");
    // Something else with requests that look like HTTP's.
    let mut wire = Wire::client();
    for _ in 0..20 {
        wire.request("GET key\r\n").response("$3\r\nabc\r\n");
    }
    assert_eq!(wire.sessions.stats().resyncs, 8);
    assert_eq!(wire.sessions.take_useless(), [1]);
}

#[test]
fn the_end_of_a_response_that_was_lost_is_not_made_up() {
    let mut wire = Wire::server();
    wire.request(get("/1")).response(&OK[..OK.len() - 2]).lost(false, 2);
    wire.request(get("/2")).response(OK);
    assert_eq!(wire.said(), ["GET /2 200 Complete"]);
    assert_eq!((wire.sessions.stats().exchanges_lost, wire.sessions.stats().resyncs), (1, 0));
}

#[test]
fn a_socket_number_that_is_used_again_starts_anew() {
    let mut wire = Wire::server();
    wire.request(get("/old")).response("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart");
    wire.switch(1);
    wire.request(get("/new")).response(OK);
    assert_eq!(wire.said(), ["GET /new 200 Complete"]);
    wire.request(get("/until-close")).response("HTTP/1.1 200 OK\r\n\r\nabc");
    wire.switch(1);
    wire.request(get("/newer")).response(OK);
    assert_eq!(wire.said()[1..], ["GET /until-close 200 Complete", "GET /newer 200 Complete"]);
}

#[test]
fn records_out_of_order_are_noticed() {
    let mut wire = Wire::server();
    wire.request(get("/1")).response(&OK[..20]);
    wire.offsets[0] -= 5;
    wire.response(&OK[20..]);
    assert_eq!((wire.said().len(), wire.failures()), (0, vec![("offset_back", 1)]));
}
