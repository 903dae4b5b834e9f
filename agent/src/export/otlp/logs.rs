//! Finished requests to log records, one each, with the attributes and the ids of the request's span; and events.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
};
use prost::Message;

use super::{
    attributes::{self, Attributes},
    content,
    resource::{Host, NAME, by_service, scope},
    spans::unix_ns,
    split::split,
    trace::Finished,
};
use crate::events::{self, Event, Severity};

/// What kind of event a request's record is.
pub const EVENT: &str = "inferscope.request";

/// The log records of these requests and events in as many exports as they need, with how many are in each: contents make
/// them long. `offset_ns` makes Unix time of CLOCK_MONOTONIC, `now_ns` is Unix time. What is no service's is the agent's.
pub fn exports<'a>(
    finished: &'a [Finished<'a>],
    events: &'a [&'a Event],
    host: &Host,
    offset_ns: u64,
    now_ns: u64,
) -> impl Iterator<Item = (ExportLogsServiceRequest, u64)> {
    let requests = finished.iter().map(move |one| (one.request.service.as_str(), record(one, offset_ns, now_ns)));
    let events = events.iter().map(move |one| (one.service.as_deref().unwrap_or(NAME), event(one, now_ns)));
    let records = requests.chain(events).map(|(service, record)| (record.encoded_len(), (service, record)));
    split(records).map(|records| export(records, host))
}

fn export(records: Vec<(&str, LogRecord)>, host: &Host) -> (ExportLogsServiceRequest, u64) {
    let count = records.len() as u64;
    let one = |(service, log_records): (&str, Vec<LogRecord>)| ResourceLogs {
        resource: Some(host.resource(service)),
        scope_logs: vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    };
    (ExportLogsServiceRequest { resource_logs: by_service(records).into_iter().map(one).collect() }, count)
}

/// Those of the span, and the contents that the mode lets a log have.
fn attributes(finished: &Finished<'_>) -> Vec<KeyValue> {
    let request = finished.request;
    let mut all = attributes::of(request);
    if let Some(content) = finished.content {
        all.extend(content::of(content, request.finish_reason.as_deref()));
    }
    all
}

fn record(finished: &Finished<'_>, offset_ns: u64, now_ns: u64) -> LogRecord {
    let request = finished.request;
    let (severity, word) =
        if request.error_type.is_some() { (SeverityNumber::Error, "ERROR") } else { (SeverityNumber::Info, "INFO") };
    // A span that is not exported is no place to point to: the caller's is.
    let span = if finished.sampled() { Some(finished.span) } else { finished.parent };
    LogRecord {
        time_unix_nano: unix_ns(request.start_ns, offset_ns, request.duration_s),
        observed_time_unix_nano: now_ns,
        severity_number: severity as i32,
        severity_text: word.to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(attributes::name(request))) }),
        attributes: attributes(finished),
        flags: finished.flags() & 0xff,
        trace_id: finished.trace.to_vec(),
        span_id: span.map(Vec::from).unwrap_or_default(),
        event_name: EVENT.to_owned(),
        ..LogRecord::default()
    }
}

/// An event's log record. Its attributes stand under `inferscope.`, its name is the body.
fn event(event: &Event, now_ns: u64) -> LogRecord {
    let (severity, word) = match event.severity {
        Severity::Debug => (SeverityNumber::Debug, "DEBUG"),
        Severity::Info => (SeverityNumber::Info, "INFO"),
        Severity::Warn => (SeverityNumber::Warn, "WARN"),
        Severity::Error => (SeverityNumber::Error, "ERROR"),
        Severity::Fatal => (SeverityNumber::Fatal, "FATAL"),
    };
    let topic = event.topic.name();
    let mut all = Attributes::default();
    all.text(&format!("inferscope.{topic}"), Some(event.name));
    all.int("process.pid", event.pid.map(u64::from));
    for (name, value) in event.attributes.iter() {
        let key = format!("inferscope.{topic}.{name}");
        match value {
            events::Value::Text(text) => all.text(&key, Some(text)),
            events::Value::Number(number) => all.number(&key, *number),
            events::Value::Figure(figure) => all.seconds(&key, Some(*figure)),
            events::Value::Flag(flag) => all.flag(&key, *flag),
        }
    }
    LogRecord {
        time_unix_nano: event.unix_ns,
        observed_time_unix_nano: now_ns,
        severity_number: severity as i32,
        severity_text: word.to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(event.name.to_owned())) }),
        attributes: all.0,
        event_name: event.topic.event_name().to_owned(),
        ..LogRecord::default()
    }
}
