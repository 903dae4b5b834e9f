//! Live: HTTP and the LLM dialects end to end. Each response of each dialect has a record with the client's figures;
//! what breaks off, lies or is no HTTP at all has the right error or no record, never a wrong one.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::time::Duration;
use support::agent::Agent;
use support::client::{Client, Request};
use support::live::{self, assert_exact, recorded, send};
use support::metrics::Metrics;
use support::record::Record;
use support::server::Server;

fn watched(args: &[&str]) -> (Server, Agent) {
    let server = Server::start(args).unwrap();
    let agent = Agent::watch(&[server.pid()]).unwrap();
    (server, agent)
}

fn chat(stream: bool) -> Request {
    Request::chat("m", "one two three", 20, stream)
}

/// Path, operation and body of each dialect that can stream.
fn dialects() -> Vec<(&'static str, &'static str, Value)> {
    let messages = json!([{ "role": "user", "content": "one two three" }]);
    let text = "one two three";
    vec![
        ("/v1/chat/completions", "chat", json!({ "model": "m", "messages": messages, "max_tokens": 9 })),
        ("/v1/completions", "text_completion", json!({ "model": "m", "prompt": text, "max_tokens": 9 })),
        ("/v1/responses", "chat", json!({ "model": "m", "input": text, "max_output_tokens": 9 })),
        ("/v1/messages", "chat", json!({ "model": "m", "messages": messages, "max_tokens": 9 })),
        ("/generate", "text_completion", json!({ "text": text, "sampling_params": { "max_new_tokens": 9 } })),
        ("/completion", "text_completion", json!({ "prompt": text, "n_predict": 9 })),
        ("/api/chat", "chat", json!({ "model": "m", "messages": messages, "options": { "num_predict": 9 } })),
        ("/api/generate", "text_completion", json!({ "model": "m", "prompt": text, "options": { "num_predict": 9 } })),
        ("/generate_stream", "text_completion", json!({ "inputs": text, "parameters": { "max_new_tokens": 9 } })),
        ("/v2/models/m/generate_stream", "text_completion", json!({ "text_input": text, "max_tokens": 9 })),
    ]
}

#[test]
fn every_dialect_streamed() {
    let Some(_guard) = live::begin("every_dialect_streamed") else { return };
    let (server, agent) = watched(&[]);
    for (path, operation, mut body) in dialects() {
        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
        for eol in ["lf", "crlf"] {
            let (o, r) = recorded(&agent, &server, &Request::post(path, &body, true).test("eol", eol));
            assert!(o.complete(), "{path}: {o:?}");
            assert_eq!(r.operation.as_deref(), Some(operation), "{path}");
            assert_eq!((r.status, r.stream, r.chunks), (200, true, 9), "{path}: {r:?}");
            assert_eq!((&r.id, &r.finish_reason), (&o.id, &o.finish_reason), "{path}");
            assert_eq!(r.input_tokens, o.input_tokens, "{path}");
            assert_eq!(r.output_tokens, Some(9), "{path}");
            assert_eq!(r.tokens_estimated, o.output_tokens.is_none(), "{path}");
            assert!(r.ttft_s.is_some() && r.error_type.is_none(), "{path}: {r:?}");
            if o.model.is_some() {
                assert_eq!(r.model, o.model, "{path}");
            }
        }
    }
}

#[test]
fn every_dialect_in_one_piece() {
    let Some(_guard) = live::begin("every_dialect_in_one_piece") else { return };
    let (server, agent) = watched(&[]);
    for (path, operation, mut body) in dialects() {
        body["stream"] = json!(false);
        let path = path.replace("_stream", "");
        let (o, r) = recorded(&agent, &server, &Request::post(&path, &body, false));
        assert_eq!(r.operation.as_deref(), Some(operation), "{path}");
        assert_eq!((r.status, r.stream, r.ttft_s), (200, false, None), "{path}: {r:?}");
        assert_eq!((&r.id, &r.finish_reason), (&o.id, &o.finish_reason), "{path}");
        assert_eq!((r.input_tokens, r.output_tokens), (o.input_tokens, o.output_tokens), "{path}");
    }
    let (o, r) =
        recorded(&agent, &server, &Request::post("/v1/embeddings", &json!({ "model": "m", "input": "a b" }), false));
    assert_eq!((r.operation.as_deref(), r.input_tokens), (Some("embeddings"), Some(2)), "{o:?}");
}

#[test]
fn pipelined_continued_and_chunked_requests() {
    let Some(_guard) = live::begin("pipelined_continued_and_chunked_requests") else { return };
    let (server, agent) = watched(&[]);
    let mut client = Client::new(&server.target);
    let mut outcomes = client.pipeline(&[chat(true), chat(false), chat(true), chat(true)]).unwrap();
    for (expect_continue, body_chunks) in [(true, None), (false, Some(7)), (true, Some(100))] {
        outcomes.push(client.send(&Request { expect_continue, body_chunks, ..chat(true) }).unwrap());
    }
    assert_exact(&agent, &outcomes);
}

#[test]
fn errors_have_their_type() {
    let Some(_guard) = live::begin("errors_have_their_type") else { return };
    let (server, agent) = watched(&[]);
    for status in [400, 404, 429, 500, 503] {
        let (_, r) = recorded(&agent, &server, &chat(true).test("status", status));
        assert_eq!((r.status, r.error_type.is_some()), (status, true), "{r:?}");
    }
    for (path, _, mut body) in dialects() {
        body["stream"] = json!(true);
        let (_, r) = recorded(&agent, &server, &Request::post(path, &body, true).test("turn", "error"));
        assert_eq!((r.status, r.error_type.is_some(), r.chunks), (200, true, 3), "{path}: {r:?}");
    }
}

/// Of a long upload the ring gets the beginning and the end of each read; the record is whole all the same.
#[test]
fn a_request_of_ten_megabytes() {
    let Some(_guard) = live::begin("a_request_of_ten_megabytes") else { return };
    let (server, agent) = watched(&[]);
    let long = Request::chat("m", &"x".repeat(10 << 20), 20, true);
    let (o, r) = recorded(&agent, &server, &long);
    assert!(o.complete() && o.bytes_sent > 10 << 20);
    assert_eq!((&r.id, r.model.as_deref(), r.output_tokens, r.chunks), (&o.id, Some("m"), Some(20), 20), "{r:?}");
    assert_eq!((r.request_bytes, r.error_type.as_deref()), (o.bytes_sent, None));
    let left_out = |m: &Metrics| m.count("inferscope_payload_left_out_bytes_total", &[]) > (7 << 20) as f64;
    let m = agent.wait_metrics("what was left out is counted", Duration::from_secs(10), left_out).unwrap();
    assert_eq!(m.count("inferscope_events_lost_total", &[("where", "ring_payload")]), 0.0);
    assert_exact_after(&server, &agent);
}

/// Another request is recorded as ever, and it is the only new record.
fn assert_exact_after(server: &Server, agent: &Agent) {
    let (o, r) = recorded(agent, server, &chat(true));
    assert_eq!((&r.id, r.output_tokens, r.chunks), (&o.id, Some(20), 20));
}

#[test]
fn noise_in_a_stream_spoils_nothing_else() {
    let Some(_guard) = live::begin("noise_in_a_stream_spoils_nothing_else") else { return };
    let (server, agent) = watched(&[]);
    for turn in ["garbage", "half-json", "long-line", "bad-utf8"] {
        let (o, r) = recorded(&agent, &server, &chat(true).test("turn", turn));
        assert_eq!((&r.id, r.output_tokens), (&o.id, Some(20)), "{turn}: {r:?}");
        assert_exact_after(&server, &agent);
    }
    let o = send(&server, &chat(true).test("garbage-head", 1));
    assert!(o.status == 0);
    let after = send(&server, &chat(true));
    let records = agent.records_of(std::slice::from_ref(&after)).unwrap();
    assert!(records.iter().any(|r| r.id == after.id), "nothing after the garbage");
    let resident = agent.scrape().unwrap().sum("inferscope_memory_bytes", &[]).unwrap();
    // The scrape's figure is up to two seconds old; the peak is not.
    let peak = peak_bytes(agent.pid());
    assert!(resident > 1e6 && peak >= resident && peak < 120e6, "{resident} and at most {peak} bytes resident");
}

/// The most memory that a process has had resident.
fn peak_bytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    kib.parse::<f64>().unwrap() * 1024.0
}

fn of(m: &Metrics, name: &str) -> f64 {
    m.count(name, &[])
}

#[test]
fn a_gzipped_body_gives_sizes_and_times() {
    let Some(_guard) = live::begin("a_gzipped_body_gives_sizes_and_times") else { return };
    let (server, agent) = watched(&[]);
    let (o, r) = recorded(&agent, &server, &chat(false).test("gzip", 1));
    assert_eq!((r.status, r.id.clone(), r.output_tokens), (200, None, None), "{r:?}");
    assert!(r.duration_s > 0.0 && r.response_bytes == o.bytes_received && r.request_bytes == o.bytes_sent, "{r:?}");
}

/// Bounds that hold on the busiest machine: what the server's calls showed lies between what the client did and saw, and
/// no pause that the server made is missing. How close the two are is `cargo xtask bench accuracy`.
#[test]
fn times_lie_between_what_client_and_server_did() {
    let Some(_guard) = live::begin("times_lie_between_what_client_and_server_did") else { return };
    let (server, agent) = watched(&["-s", "prefill-ms=20", "-s", "delay-us=1000"]);
    let outcomes: Vec<_> = (0..50).map(|i| send(&server, &chat(i % 2 == 0))).collect();
    assert_exact(&agent, &outcomes);
    let records = agent.records().unwrap();
    let at = |r: &Record, s: f64| r.start_ns as f64 + s * 1e9;
    for o in &outcomes {
        let r = records.iter().find(|r| r.id == o.id).unwrap();
        assert!(r.start_ns >= o.t_send_ns && at(r, r.ttfb_s.unwrap()) <= o.t_first_byte_ns as f64, "{o:?} {r:?}");
        assert!(r.duration_s > 0.02, "{r:?}");
        let Some(ttft) = r.ttft_s else { continue };
        assert!(at(r, ttft) <= o.t_first_content_ns as f64, "{o:?} {r:?}");
        assert!(ttft - r.ttfb_s.unwrap() > 0.02, "the head is not the first token: {r:?}");
        assert!(r.tpot_s.unwrap() > 0.001 && r.duration_s - ttft > 0.019, "{r:?}");
        assert!(r.host("prefill", "offcpu_s/sleep").unwrap() > 0.0199, "the prefill was asleep: {}", r.host);
    }
}

#[test]
fn metrics_are_the_records_sums() {
    let Some(_guard) = live::begin("metrics_are_the_records_sums") else { return };
    let (server, agent) = watched(&[]);
    let outcomes: Vec<_> = (0..20).map(|i| send(&server, &chat(i % 2 == 0))).collect();
    assert_exact(&agent, &outcomes);
    for path in ["/health", "/health", "/v1/models", "/nowhere"] {
        send(&server, &Request::get(path));
    }
    let plain = |m: &Metrics| of(m, "http_server_request_duration_seconds_count");
    let m = agent.wait_metrics("plain requests", Duration::from_secs(10), |m| plain(m) >= 24.0).unwrap();
    assert_eq!(plain(&m), 24.0);
    assert_eq!(of(&m, "gen_ai_server_request_duration_seconds_count"), 20.0);
    assert_eq!(of(&m, "gen_ai_server_time_to_first_token_seconds_count"), 10.0);
    let usage = |kind| m.count("gen_ai_client_token_usage_sum", &[("gen_ai_token_type", kind)]);
    assert_eq!((usage("input"), usage("output")), (60.0, 400.0));
    assert_eq!(of(&m, "http_server_active_requests"), 0.0);
    let (_, text) = support::page::get(&agent.target, "/metrics").unwrap();
    support::exposition::assert_sound("metrics_are_the_records_sums", &text);
    assert_eq!(m.label_values("gen_ai_server_request_duration_seconds_count", "gen_ai_request_model"), ["m"]);
}

#[test]
fn a_request_in_flight_is_active() {
    let Some(_guard) = live::begin("a_request_in_flight_is_active") else { return };
    let (server, agent) = watched(&["-s", "delay-us=20000"]);
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| send(&server, &Request::chat("m", "hi", 200, true)));
        let active = |n: f64| move |m: &Metrics| of(m, "http_server_active_requests") == n;
        agent.wait_metrics("one request in flight", Duration::from_secs(3), active(1.0)).unwrap();
        // Content comes each 20 ms, so the service is idle for less than its request is old.
        let streams = |m: &Metrics| {
            let idle = of(m, "inferscope_request_idle_seconds");
            of(m, "inferscope_requests_in_flight") == 1.0 && idle < of(m, "inferscope_request_oldest_seconds")
        };
        agent.wait_metrics("a stream that moves", Duration::from_secs(3), streams).unwrap();
        assert!(stream.join().unwrap().complete());
        let m = agent.wait_metrics("none in flight", Duration::from_secs(3), active(0.0)).unwrap();
        for family in ["requests_in_flight", "request_oldest_seconds", "request_idle_seconds"] {
            assert_eq!(of(&m, &format!("inferscope_{family}")), 0.0, "{family}");
        }
    });
}

#[test]
fn the_caller_has_records_too() {
    let Some(_guard) = live::begin("the_caller_has_records_too") else { return };
    let server = Server::start(&[]).unwrap();
    let out = std::env::temp_dir().join(format!("live-load-{}.jsonl", std::process::id()));
    let mut command = std::process::Command::new(support::locate::helper("load").unwrap());
    let url = format!("http://{}", server.target.host());
    command.args(["--url", &url, "--requests", "40", "--concurrency", "4", "--wait", "--jsonl"]).arg(&out);
    let mut load = support::child::Running::start(command, support::child::Lines::Stdout).unwrap();
    load.wait_line(Duration::from_secs(20), |l| l.starts_with("ready").then_some(())).unwrap();
    let agent = Agent::watch(&[load.pid()]).unwrap();
    load.tell("go").unwrap();
    assert!(load.wait(Duration::from_secs(60)).unwrap().success());
    let lines = std::fs::read_to_string(&out).unwrap();
    let outcomes: Vec<_> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    std::fs::remove_file(&out).unwrap();
    assert_exact(&agent, &outcomes);
    let m = agent.scrape().unwrap();
    assert_eq!(of(&m, "gen_ai_client_operation_duration_seconds_count"), 40.0);
    assert_eq!(of(&m, "gen_ai_server_request_duration_seconds_count"), 0.0);
}

#[test]
fn no_text_and_no_secret_leaves_the_agent() {
    let Some(_guard) = live::begin("no_text_and_no_secret_leaves_the_agent") else { return };
    let (server, agent) = watched(&[]);
    for (stream, status) in [(true, 200), (false, 200), (true, 400)] {
        let mut request = Request::chat("m", "heliotrope windmill", 5, stream).test("status", status);
        request.headers.push(("authorization".into(), "Bearer sk-quicksilver".into()));
        recorded(&agent, &server, &request);
    }
    let records = std::fs::read_to_string(agent.records_path()).unwrap();
    let (_, metrics) = support::page::get(&agent.target, "/metrics").unwrap();
    let log = agent.running.lines().join("\n");
    for (place, text) in [("records", records), ("metrics", metrics), ("log", log)] {
        for secret in ["heliotrope", "quicksilver", "tok~", "tok tok", "asked for"] {
            assert!(!text.contains(secret), "`{secret}` stands in the {place}");
        }
    }
}
