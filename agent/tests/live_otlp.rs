//! Live: what a running agent sends to an OTLP collector, compared with its own records, and what one that is down costs.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use support::agent::Agent;
use support::client::Request;
use support::live::{self, recorded};
use support::record::Record;
use support::server::Server;

const QUIET: &str = "[discover]\nenabled = false\n[nvml]\nenabled = false\n[otlp]\n";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

type Export = (&'static str, Bytes);

/// A collector that takes everything and hands it on; it ends with the process.
fn collector() -> (SocketAddr, Receiver<Export>) {
    let (sender, received) = channel();
    let (bound, address) = channel();
    std::thread::spawn(move || {
        let take = |signal: &'static str| {
            post(move |State(sender): State<Sender<Export>>, body: Bytes| async move {
                // A test that is over listens no more.
                let _ = sender.send((signal, body));
            })
        };
        let app = Router::new()
            .route("/v1/traces", take("traces"))
            .route("/v1/metrics", take("metrics"))
            .route("/v1/logs", take("logs"))
            .with_state(sender);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    });
    (address.recv().unwrap(), received)
}

fn spans(exports: &[Export]) -> Vec<Span> {
    let traces = exports.iter().filter(|(signal, _)| *signal == "traces");
    let decoded = traces.map(|(_, message)| ExportTraceServiceRequest::decode(message.clone()).unwrap());
    decoded
        .flat_map(|export| export.resource_spans)
        .flat_map(|of| of.scope_spans)
        .flat_map(|scope| scope.spans)
        .collect()
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|one| one.key == key)?.value.as_ref()?.value.as_ref()
}

fn id(span: &Span) -> Option<String> {
    match attribute(span, "gen_ai.response.id")? {
        Value::StringValue(id) => Some(id.clone()),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
fn agrees(span: &Span, record: &Record) {
    let took_s = (span.end_time_unix_nano - span.start_time_unix_nano) as f64 / 1e9;
    assert!((took_s - record.duration_s).abs() < 1e-6, "{took_s} {record:?}");
    assert_eq!(attribute(span, "inferscope.ttft_s"), record.ttft_s.map(Value::DoubleValue).as_ref());
    let output = record.output_tokens.map(|tokens| Value::IntValue(tokens as i64));
    assert_eq!(attribute(span, "gen_ai.usage.output_tokens"), output.as_ref());
    assert!(attribute(span, "inferscope.host.total.oncpu_s").is_some(), "{span:?}");
}

#[test]
fn a_span_and_a_log_record_per_request_in_the_callers_trace() {
    let Some(_guard) = live::begin("a_span_and_a_log_record_per_request_in_the_callers_trace") else { return };
    let (address, received) = collector();
    let server = Server::start(&[]).unwrap();
    let agent = Agent::configured(&[server.pid()], &format!("{QUIET}endpoint = \"http://{address}\"\n")).unwrap();
    let before_ns = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut records = BTreeMap::new();
    for number in 0..6 {
        let mut chat = Request::chat("m", "one two three", 5, number % 2 == 0);
        chat.headers.push(("traceparent".into(), format!("00-{TRACE}-{CALLER}-01")));
        let (_, record) = recorded(&agent, &server, &chat);
        records.insert(record.id.clone().unwrap(), record);
    }
    let losses = agent.scrape().unwrap();
    assert!(agent.stop().unwrap().0.success());
    let exports: Vec<Export> = received.try_iter().collect();
    let spans = spans(&exports);
    let requests: Vec<&Span> = spans.iter().filter(|span| hex(&span.parent_span_id) == CALLER).collect();
    assert_eq!((requests.len(), spans.len()), (6, 12), "three are streamed and have two phases each");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE && span.start_time_unix_nano > before_ns));
    requests.iter().for_each(|span| agrees(span, &records[&id(span).unwrap()]));
    let logs = exports.iter().filter(|(signal, _)| *signal == "logs");
    let logged = logs.map(|(_, message)| {
        let export = ExportLogsServiceRequest::decode(message.clone()).unwrap();
        export.resource_logs.iter().map(|of| of.scope_logs[0].log_records.len()).sum::<usize>()
    });
    assert_eq!(logged.sum::<usize>(), 6);
    let (_, last) = exports.iter().rfind(|(signal, _)| *signal == "metrics").unwrap();
    let metrics = ExportMetricsServiceRequest::decode(last.clone()).unwrap();
    let names = metrics.resource_metrics.iter().flat_map(|of| &of.scope_metrics[0].metrics).map(|m| m.name.as_str());
    let names: Vec<&str> = names.collect();
    for name in ["gen_ai.server.request.duration", "inferscope_service_oncpu_seconds_total", "inferscope_build_info"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for place in ["otlp_queue", "otlp_rejected", "otlp_undelivered"] {
        assert_eq!(losses.count("inferscope_events_lost_total", &[("where", place)]), 0.0, "{place}");
    }
}

#[test]
fn a_collector_that_is_down_costs_no_record_and_no_time() {
    let Some(_guard) = live::begin("a_collector_that_is_down_costs_no_record_and_no_time") else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start(&[]).unwrap();
    let config = format!("{QUIET}endpoint = \"http://127.0.0.1:{port}\"\ninterval = \"1s\"\n");
    let agent = Agent::configured(&[server.pid()], &config).unwrap();
    for _ in 0..3 {
        recorded(&agent, &server, &Request::chat("m", "one two three", 5, true));
    }
    let retried = [("signal", "traces"), ("outcome", "retried")];
    agent
        .wait_metrics("an attempt that failed", Duration::from_secs(10), |m| {
            m.count("inferscope_otlp_exports_total", &retried) > 0.0
        })
        .unwrap();
    let began = Instant::now();
    let (status, records) = agent.stop().unwrap();
    assert!(status.success() && records.len() == 3 && began.elapsed() < Duration::from_secs(5));
}
