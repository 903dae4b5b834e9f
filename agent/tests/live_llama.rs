//! Live, on a real llama.cpp server (INFERSCOPE_LLAMA_URL and INFERSCOPE_LLAMA_PID; `cargo xtask test` starts one):
//! each request of each of its dialects has one record, with the client's figures.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::agent::Agent;
use support::child::{Lines, Running};
use support::client::{Client, Request};
use support::live::{self, assert_exact};
use support::outcome::Outcome;
use support::record::Record;
use support::transport::Target;

struct Llama {
    target: Target,
    pid: u32,
}

/// The server, or None after a line that says why the test did not run.
fn server(name: &str) -> Option<Llama> {
    let set = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
    let (Some(url), Some(pid)) = (set("INFERSCOPE_LLAMA_URL"), set("INFERSCOPE_LLAMA_PID")) else {
        live::skip(name, "INFERSCOPE_LLAMA_URL and INFERSCOPE_LLAMA_PID name no llama.cpp server");
        return None;
    };
    let llama = Llama { target: Target::parse(&url).unwrap(), pid: pid.parse().unwrap() };
    // A server that loads its model still answers 503.
    assert_eq!(support::page::get(&llama.target, "/health").unwrap().0, 200, "{url} is not ready");
    Some(llama)
}

/// One request on a connection of its own, and the only new record.
fn recorded(agent: &Agent, llama: &Llama, request: &Request) -> (Outcome, Record) {
    let before = agent.records().unwrap().len();
    let o = Client::new(&llama.target).send(request).unwrap();
    let all = agent.wait_records(before + 1, |_| true).unwrap();
    assert_eq!(all.len(), before + 1, "{}: {:?}", request.path, &all[before..]);
    (o, all[before].clone())
}

/// The `i`th of a mixture: chat and completions, streamed and not, of different lengths.
fn nth(i: u64) -> Request {
    let (stream, tokens) = (i.is_multiple_of(2), 4 + i % 13);
    let prompt = format!("Count from {i} upwards, please.");
    if i % 3 == 2 {
        Request::completion("any", &prompt, tokens, stream)
    } else {
        Request::chat("any", &prompt, tokens, stream)
    }
}

#[test]
fn llama_each_request_has_one_exact_record() {
    let name = "llama_each_request_has_one_exact_record";
    let Some(_guard) = live::begin(name) else { return };
    let Some(llama) = server(name) else { return };
    let agent = Agent::watch(&[llama.pid]).unwrap();
    let mut outcomes = Vec::new();
    for at_once in [1, 2, 4, 8] {
        let clients = |client: u64| {
            let mut connection = Client::new(&llama.target);
            let own = (0..16).filter(|i| i % at_once == client);
            own.map(|i| connection.send(&nth(16 * at_once + i)).unwrap()).collect::<Vec<_>>()
        };
        let clients = &clients;
        outcomes.extend(std::thread::scope(|scope| {
            let running: Vec<_> = (0..at_once).map(|client| scope.spawn(move || clients(client))).collect();
            running.into_iter().flat_map(|c| c.join().unwrap()).collect::<Vec<_>>()
        }));
    }
    assert_eq!(outcomes.iter().filter(|o| o.complete() && o.status == 200 && o.id.is_some()).count(), 64);
    let c = assert_exact(&agent, &outcomes);
    assert_eq!(c.recorded, 64);
    assert!(c.ttft.within(0.001, 0.03) && c.duration.within(0.001, 0.03), "{c}");
    let m = agent.scrape().unwrap();
    assert_eq!(m.count("gen_ai_server_request_duration_seconds_count", &[]), 64.0);
    let tokens: u64 = outcomes.iter().filter_map(|o| o.output_tokens).sum();
    assert_eq!(m.count("gen_ai_client_token_usage_sum", &[("gen_ai_token_type", "output")]), tokens as f64);
}

#[test]
fn llama_every_dialect() {
    let Some(_guard) = live::begin("llama_every_dialect") else { return };
    let Some(llama) = server("llama_every_dialect") else { return };
    let agent = Agent::watch(&[llama.pid]).unwrap();
    let messages = json!([{ "role": "user", "content": "Name three colours." }]);
    let dialects: [(&str, &str, Value); 4] = [
        ("/v1/chat/completions", "chat", json!({ "messages": messages, "max_tokens": 9 })),
        ("/v1/completions", "text_completion", json!({ "prompt": "One, two,", "max_tokens": 9 })),
        ("/completion", "text_completion", json!({ "prompt": "One, two,", "n_predict": 9 })),
        ("/v1/messages", "chat", json!({ "model": "any", "messages": messages, "max_tokens": 9 })),
    ];
    for (path, operation, mut body) in dialects {
        for stream in [false, true] {
            body["stream"] = json!(stream);
            if stream && path.starts_with("/v1/c") {
                body["stream_options"] = json!({ "include_usage": true });
            }
            let (o, r) = recorded(&agent, &llama, &Request::post(path, &body, stream));
            assert!(o.complete() && o.status == 200, "{path}: {o:?}");
            assert_eq!((r.operation.as_deref(), r.stream, r.status), (Some(operation), stream, 200), "{path}");
            assert_eq!(r.engine.as_deref(), Some("llama_cpp"), "{path}");
            assert_eq!((&r.id, &r.model, &r.finish_reason), (&o.id, &o.model, &o.finish_reason), "{path}");
            assert_eq!((r.input_tokens, r.output_tokens), (o.input_tokens, o.output_tokens), "{path} {stream}");
            assert!(o.output_tokens.is_some() && !r.tokens_estimated, "{path}: {r:?}");
            assert_eq!(r.ttft_s.is_some(), stream, "{path}");
            if stream {
                assert_eq!(r.chunks, o.content_chunks, "{path}");
            }
        }
    }
}

#[test]
fn llama_errors_and_leavers() {
    let Some(_guard) = live::begin("llama_errors_and_leavers") else { return };
    let Some(llama) = server("llama_errors_and_leavers") else { return };
    let agent = Agent::watch(&[llama.pid]).unwrap();
    // The server runs without --embeddings.
    let refused = Request::post("/v1/embeddings", &json!({ "input": "hello", "model": "any" }), false);
    let too_long = "word ".repeat(20_000);
    for request in [refused, Request::chat("any", &too_long, 5, true), Request::chat("any", &too_long, 5, false)] {
        let (o, r) = recorded(&agent, &llama, &request);
        assert!(o.status >= 400, "{o:?}");
        assert_eq!((r.status, r.error_type.is_some(), r.output_tokens), (o.status, true, None), "{r:?}");
        assert_eq!((r.request_bytes, r.response_bytes), (o.bytes_sent, o.bytes_received));
    }
    let leaver = Request { abort_after: Some(2), ..Request::chat("any", "Tell a long story.", 400, true) };
    let (o, r) = recorded(&agent, &llama, &leaver);
    assert!(o.aborted);
    assert_eq!((&r.id, r.status, r.error_type.as_deref()), (&o.id, 200, Some("cancelled")), "{r:?}");
    let (o, r) = recorded(&agent, &llama, &Request::chat("any", "Hello.", 5, true));
    assert_eq!((&r.id, r.output_tokens, r.chunks), (&o.id, o.output_tokens, o.content_chunks));
}

/// Another server by the same program, which has no model itself and hands each request on to a child that has; with the
/// directory of its models. None if the program is one that cannot.
fn router(llama: &Llama) -> Option<(Running, Target, tempfile::TempDir)> {
    let proc = PathBuf::from(format!("/proc/{}", llama.pid));
    let program = std::fs::read_link(proc.join("exe")).unwrap();
    let help = Command::new(&program).arg("--help").output().unwrap().stdout;
    if !String::from_utf8_lossy(&help).contains("--models-dir") {
        return None;
    }
    let line = std::fs::read_to_string(proc.join("cmdline")).unwrap();
    let model = line.split('\0').skip_while(|word| *word != "-m").nth(1).unwrap();
    let models = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(model, models.path().join("small.gguf")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut command = Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", &port, "-c", "2048", "--device", "none", "--models-dir"]);
    let router = Running::start(
        {
            command.arg(models.path());
            command
        },
        Lines::Stderr,
    )
    .unwrap();
    let target = Target::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !support::page::get(&target, "/health").is_ok_and(|(status, _)| status == 200) {
        assert!(Instant::now() < deadline, "not ready in 60 s: {}", router.lines().join("\n"));
        std::thread::yield_now();
    }
    Some((router, target, models))
}

#[test]
fn llama_that_hands_on_to_its_children_serves_each_request_once() {
    let name = "llama_that_hands_on_to_its_children_serves_each_request_once";
    let Some(_guard) = live::begin(name) else { return };
    let Some(llama) = server(name) else { return };
    let Some((mut router, target, _models)) = router(&llama) else {
        return live::skip(name, "this llama.cpp has no --models-dir");
    };
    let agent = Agent::watch(&[router.pid()]).unwrap();
    let mut client = Client::new(&target);
    let send = |i: u64| client.send(&Request::chat("small", "Count upwards, please.", 4 + i, i.is_multiple_of(2)));
    let outcomes: Vec<Outcome> = (0..6).map(send).collect::<Result<_, _>>().unwrap();
    assert!(outcomes.iter().all(|o| o.complete() && o.status == 200), "{outcomes:?}");
    agent.wait_records(outcomes.len(), |_| true).unwrap();
    let m = agent
        .wait_metrics("both ends of each", Duration::from_secs(10), |m| m.count("inferscope_hops_total", &[]) == 12.0);
    let m = m.unwrap();
    let all = agent.records().unwrap();
    assert_eq!(
        all.iter().map(|r| (&r.id, r.pid)).collect::<Vec<_>>(),
        outcomes.iter().map(|o| (&o.id, router.pid())).collect::<Vec<_>>()
    );
    assert_eq!(m.count("gen_ai_server_request_duration_seconds_count", &[]), 6.0);
    let tokens: u64 = outcomes.iter().filter_map(|o| o.output_tokens).sum();
    assert_eq!(m.count("gen_ai_client_token_usage_sum", &[("gen_ai_token_type", "output")]), tokens as f64);
    assert_eq!(m.count("inferscope_exchanges_lost_total", &[]), 0.0);
    router.stop(libc::SIGTERM, Duration::from_secs(20)).unwrap();
}
