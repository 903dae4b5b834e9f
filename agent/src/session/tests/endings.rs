//! How a request ends when its response is not complete.

use inferscope_abi::{CLOSE_CLOSED, CLOSE_EOF, CLOSE_RESET, CLOSE_SHUTDOWN_WRITE};

use super::*;
use crate::session::exchange::Ending;

const LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart";
const CLOSES: &str = "HTTP/1.1 200 OK\r\n\r\nall of it";

/// (role, response so far, closes, what comes out after each of them)
type Row = (Role, &'static str, &'static [(u32, Option<(Ending, u16)>)]);

const ROWS: &[Row] = &[
    // The client goes away.
    (Role::Server, LENGTH, &[(CLOSE_EOF, None), (CLOSE_CLOSED, Some((Ending::Cancelled, 200)))]),
    (Role::Server, LENGTH, &[(CLOSE_EOF, None), (CLOSE_RESET, Some((Ending::Cancelled, 200)))]),
    (Role::Server, LENGTH, &[(CLOSE_RESET, Some((Ending::Cancelled, 200))), (CLOSE_CLOSED, None)]),
    (Role::Server, "", &[(CLOSE_EOF, None), (CLOSE_CLOSED, Some((Ending::Cancelled, 0)))]),
    (Role::Server, "HTTP/1.1 20", &[(CLOSE_RESET, Some((Ending::Cancelled, 0)))]),
    (Role::Server, CLOSES, &[(CLOSE_RESET, Some((Ending::Cancelled, 200)))]),
    (Role::Server, CLOSES, &[(CLOSE_EOF, None), (CLOSE_CLOSED, Some((Ending::Cancelled, 200)))]),
    // The server closes.
    (Role::Server, LENGTH, &[(CLOSE_CLOSED, Some((Ending::Reset, 200)))]),
    (Role::Server, LENGTH, &[(CLOSE_SHUTDOWN_WRITE, Some((Ending::Reset, 200))), (CLOSE_CLOSED, None)]),
    (Role::Server, "", &[(CLOSE_CLOSED, Some((Ending::Reset, 0)))]),
    (Role::Server, CLOSES, &[(CLOSE_CLOSED, Some((Ending::Complete, 200)))]),
    (
        Role::Server,
        CLOSES,
        &[(CLOSE_SHUTDOWN_WRITE, Some((Ending::Complete, 200))), (CLOSE_EOF, None), (CLOSE_CLOSED, None)],
    ),
    // The same as the caller sees it.
    (Role::Client, LENGTH, &[(CLOSE_EOF, None), (CLOSE_CLOSED, Some((Ending::Reset, 200)))]),
    (Role::Client, LENGTH, &[(CLOSE_RESET, None), (CLOSE_CLOSED, Some((Ending::Reset, 200)))]),
    (Role::Client, LENGTH, &[(CLOSE_CLOSED, Some((Ending::Cancelled, 200)))]),
    (
        Role::Client,
        LENGTH,
        &[(CLOSE_SHUTDOWN_WRITE, None), (CLOSE_EOF, None), (CLOSE_CLOSED, Some((Ending::Reset, 200)))],
    ),
    (Role::Client, "", &[(CLOSE_EOF, None), (CLOSE_CLOSED, Some((Ending::Reset, 0)))]),
    (Role::Client, CLOSES, &[(CLOSE_EOF, None), (CLOSE_CLOSED, Some((Ending::Complete, 200)))]),
    (Role::Client, CLOSES, &[(CLOSE_CLOSED, Some((Ending::Cancelled, 200)))]),
    (Role::Client, CLOSES, &[(CLOSE_RESET, None), (CLOSE_CLOSED, Some((Ending::Reset, 200)))]),
];

#[test]
fn a_close_ends_what_is_in_flight() {
    for (role, response, closes) in ROWS {
        let mut wire = Wire::new(*role);
        wire.request(get("/a")).response(response);
        for (reason, want) in *closes {
            wire.out.clear();
            wire.close(*reason);
            let got: Vec<_> = wire.out.iter().map(|x| (x.ending, x.status)).collect();
            assert_eq!(got, Vec::from_iter(*want), "{role:?} {response:?} {closes:?} at {reason}");
        }
        let closed = closes.iter().any(|(reason, _)| *reason == CLOSE_CLOSED);
        assert_eq!(wire.sessions.connections(), usize::from(!closed), "{role:?} {response:?} {closes:?}");
    }
}

#[test]
fn half_a_close_does_not_end_a_request() {
    let mut wire = Wire::server();
    wire.request(get("/a")).response(LENGTH).close(CLOSE_EOF).response("-rest");
    assert_eq!(wire.said(), ["GET /a 200 Complete"]);
    let mut wire = Wire::client();
    wire.request(get("/a")).close(CLOSE_RESET).response(OK).close(CLOSE_CLOSED);
    assert_eq!(wire.said(), ["GET /a 200 Complete"], "the response was in the socket's buffer");
    // One that ends with the connection: the server went on after the client had said that it sends no more.
    let mut wire = Wire::server();
    wire.request(get("/a")).close(CLOSE_EOF).response(CLOSES).close(CLOSE_CLOSED);
    assert_eq!(wire.said(), ["GET /a 200 Complete"]);
    let mut wire = Wire::server();
    wire.request(get("/a")).close(CLOSE_EOF).response(CLOSES).close(CLOSE_RESET);
    assert_eq!(wire.said(), ["GET /a 200 Cancelled"]);
}

#[test]
fn a_read_of_nothing_is_not_the_end() {
    let mut wire = Wire::server();
    wire.request(get("/a")).response(OK).close(CLOSE_EOF).request(get("/b")).response(LENGTH).close(CLOSE_CLOSED);
    assert_eq!(wire.said(), ["GET /a 200 Complete", "GET /b 200 Reset"]);
    let mut wire = Wire::client();
    wire.request(get("/a")).close(CLOSE_EOF).response(LENGTH).close(CLOSE_CLOSED);
    assert_eq!(wire.said(), ["GET /a 200 Cancelled"]);
}

#[test]
fn a_caller_that_keeps_a_dead_socket() {
    let mut wire = Wire::client();
    wire.request(get("/a")).response(LENGTH).close(CLOSE_EOF);
    let told = wire.now;
    let mut out = Vec::new();
    wire.sessions.tick(told + 1_000_000_000, &mut |x| out.push(x));
    assert!(out.is_empty());
    wire.sessions.tick(told + 60_000_000_000, &mut |x| out.push(x));
    assert_eq!((out.len(), out[0].ending, out[0].end.at_ns), (1, Ending::Reset, told));
}

#[test]
fn a_client_that_left_is_not_forgotten_with_its_connection() {
    let mut wire = Wire::server();
    wire.request(get("/a")).response(LENGTH).close(CLOSE_EOF);
    let mut out = Vec::new();
    wire.sessions.tick(u64::MAX, &mut |x| out.push(x.ending));
    assert_eq!((out, wire.sessions.connections()), (vec![Ending::Cancelled], 0));
}

#[test]
fn a_cancelled_request_ends_when_its_client_left() {
    let mut wire = Wire::server();
    wire.request(get("/a")).response(LENGTH);
    let last = wire.now;
    wire.close(CLOSE_EOF);
    let left = wire.now;
    wire.close(CLOSE_CLOSED);
    let end = wire.out[0].end;
    assert_eq!((end.at_ns, end.snapshot.at_ns), (left, last));
}

#[test]
fn a_body_until_close_ends_at_its_last_byte() {
    let mut wire = Wire::server();
    wire.request(get("/a")).response(CLOSES);
    let last = wire.now;
    wire.close(CLOSE_CLOSED);
    assert_eq!(wire.out[0].end.at_ns, last);
}

#[test]
fn a_stream_that_said_done_is_complete_without_its_last_chunk() {
    let mut wire = Wire::server();
    wire.request(chat(true)).response(STREAM_HEAD).response(token("a")).response(event("[DONE]"));
    wire.close(CLOSE_EOF).close(CLOSE_CLOSED);
    assert_eq!(wire.said(), ["POST /v1/chat/completions 200 Complete"]);
    let mut wire = Wire::server();
    wire.request(chat(true)).response(STREAM_HEAD).response(token("a"));
    wire.close(CLOSE_EOF).close(CLOSE_CLOSED);
    assert_eq!(wire.said(), ["POST /v1/chat/completions 200 Cancelled"]);
    assert!(wire.out[0].llm.as_ref().is_some_and(|llm| llm.stream));
}

#[test]
fn a_close_ends_every_pipelined_request() {
    let mut wire = Wire::server();
    wire.request([get("/1"), get("/2"), get("/3")].concat()).response(OK).response(CLOSES).close(CLOSE_CLOSED);
    assert_eq!(wire.said(), ["GET /1 200 Complete", "GET /2 200 Complete", "GET /3 0 Reset"]);
}

#[test]
fn a_process_takes_its_requests_with_it() {
    let mut wire = Wire::server();
    wire.request(chat(true)).response(STREAM_HEAD).response(token("a"));
    wire.switch(2);
    wire.tgid = TGID + 1;
    wire.request(get("/other"));
    wire.exit(TGID);
    assert_eq!(wire.said(), ["POST /v1/chat/completions 200 ProcessExit"]);
    assert_eq!((wire.out[0].end.at_ns, wire.sessions.connections()), (wire.now, 1));
    wire.exit(TGID + 1);
    assert_eq!(wire.said()[1..], ["GET /other 0 ProcessExit"]);
    assert_eq!(wire.sessions.connections(), 0);
}

/// A forked child writes its answer and ends; the kernel closes the connection behind it.
#[test]
fn a_whole_document_outlives_the_process_that_wrote_it() {
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let document = r#"{"choices":[{"message":{"content":"a"}}],"usage":{"completion_tokens":4}}"#;
    let length = format!("content-length: {}\r\n", document.len() + 1);
    for (length, document, want) in [
        ("", document, Ending::Complete),
        ("", &document[..document.len() - 1], Ending::ProcessExit),
        // More was promised.
        (&length, document, Ending::ProcessExit),
    ] {
        let mut wire = Wire::server();
        wire.request(chat(false)).response(format!("{head}{length}\r\n")).response(document);
        let written = wire.now;
        wire.exit(TGID);
        assert_eq!((wire.out.len(), wire.out[0].ending), (1, want), "{length}{document}");
        assert_eq!(wire.out[0].end.at_ns == written, want == Ending::Complete, "{length}{document}");
        assert_eq!(wire.out[0].llm.as_ref().and_then(|llm| llm.output_tokens), Some(4), "{length}{document}");
    }
}

#[test]
fn a_head_cut_short_is_counted() {
    let mut wire = Wire::server();
    wire.request("GET /a HTTP/1.1\r\nhost").close(CLOSE_CLOSED);
    assert_eq!((wire.said().len(), wire.failures()), (0, vec![("head_cut_short", 1)]));
}
