//! Live: metrics of the configuration's own, made of real requests. Every request is in them once, with the header, the
//! places of both bodies and the fields of the record that it had.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use std::time::Duration;
use support::agent::Agent;
use support::client::Request;
use support::live::{self, send};
use support::metrics::Metrics;
use support::server::Server;

const SOON: Duration = Duration::from_secs(30);
const METRICS: &str = r#"
[nvml]
enabled = false

[[metrics.custom]]
name = "tenant_requests_total"
type = "counter"
labels = { tenant = "request.header.X-Tenant", status = "record.status" }
max_series = 3

[[metrics.custom]]
name = "requested_tokens"
type = "histogram"
value = "request.body.max_tokens"
buckets = [8, 16]

[[metrics.custom]]
name = "turns_total"
type = "counter"
value = "request.body.messages.#"

[[metrics.custom]]
name = "answered_tokens_total"
type = "counter"
value = "response.body.usage.completion_tokens"
labels = { stream = "record.stream" }

[[metrics.custom]]
name = "elsewhere_total"
type = "counter"
service = "no-such-*"
"#;

fn chat(tenant: Option<&str>, max_tokens: u64, turns: usize, stream: bool) -> Request {
    let messages = vec![json!({ "role": "user", "content": "max_tokens and { [ \" in a text" }); turns];
    let body = json!({ "messages": messages, "max_tokens": max_tokens, "model": "m", "stream": stream,
        "stream_options": { "include_usage": true } });
    let mut request = Request::post("/v1/chat/completions", &body, stream);
    request.headers.extend(tenant.map(|tenant| ("x-tenant".to_owned(), tenant.to_owned())));
    request
}

#[test]
fn every_request_is_in_them_once() {
    let Some(_guard) = live::begin("every_request_is_in_them_once") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, METRICS).unwrap();
    let server = Server::start(&[]).unwrap();
    let pid = server.pid().to_string();
    let agent = Agent::start(&["--config".into(), file.display().to_string(), "--pid".into(), pid]).unwrap();
    for (tenant, max_tokens, turns, stream) in [
        (Some("acme"), 5, 1, true),
        (Some("acme"), 12, 3, false),
        (Some("other"), 20, 2, true),
        (None, 8, 1, false),
        (Some("one too many"), 1, 1, false),
    ] {
        assert!(send(&server, &chat(tenant, max_tokens, turns, stream)).complete());
    }
    let count = |m: &Metrics, name: &str, labels: &[(&str, &str)]| m.count(name, labels);
    let all_counted = |m: &Metrics| count(&m.clone().knowing_any(), "requested_tokens_count", &[]) == 5.0;
    let metrics = agent.wait_metrics("five requests", SOON, all_counted).unwrap();
    let overflow = metrics.count("inferscope_series_overflow_total", &[("family", "custom")]);
    let metrics = metrics.knowing_any();
    for (name, labels, wants) in [
        ("tenant_requests_total", [("tenant", "acme"), ("status", "200")].as_slice(), 2.0),
        ("tenant_requests_total", &[("tenant", "other")], 1.0),
        ("tenant_requests_total", &[("tenant", "")], 1.0),
        ("tenant_requests_total", &[("tenant", "_other"), ("service", "_other")], 1.0),
        ("requested_tokens_sum", &[], 46.0),
        ("requested_tokens_bucket", &[("le", "8")], 3.0),
        ("requested_tokens_bucket", &[("le", "16")], 4.0),
        ("turns_total", &[], 8.0),
        ("answered_tokens_total", &[("stream", "true")], 25.0),
        ("answered_tokens_total", &[("stream", "false")], 21.0),
        ("elsewhere_total", &[], 0.0),
    ] {
        assert_eq!(count(&metrics, name, labels), wants, "{name}{labels:?}");
    }
    assert_eq!(overflow, 1.0);
}
