//! Requests: where the client has them, with every chunk, and drawn though they have not ended.

use super::{attach, end, trace::Trace};
use agent::export::perfetto::proto::Annotation;
use std::io::{Read, Write};
use support::client::Request;
use support::live;
use support::server::Server;

#[test]
fn requests_stand_over_the_threads() {
    let Some(_guard) = live::begin("requests_stand_over_the_threads") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let server = Server::start(&["-s", "prefill-ms=20", "-s", "delay-us=2000"]).unwrap();
    let attach = attach(&[server.pid()], &file, &[]);
    let outcomes: Vec<_> =
        (0..4).map(|i| live::send(&server, &Request::chat("m", "one two three", 20, i != 3))).collect();
    end(attach);
    let trace = Trace::read(&file);
    let requests = trace.named("chat m");
    assert_eq!(requests.len(), 4);
    for (request, o) in requests.iter().zip(&outcomes) {
        assert!(request.begin_ns >= o.t_send_ns && request.begin_ns < o.t_first_byte_ns);
        let inside = |slice: &&super::trace::Slice| {
            slice.track == request.track && slice.begin_ns >= request.begin_ns && slice.end_ns <= request.end_ns
        };
        let phases = trace.slices.iter().filter(inside).filter(|slice| slice.name != "chat m");
        let phases: u64 = phases.map(super::trace::Slice::ns).sum();
        let want = if o.ttft_ns.is_some() { request.ns() } else { 0 };
        assert!(phases.abs_diff(want) < 1_000, "{phases} ns in phases of {want} ns");
    }
    let chunks = trace.instants.iter().filter(|(_, name)| name == "chunk").count();
    assert_eq!(chunks, 3 * 20);
    // One read for each request, and at least one write for each chunk; with as many bytes as the client got.
    let bytes = |name: &str| -> u64 {
        let amount = |notes: &Vec<Annotation>| notes[0].uint();
        trace.named(name).iter().map(|slice| amount(&slice.notes)).sum()
    };
    assert!(trace.named("receive").len() >= 4 && trace.named("send").len() >= 3 * 20);
    assert!(bytes("send") > 0 && bytes("receive") > 0);
    // It slept before the first token of each, and between the tokens of those that were streamed.
    let asleep = trace.states.iter().filter(|state| state.reason.as_deref() == Some("sleep"));
    let asleep: f64 = asleep.filter_map(|s| Some((s.end_ns? - s.begin_ns) as f64 / 1e9)).sum();
    assert!(asleep > 4.0 * 0.02 + 3.0 * 19.0 * 0.002, "{asleep} s asleep");
    assert!(trace.counters.iter().any(|name| name == "resident memory"));
}

#[test]
fn a_request_in_flight_at_the_end_is_drawn() {
    let Some(_guard) = live::begin("a_request_in_flight_at_the_end_is_drawn") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let server = Server::start(&["-s", "delay-us=3000000"]).unwrap();
    let attach = attach(&[server.pid()], &file, &[]);
    let mut client = server.target.connect(super::SOON).unwrap();
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";
    write!(client, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    // The head of the answer is there, so the request was read.
    client.read_exact(&mut [0; 12]).unwrap();
    end(attach);
    let trace = Trace::read(&file);
    let open = trace.named("LLM request, not ended");
    assert!(open.len() == 1 && open[0].end_ns.is_none(), "{open:?}");
}
