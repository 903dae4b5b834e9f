//! Live: connections that end before their response does, by either side and in every way that the kernel has. Each has
//! one record with the right error, and the next request is recorded as ever.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use support::agent::Agent;
use support::client::Request;
use support::live::{self, recorded, send};
use support::metrics::Metrics;
use support::server::Server;

fn watched(args: &[&str]) -> (Server, Agent) {
    let server = Server::start(args).unwrap();
    let agent = Agent::watch(&[server.pid()]).unwrap();
    (server, agent)
}

fn chat(stream: bool) -> Request {
    Request::chat("m", "one two three", 20, stream)
}

/// Another request is recorded as ever, and it is the only new record.
fn assert_exact_after(server: &Server, agent: &Agent) {
    let (o, r) = recorded(agent, server, &chat(true));
    assert_eq!((&r.id, r.output_tokens, r.chunks), (&o.id, Some(20), 20));
}

#[test]
fn clients_that_leave_are_cancelled() {
    let Some(_guard) = live::begin("clients_that_leave_are_cancelled") else { return };
    let (server, agent) = watched(&["-s", "delay-us=5000"]);
    for after in [1, 5] {
        let request = Request { abort_after: Some(after), ..Request::chat("m", "hi", 500, true) };
        let (o, r) = recorded(&agent, &server, &request);
        assert!(o.aborted);
        assert_eq!((&r.id, r.status, r.error_type.as_deref()), (&o.id, 200, Some("cancelled")), "{r:?}");
        assert!(r.chunks >= after && r.chunks < 500 && r.tokens_estimated, "{r:?}");
    }
}

#[test]
fn servers_that_break_off() {
    let Some(_guard) = live::begin("servers_that_break_off") else { return };
    for turn in ["abort", "close", "kill", "lying-chunk"] {
        let (server, agent) = watched(&["--mode", "fork"]);
        let (o, r) = recorded(&agent, &server, &chat(true).test("turn", turn));
        assert!(!o.complete(), "{turn}: {o:?}");
        assert!(r.error_type.is_some() && r.status == 200, "{turn}: {r:?}");
        assert_exact_after(&server, &agent);
    }
}

/// dup2(2) onto a connection closes it, though no close(2) is called.
#[test]
fn a_connection_that_another_file_replaces() {
    let Some(_guard) = live::begin("a_connection_that_another_file_replaces") else { return };
    let (server, agent) = watched(&[]);
    let (o, r) = recorded(&agent, &server, &chat(true).test("turn", "replace"));
    assert!(!o.complete(), "{o:?}");
    assert_eq!((r.error_type.as_deref(), r.status), (Some("connection_reset"), 200), "{r:?}");
    assert_exact_after(&server, &agent);
}

/// No hook sees close_range(2): the process is looked at when a request in flight has been still for long.
#[test]
fn a_close_that_no_call_tells_of() {
    let Some(_guard) = live::begin("a_close_that_no_call_tells_of") else { return };
    let (server, agent) = watched(&[]);
    let before = agent.records().unwrap().len();
    let o = send(&server, &chat(true).test("turn", "close-range"));
    assert!(!o.complete(), "{o:?}");
    let ended = |m: &Metrics| m.count("gen_ai_server_request_duration_seconds_count", &[]) == 1.0;
    agent.wait_metrics("it ends", Duration::from_secs(60), ended).unwrap();
    let idle = |m: &Metrics| m.count("http_server_active_requests", &[]) == 0.0;
    agent.wait_metrics("nothing is active", Duration::from_secs(10), idle).unwrap();
    let records = agent.wait_records(before + 1, |_| true).unwrap();
    let r = &records[before];
    assert_eq!((r.error_type.as_deref(), r.status, r.chunks), (Some("connection_reset"), 200, 3), "{r:?}");
    assert!(r.duration_s < 5.0, "it ended with its last byte: {r:?}");
    assert_exact_after(&server, &agent);
}
