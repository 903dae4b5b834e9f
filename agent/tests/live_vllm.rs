//! Live, on a real vLLM (INFERSCOPE_VLLM_URL and INFERSCOPE_VLLM_PID; `cargo xtask test --vllm` starts one): what is seen
//! behind its HTTP front, against its own counters.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use support::agent::Agent;
use support::client::{Client, Request};
use support::live;
use support::metrics::Metrics;
use support::outcome::Outcome;
use support::record::Record;
use support::transport::Target;

struct Vllm {
    target: Target,
    pid: u32,
}

/// The server, or None after a line that says why the test did not run.
fn server(name: &str) -> Option<Vllm> {
    let set = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
    let (Some(url), Some(pid)) = (set("INFERSCOPE_VLLM_URL"), set("INFERSCOPE_VLLM_PID")) else {
        live::skip(name, "INFERSCOPE_VLLM_URL and INFERSCOPE_VLLM_PID name no vLLM");
        return None;
    };
    let vllm = Vllm { target: Target::parse(&url).unwrap(), pid: pid.parse().unwrap() };
    assert_eq!(support::page::get(&vllm.target, "/health").unwrap().0, 200, "{url} is not ready");
    Some(vllm)
}

impl Vllm {
    fn metrics(&self) -> Metrics {
        Metrics::parse(&support::page::get(&self.target, "/metrics").unwrap().1).unwrap()
    }

    fn send(&self, request: &Request) -> Outcome {
        Client::new(&self.target).send(request).unwrap()
    }
}

fn chat(tokens: u64) -> Request {
    Request::chat("tiny", "Count from one to ten, please.", tokens, true).without_usage()
}

fn recorded(agent: &Agent, outcomes: &[Outcome]) -> Vec<Record> {
    let records = agent.records_of(outcomes).unwrap();
    let one = |o: &Outcome| records.iter().find(|record| record.id == o.id && record.id.is_some()).unwrap().clone();
    outcomes.iter().map(one).collect()
}

/// A watch that begins when the engine's connections are old, and its first requests.
#[test]
fn vllm_tokens_of_streams_without_usage_are_exact() {
    let name = "vllm_tokens_of_streams_without_usage_are_exact";
    let Some(_guard) = live::begin(name) else { return };
    let Some(vllm) = server(name) else { return };
    let agent = Agent::watch(&[vllm.pid]).unwrap();
    let before = vllm.metrics();
    let client = |client: u64| (0..8).map(|i| vllm.send(&chat(3 + 5 * client + i))).collect::<Vec<_>>();
    let client = &client;
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..6).map(|n| scope.spawn(move || client(n))).collect();
        running.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let after = vllm.metrics();
    let records = recorded(&agent, &outcomes);
    let total = |of: fn(&Record) -> Option<u64>| records.iter().filter_map(of).sum::<u64>() as f64;
    for (own, ours) in [
        ("vllm:generation_tokens_total", total(|record| record.output_tokens)),
        ("vllm:prompt_tokens_total", total(|record| record.input_tokens)),
    ] {
        assert_eq!(after.count(own, &[]) - before.count(own, &[]), ours, "{own}");
    }
    for record in &records {
        let part = |name| record.engine(name).unwrap_or_else(|| panic!("no {name}: {record:?}"));
        assert_eq!((record.tokens_estimated, &record.engine_times["complete"]), (false, &json!(true)), "{record:?}");
        let whole = part("before_s") + part("wait_s") + part("decode_s") + part("after_s");
        assert!((whole - record.duration_s).abs() < 1e-6, "{record:?}");
        let wait = part("handover_s") + part("queue_s") + part("prefill_s");
        assert!((wait - part("wait_s")).abs() < 1e-6, "{record:?}");
    }
    assert!(records.iter().any(|record| record.engine("in_flight") > Some(0.0)));
    assert_eq!(agent.lost().unwrap(), 0.0);
}

#[test]
fn vllm_choices_prompts_and_leavers() {
    let name = "vllm_choices_prompts_and_leavers";
    let Some(_guard) = live::begin(name) else { return };
    let Some(vllm) = server(name) else { return };
    let agent = Agent::watch(&[vllm.pid]).unwrap();
    let body =
        json!({ "model": "tiny", "prompt": ["One, two,", "Red and"], "n": 2, "max_tokens": 4, "temperature": 1 });
    let id = |mut request: Request| {
        request.headers.push(("x-request-id".to_owned(), "job-1".to_owned()));
        request
    };
    let outcomes = [
        vllm.send(&Request::post("/v1/completions", &body, false)),
        vllm.send(&id(chat(7))),
        vllm.send(&Request { abort_after: Some(3), ..chat(600) }),
    ];
    let records = recorded(&agent, &outcomes);
    let seen = |record: &Record, name: &str| record.engine_times[name].clone();
    assert_eq!((seen(&records[0], "requests"), seen(&records[0], "complete")), (json!(4), json!(true)));
    assert_eq!(seen(&records[0], "output_tokens"), json!(records[0].output_tokens));
    assert_eq!(seen(&records[0], "input_tokens"), json!(records[0].input_tokens));
    assert_eq!((records[1].id.as_deref(), records[1].output_tokens), (Some("chatcmpl-job-1"), Some(7)));
    assert_eq!((records[2].error_type.as_deref(), records[2].tokens_estimated), (Some("cancelled"), true));
    assert_eq!((seen(&records[2], "complete"), seen(&records[2], "finish_reason")), (json!(false), Value::Null));
    assert!(records[2].output_tokens >= Some(3), "{:?}", records[2]);
}

#[test]
fn vllm_is_not_looked_into_where_that_is_off() {
    let name = "vllm_is_not_looked_into_where_that_is_off";
    let Some(_guard) = live::begin(name) else { return };
    let Some(vllm) = server(name) else { return };
    let off = "[discover]\nenabled = false\n[nvml]\nenabled = false\n[capture]\nengines = false\n";
    let agent = Agent::configured(&[vllm.pid], off).unwrap();
    let records = recorded(&agent, &[vllm.send(&chat(5))]);
    assert_eq!((&records[0].engine_times, records[0].tokens_estimated), (&Value::Null, true));
}
