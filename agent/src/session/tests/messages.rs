//! Whole messages in every framing: which records come out, with what in them.

use super::*;

struct Case {
    name: &'static str,
    /// Calls in their order: `>` request, `<` response.
    calls: Vec<(char, String)>,
    want: &'static [&'static str],
}

fn case(name: &'static str, calls: &[(char, &str)], want: &'static [&'static str]) -> Case {
    Case { name, calls: calls.iter().map(|(way, bytes)| (*way, (*bytes).to_owned())).collect(), want }
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const EXPECT: &str = "POST /e HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
const EARLY: &str = "POST /p HTTP/1.1\r\ncontent-length: 5\r\n\r\n12";

fn bodies() -> Vec<Case> {
    vec![
        case("length", &[('>', &get("/a")), ('<', OK)], &["GET /a 200 Complete"]),
        case(
            "length in two calls",
            &[('>', &get("/a")), ('<', &OK[..OK.len() - 1]), ('<', "k")],
            &["GET /a 200 Complete"],
        ),
        case(
            "empty body",
            &[('>', &get("/a")), ('<', "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")],
            &["GET /a 200 Complete"],
        ),
        case("request body", &[('>', &post("/p", "", "12345")), ('<', OK)], &["POST /p 200 Complete"]),
        case(
            "chunked request, extensions and trailers both ways",
            &[
                ('>', "POST /p HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nt: 1\r\n\r\n"),
                ('<', CHUNKED),
                ('<', "2;x=\"y\"\r\nok\r\n"),
                ('<', "0\r\ntime: 1\r\n\r\n"),
                ('>', &get("/next")),
                ('<', OK),
            ],
            &["POST /p 200 Complete", "GET /next 200 Complete"],
        ),
        case(
            "no body: HEAD, 204, 304",
            &[
                ('>', "HEAD /h HTTP/1.1\r\n\r\n"),
                ('<', "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"),
                ('>', &get("/n")),
                ('<', "HTTP/1.1 204 No Content\r\n\r\n"),
                ('>', &get("/c")),
                ('<', "HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\n\r\n"),
                ('>', &get("/a")),
                ('<', OK),
            ],
            &["HEAD /h 200 Complete", "GET /n 204 Complete", "GET /c 304 Complete", "GET /a 200 Complete"],
        ),
        case(
            "HTTP/1.0 kept alive",
            &[('>', "GET /a HTTP/1.0\r\n\r\n"), ('<', &OK.replace("1.1", "1.0"))],
            &["GET /a 200 Complete"],
        ),
        case("until close has no end of its own", &[('>', &get("/a")), ('<', "HTTP/1.0 200 OK\r\n\r\nabc")], &[]),
        case(
            "empty lines between requests",
            &[('>', &post("/p", "", "1")), ('>', "\r\n"), ('<', OK), ('>', &format!("\r\n{}", get("/b"))), ('<', OK)],
            &["POST /p 200 Complete", "GET /b 200 Complete"],
        ),
    ]
}

fn orders() -> Vec<Case> {
    let two = [get("/1"), get("/2")].concat();
    vec![
        case(
            "keep-alive",
            &[('>', &get("/1")), ('<', OK), ('>', &get("/2")), ('<', OK)],
            &["GET /1 200 Complete", "GET /2 200 Complete"],
        ),
        case(
            "pipelined in one call, answered in one",
            &[('>', &two), ('<', &[OK, OK].concat())],
            &["GET /1 200 Complete", "GET /2 200 Complete"],
        ),
        case(
            "next request read before the last write",
            &[('>', &get("/1")), ('<', &OK[..20]), ('>', &get("/2")), ('<', &OK[20..]), ('<', OK)],
            &["GET /1 200 Complete", "GET /2 200 Complete"],
        ),
        case(
            "100-continue",
            &[('>', EXPECT), ('<', "HTTP/1.1 100 Continue\r\n\r\n"), ('>', "12345"), ('<', OK)],
            &["POST /e 200 Complete"],
        ),
        case(
            "100-continue and response in one call",
            &[
                ('>', EXPECT),
                ('>', "12345"),
                ('<', &format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n{OK}")),
            ],
            &["POST /e 200 Complete"],
        ),
        case(
            "expectation refused, no body sent",
            &[('>', EXPECT), ('<', "HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n"), ('>', &get("/b")), ('<', OK)],
            &["POST /e 417 Complete", "GET /b 200 Complete"],
        ),
        case(
            "expectation refused, body sent all the same",
            &[
                ('>', EXPECT),
                ('<', "HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n"),
                ('>', "12345"),
                ('>', &get("/b")),
                ('<', OK),
            ],
            &["POST /e 417 Complete", "GET /b 200 Complete"],
        ),
        case(
            "response before the body is in",
            &[
                ('>', EARLY),
                ('<', "HTTP/1.1 413 Big\r\ncontent-length: 0\r\n\r\n"),
                ('>', "345"),
                ('>', &get("/b")),
                ('<', OK),
            ],
            &["POST /p 413 Complete", "GET /b 200 Complete"],
        ),
        case(
            "unasked response is passed over",
            &[
                ('>', &get("/1")),
                ('<', OK),
                ('<', "HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n"),
                ('>', &get("/2")),
                ('<', OK),
            ],
            &["GET /1 200 Complete", "GET /2 200 Complete"],
        ),
    ]
}

fn ends_of_http() -> Vec<Case> {
    let upgrade = "GET /ws HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    vec![
        case(
            "upgrade",
            &[('>', upgrade), ('<', "HTTP/1.1 101 Switching\r\n\r\n\x01\x02"), ('>', &get("/a")), ('<', OK)],
            &["GET /ws 101 Complete"],
        ),
        case(
            "upgrade refused",
            &[('>', upgrade), ('<', OK), ('>', &get("/a")), ('<', OK)],
            &["GET /ws 200 Complete", "GET /a 200 Complete"],
        ),
        case(
            "CONNECT",
            &[('>', "CONNECT h:1 HTTP/1.1\r\n\r\n"), ('<', "HTTP/1.1 200 OK\r\n\r\n"), ('>', &get("/a")), ('<', OK)],
            &["CONNECT h:1 200 Complete"],
        ),
        case(
            "CONNECT refused",
            &[('>', "CONNECT h:1 HTTP/1.1\r\n\r\n"), ('<', &OK.replace("200", "405")), ('>', &get("/a")), ('<', OK)],
            &["CONNECT h:1 405 Complete", "GET /a 200 Complete"],
        ),
        case(
            "HTTP/2",
            &[('>', "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0"), ('<', "\0\0\0"), ('>', &get("/a")), ('<', OK)],
            &[],
        ),
    ]
}

#[test]
fn messages_become_records() {
    for role in [Role::Server, Role::Client] {
        for case in [bodies(), orders(), ends_of_http()].concat_cases() {
            for record_bytes in [1, 2, 3, 7, 8192] {
                let mut wire = Wire::new(role);
                wire.record_bytes = record_bytes;
                for (way, bytes) in &case.calls {
                    wire.call(*way == '>', bytes.as_bytes());
                }
                assert_eq!(wire.said(), case.want, "{} as {role:?}, {record_bytes} per record", case.name);
                assert_eq!(wire.sessions.stats().resyncs, 0, "{} as {role:?}: {:?}", case.name, wire.failures());
            }
        }
    }
}

trait Concat {
    fn concat_cases(self) -> Vec<Case>;
}

impl<const N: usize> Concat for [Vec<Case>; N] {
    fn concat_cases(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn a_record_says_who_where_and_how_much() {
    let mut wire = Wire::server();
    let head = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let request = post("/a/b?key=secret", head, "12345");
    let reply = "HTTP/1.1 201 Made\r\nx-request-id: r-1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    wire.request(&request).response(reply);
    let x = &wire.out[0];
    assert_eq!((x.role, x.tgid, x.service, x.server_port), (Role::Server, TGID, SERVICE, PORT));
    assert_eq!((x.method.as_str(), x.path.as_str(), x.status), ("POST", "/a/b", 201));
    assert_eq!((x.request_bytes, x.response_bytes), (request.len() as u64, reply.len() as u64));
    assert_eq!(x.traceparent.as_deref(), Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    assert_eq!(x.request_id.as_deref(), Some("r-1"));
    assert!(x.llm.is_none());
    wire.request(post("/", "x-request-id: mine\r\n", "")).response(reply);
    assert_eq!(wire.out[1].request_id.as_deref(), Some("mine"));

    let mut wire = Wire::client();
    wire.request(get("/a")).response(OK);
    assert_eq!((wire.out[0].role, wire.out[0].server_port), (Role::Client, PORT));
}

#[test]
fn the_process_that_writes_the_response_owns_the_record() {
    let mut wire = Wire::server();
    wire.request(get("/a"));
    wire.tgid = TGID + 1;
    wire.response(OK);
    assert_eq!(wire.out[0].tgid, TGID + 1);
}

#[test]
fn a_response_whose_record_overtakes_its_request() {
    let mut wire = Wire::client();
    wire.request(get("/a")).response(OK);
    // Another thread reads the response before the one that wrote the request is back from its call.
    let enter_ns = wire.now + CALL_NS;
    wire.now += 10 * CALL_NS;
    wire.response(OK);
    let request = get("/b");
    wire.record(true, request.as_bytes(), request.len() as u64, enter_ns, 0);
    wire.request(get("/c")).response(OK);
    assert_eq!(wire.said(), ["GET /a 200 Complete", "GET /c 200 Complete"]);
    assert_eq!(wire.sessions.stats().exchanges_lost, 1);
}

#[test]
fn what_is_in_flight_can_be_asked_for() {
    let mut wire = Wire::server();
    wire.request(chat(true));
    wire.switch(2);
    wire.request(get("/slow"));
    let mut got: Vec<_> = wire.sessions.in_flight().map(|x| (x.tgid, x.role, x.server_port, x.is_llm)).collect();
    got.sort_by_key(|x| x.3);
    assert_eq!(got, [(TGID, Role::Server, PORT, false), (TGID, Role::Server, PORT, true)]);
    wire.response(OK);
    assert_eq!(wire.sessions.in_flight().count(), 1);
}

#[test]
fn what_is_in_flight_tells_whether_it_is_streamed() {
    for (request, response, streams) in [
        (chat(true), "", true),
        (chat(false), "", false),
        // Ollama's own way is to stream unless told otherwise.
        (post("/api/chat", "", r#"{"model":"m"}"#), "", true),
        // The answer knows best.
        (chat(true), "HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", false),
        (get("/v1/models"), "", false),
    ] {
        let mut wire = Wire::server();
        wire.request(&request);
        if !response.is_empty() {
            wire.response(response);
        }
        let got: Vec<bool> = wire.sessions.in_flight().map(|open| open.streams).collect();
        assert_eq!(got, [streams], "{request} {response}");
    }
}

#[test]
fn http2_and_upgrades_are_counted() {
    let mut wire = Wire::server();
    wire.request("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    wire.switch(2);
    wire.request(get("/ws")).response("HTTP/1.1 101 Switching\r\n\r\n");
    let stats = wire.sessions.stats();
    assert_eq!((stats.http2, stats.upgraded, stats.connections), (1, 1, 2));
    assert_eq!(wire.sessions.take_useless(), [1, 2]);
    assert!(wire.sessions.take_useless().is_empty());
}
