//! Records to spans and log records: what was encoded is decoded again and compared with the record.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    logs::v1::{LogRecord, SeverityNumber},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;

use super::*;
use crate::{
    correlate::{Cause, Causes, EngineTimes, Finding, HostPhases, HostShare, PhaseCauses, Verdict},
    events::{Event, Severity, Topic},
    export::otlp::{logs, resource::Host, spans, trace::Finished},
    identity::Home,
};

const OFFSET: u64 = 1_700_000_000_000_000_000;

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found: Vec<_> = attributes.iter().filter(|attribute| attribute.key == key).collect();
    assert!(found.len() < 2, "{key} stands twice");
    found.first()?.value.as_ref()?.value.as_ref()
}

pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text.clone()),
        other => panic!("{key} is {other:?}"),
    }
}

pub fn int(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key)? {
        Value::IntValue(number) => Some(*number),
        other => panic!("{key} is {other:?}"),
    }
}

fn double(attributes: &[KeyValue], key: &str) -> Option<f64> {
    match value(attributes, key)? {
        Value::DoubleValue(number) => Some(*number),
        other => panic!("{key} is {other:?}"),
    }
}

pub fn streamed() -> Request {
    let mut prefill = HostShare { oncpu_s: 0.25, runqueue_s: 0.5, major_faults: 3, ..HostShare::default() };
    prefill.offcpu_s[0] = 1.5;
    let decode = HostShare { oncpu_s: 2.0, block_io_s: 0.125, block_io_bytes: 4096, ..HostShare::default() };
    Request {
        pid: 77,
        engine: "vllm".into(),
        port: 8000,
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        dialect: Some("openai_chat"),
        request_model: Some("qwen".into()),
        response_model: Some("qwen-2".into()),
        stream: true,
        finish_reason: Some("length".into()),
        input_tokens: Some(40),
        output_tokens: Some(16),
        cached_tokens: Some(39),
        ttfb_s: Some(0.03),
        ttft_s: Some(0.1),
        tpot_s: Some(0.025),
        chunks: 16,
        request_id: Some("0af76519-16cd-43dd-8448-eb211c80319c".into()),
        host: HostPhases { prefill: Some(prefill), decode: Some(decode), total: None },
        ..(*chat(5)).clone()
    }
}

fn sent(request: &Request) -> (Vec<Span>, LogRecord) {
    let finished = [Finished::new(request, None)];
    let host = Host::named("h");
    let mut exports = spans::exports(finished.iter().filter(|one| one.sampled()), &host, OFFSET);
    let (traces, items) = exports.next().unwrap_or_default();
    assert!(exports.next().is_none());
    let traces = ExportTraceServiceRequest::decode(traces.encode_to_vec().as_slice()).unwrap();
    let (logs, _) = logs::exports(&finished, &[], &host, OFFSET, OFFSET + 7).next().unwrap();
    let mut logs = ExportLogsServiceRequest::decode(logs.encode_to_vec().as_slice()).unwrap();
    let spans: Vec<Span> =
        traces.resource_spans.into_iter().flat_map(|of| of.scope_spans).flat_map(|scope| scope.spans).collect();
    assert_eq!(spans.len() as u64, items);
    (spans, logs.resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0))
}

#[test]
fn a_span_says_what_the_record_says() {
    let request = streamed();
    let (spans, _) = sent(&request);
    let span = &spans[0];
    assert_eq!((span.name.as_str(), span.kind, &span.status), ("chat qwen", SpanKind::Server as i32, &None));
    let start = OFFSET + 1_000_000_005;
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (start, start + 500_000_000));
    let all = &span.attributes;
    for (key, wants) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "vllm"),
        ("gen_ai.request.model", "qwen"),
        ("gen_ai.response.model", "qwen-2"),
        ("gen_ai.response.id", "chatcmpl-5"),
        ("http.request.method", "POST"),
        ("url.path", "/v1/chat/completions"),
        ("inferscope.dialect", "openai_chat"),
        ("inferscope.request_id", "0af76519-16cd-43dd-8448-eb211c80319c"),
    ] {
        assert_eq!(text(all, key).as_deref(), Some(wants), "{key}");
    }
    for (key, wants) in [
        ("gen_ai.usage.input_tokens", 40),
        ("gen_ai.usage.output_tokens", 16),
        ("gen_ai.usage.cache_read.input_tokens", 39),
        ("server.port", 8000),
        ("http.response.status_code", 200),
        ("process.pid", 77),
        ("inferscope.chunks", 16),
        ("inferscope.host.prefill.major_faults", 3),
        ("inferscope.host.decode.block_io_bytes", 4096),
    ] {
        assert_eq!(int(all, key), Some(wants), "{key}");
    }
    for (key, wants) in [
        ("inferscope.duration_s", 0.5),
        ("inferscope.ttfb_s", 0.03),
        ("inferscope.ttft_s", 0.1),
        ("inferscope.tpot_s", 0.025),
        ("inferscope.host.prefill.oncpu_s", 0.25),
        ("inferscope.host.prefill.runqueue_s", 0.5),
        ("inferscope.host.prefill.offcpu_s.futex", 1.5),
        ("inferscope.host.decode.block_io_s", 0.125),
    ] {
        assert_eq!(double(all, key), Some(wants), "{key}");
    }
}

#[test]
fn the_phases_and_the_log_record_belong_to_the_span() {
    let (spans, log) = sent(&streamed());
    let [span, prefill, decode] = spans.as_slice() else { panic!("{spans:?}") };
    let (all, start) = (&span.attributes, span.start_time_unix_nano);
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    assert!(spans.iter().all(|span| span.trace_id == trace && span.span_id.len() == 8));
    assert!(span.parent_span_id.is_empty() && prefill.span_id != decode.span_id);
    for (child, name, from, to) in [(prefill, "prefill", 0, 100_000_000), (decode, "decode", 100_000_000, 500_000_000)]
    {
        assert_eq!((child.name.as_str(), &child.parent_span_id), (name, &span.span_id));
        assert_eq!((child.start_time_unix_nano, child.end_time_unix_nano), (start + from, start + to));
        let ours: Vec<_> = all.iter().filter(|one| one.key.starts_with(&format!("inferscope.host.{name}."))).collect();
        assert_eq!(child.attributes.iter().collect::<Vec<_>>(), ours);
    }

    assert_eq!((log.event_name.as_str(), log.severity_number), ("inferscope.request", SeverityNumber::Info as i32));
    assert_eq!((&log.trace_id, &log.span_id, &log.attributes), (&span.trace_id, &span.span_id, all));
    assert_eq!((log.time_unix_nano, log.observed_time_unix_nano), (start + 500_000_000, OFFSET + 7));
}

#[test]
fn what_a_request_lacks_its_span_lacks() {
    let (spans, _) = sent(&streamed());
    let all = &spans[0].attributes;
    let Some(Value::ArrayValue(reasons)) = value(all, "gen_ai.response.finish_reasons") else { panic!("{all:?}") };
    assert_eq!(reasons.values[0].value, Some(Value::StringValue("length".into())));
    for absent in ["error.type", "inferscope.tokens_estimated", "inferscope.gap", "inferscope.host.total.oncpu_s"] {
        assert_eq!(value(all, absent), None, "{absent}");
    }
    let (spans, _) = sent(&Request { model: None, status: 0, role: "client", ..(*chat(0)).clone() });
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((span.name.as_str(), span.kind), ("chat", SpanKind::Client as i32));
    for absent in ["http.response.status_code", "server.port", "gen_ai.request.model", "gen_ai.usage.output_tokens"] {
        assert_eq!(value(&span.attributes, absent), None, "{absent}");
    }
}

#[test]
fn tokens_that_were_counted_are_not_said_to_be_usage() {
    let (spans, _) = sent(&Request { tokens_estimated: true, ..streamed() });
    assert_eq!(int(&spans[0].attributes, "gen_ai.usage.output_tokens"), None);
    assert_eq!(int(&spans[0].attributes, "inferscope.tokens_estimated"), Some(16));
}

#[test]
fn an_error_is_a_status_and_a_severity() {
    let (spans, log) = sent(&Request { error_type: Some("cancelled".into()), ..streamed() });
    assert_eq!(spans[0].status.as_ref().unwrap().code, StatusCode::Error as i32);
    assert_eq!(text(&spans[0].attributes, "error.type").as_deref(), Some("cancelled"));
    assert_eq!((log.severity_number, log.severity_text.as_str()), (SeverityNumber::Error as i32, "ERROR"));
}

#[test]
fn a_trace_that_is_not_recorded_gets_no_span_and_its_log_record_points_to_the_caller() {
    let header = |flags| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    let (spans, log) = sent(&Request { traceparent: Some(header("00")), ..streamed() });
    let caller = 0xb7ad_6b71_6920_3331_u64.to_be_bytes();
    assert!(spans.is_empty() && log.span_id == caller && log.flags == 0);
    let (spans, log) = sent(&Request { traceparent: Some(header("01")), ..streamed() });
    assert_eq!((spans[0].parent_span_id.as_slice(), spans[0].flags, spans[1].flags), (caller.as_slice(), 0x301, 0x101));
    assert!(log.span_id == spans[0].span_id && log.flags == 1);
}

#[test]
fn texts_of_any_length_are_cut() {
    let (spans, log) = sent(&Request { path: "ä".repeat(9000), model: Some("m".repeat(9000)), ..streamed() });
    assert_eq!(text(&spans[0].attributes, "url.path").unwrap().chars().count(), 256);
    assert!(spans[0].name.len() < 300 && log.encoded_len() < 4096);
}

#[test]
fn requests_of_several_services_have_a_resource_each() {
    let requests = ["b", "a", "b"].map(|service| Request { service: service.into(), ..streamed() });
    let finished = requests.each_ref().map(|request| Finished::new(request, None));
    let (export, items) = spans::exports(finished.iter(), &Host::named("h"), OFFSET).next().unwrap();
    let seen: Vec<_> = export
        .resource_spans
        .iter()
        .map(|of| {
            let (resource, scope) = (&of.resource.as_ref().unwrap().attributes, &of.scope_spans[0]);
            assert_eq!(text(resource, "host.name").as_deref(), Some("h"));
            assert_eq!(text(resource, "telemetry.sdk.name").as_deref(), Some("inferscope"));
            let about = scope.scope.as_ref().unwrap();
            assert_eq!((about.name.as_str(), about.version.as_str()), ("inferscope", env!("CARGO_PKG_VERSION")));
            let name = |key| text(resource, key).unwrap();
            (name("service.name"), name("service.instance.id"), scope.spans.len())
        })
        .collect();
    assert_eq!(seen, [("a".into(), "h/a".into(), 3), ("b".into(), "h/b".into(), 6)]);
    assert_eq!(items, 9);
}

#[test]
fn the_verdict_and_its_causes_stand_on_span_and_log_record() {
    let mut causes = Causes::default();
    causes.0[Cause::RunQueue as usize] = 0.375;
    let phases = PhaseCauses { prefill: Some(causes), decode: None, total: Some(causes) };
    let verdict = Some(Verdict::CpuContention);
    let finding = Finding { verdict, verdict_confidence: Some(0.75), slowdown: Some(2.5), causes: phases };
    let (spans, log) = sent(&Request { finding, ..streamed() });
    for attributes in [&spans[0].attributes, &log.attributes] {
        assert_eq!(text(attributes, "inferscope.verdict").as_deref(), Some("cpu_contention"));
        assert_eq!(double(attributes, "inferscope.verdict_confidence"), Some(0.75));
        assert_eq!(double(attributes, "inferscope.slowdown"), Some(2.5));
        assert_eq!(double(attributes, "inferscope.cause.total.run_queue_s"), Some(0.375));
        assert_eq!(double(attributes, "inferscope.cause.total.lock_s"), None);
    }
    assert_eq!(double(&spans[1].attributes, "inferscope.cause.prefill.run_queue_s"), Some(0.375));
}

#[test]
fn an_engine_behind_a_front_has_a_span_of_its_own() {
    let times = EngineTimes {
        before_s: Some(0.25),
        wait_s: Some(0.5),
        decode_s: Some(1.0),
        queue_s: Some(0.125),
        waiting: Some(3),
        ..EngineTimes::default()
    };
    let request = Request { engine_times: Some(times.clone()), ..streamed() };
    let (spans, _) = sent(&request);
    let engine = spans.iter().find(|span| span.name == "engine").unwrap();
    assert_eq!(
        (engine.parent_span_id.clone(), engine.trace_id.clone()),
        (spans[0].span_id.clone(), spans[0].trace_id.clone())
    );
    assert_eq!(engine.start_time_unix_nano - spans[0].start_time_unix_nano, 250_000_000);
    assert_eq!(engine.end_time_unix_nano - engine.start_time_unix_nano, 1_500_000_000);
    assert_eq!(double(&engine.attributes, "inferscope.engine.queue_s"), Some(0.125));
    assert_eq!(int(&engine.attributes, "inferscope.engine.waiting"), Some(3));
    // Where an end was not seen there is none.
    let (spans, _) = sent(&Request { engine_times: Some(EngineTimes { decode_s: None, ..times }), ..streamed() });
    assert!(spans.iter().all(|span| span.name != "engine"));
}

#[test]
fn where_the_server_is_has_the_names_of_the_conventions() {
    let text_of = |name: &str| Some(name.to_owned());
    let home = Home {
        namespace: text_of("llm"),
        pod: text_of("vllm-0"),
        container: text_of("vllm"),
        container_id: text_of("c0"),
        pod_uid: text_of("u0"),
        node: text_of("node-1"),
    };
    let (spans, log) = sent(&Request { home, ..streamed() });
    for all in [&spans[0].attributes, &log.attributes] {
        for (key, wants) in [
            ("k8s.namespace.name", "llm"),
            ("k8s.pod.name", "vllm-0"),
            ("k8s.pod.uid", "u0"),
            ("k8s.container.name", "vllm"),
            ("k8s.node.name", "node-1"),
            ("container.id", "c0"),
        ] {
            assert_eq!(text(all, key).as_deref(), Some(wants), "{key}");
        }
    }
    let (spans, _) = sent(&streamed());
    assert!(!spans[0].attributes.iter().any(|one| one.key.starts_with("k8s.") || one.key == "container.id"));
}

#[test]
fn an_event_is_a_log_record_of_its_own_name() {
    let request = streamed();
    let exit = Event::new(Topic::Change, "exit", Severity::Error).of("vllm-qwen", 7);
    let exit = Event { unix_ns: 5, ..exit }.with("exit_code", 3_u64).with("oom_kill", false);
    let reload = Event::new(Topic::Change, "agent_config", Severity::Info).with("key", "listen");
    let (finished, events) = ([Finished::new(&request, None)], [&exit, &reload]);
    let exports: Vec<_> = logs::exports(&finished, &events, &Host::named("h"), OFFSET, 9).collect();
    let [(logs, 3)] = exports.as_slice() else { panic!("{exports:?}") };
    assert_eq!(logs.resource_logs.len(), 2);
    let of = |at: usize| &logs.resource_logs[at].scope_logs[0].log_records;
    // The agent's own resource comes first: "inferscope" before "vllm-qwen".
    assert_eq!((of(0).len(), of(1).len()), (1, 2));
    let record = &of(1)[1];
    assert_eq!((record.event_name.as_str(), record.severity_text.as_str()), ("inferscope.change", "ERROR"));
    assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (5, 9));
    let words = |words: &str| Some(Value::StringValue(words.to_owned()));
    assert_eq!(record.body.as_ref().and_then(|body| body.value.clone()), words("exit"));
    let all: Vec<_> = record
        .attributes
        .iter()
        .map(|one| (one.key.as_str(), one.value.as_ref().and_then(|value| value.value.clone())))
        .collect();
    assert_eq!(
        all,
        [
            ("inferscope.change", words("exit")),
            ("process.pid", Some(Value::IntValue(7))),
            ("inferscope.change.exit_code", Some(Value::IntValue(3))),
            ("inferscope.change.oom_kill", Some(Value::BoolValue(false))),
        ]
    );
}
