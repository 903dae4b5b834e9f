//! Finished requests to log records, one each, with the attributes and the ids of the request's span.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
};

use super::{
    attributes, content,
    resource::{Host, by_service, scope},
    spans::unix_ns,
    trace::Finished,
};
use crate::correlate::Request;

/// What kind of event each record is.
pub const EVENT: &str = "inferscope.request";

/// The log records of these requests and how many they are. `offset_ns` makes Unix time of CLOCK_MONOTONIC, `now_ns` is
/// Unix time.
pub fn export(finished: &[Finished<'_>], host: &Host, offset_ns: u64, now_ns: u64) -> (ExportLogsServiceRequest, u64) {
    let mut resource_logs = Vec::new();
    for (service, of_service) in by_service(finished.iter().map(|one| (one.request.service.as_str(), one))) {
        let log_records = of_service.into_iter().map(|one| record(one, offset_ns, now_ns)).collect();
        let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }];
        let resource = Some(host.resource(service));
        resource_logs.push(ResourceLogs { resource, scope_logs, ..ResourceLogs::default() });
    }
    (ExportLogsServiceRequest { resource_logs }, finished.len() as u64)
}

/// Those of the span, and the contents that the mode lets a log have.
fn attributes(request: &Request) -> Vec<KeyValue> {
    let mut all = attributes::of(request);
    if let Some(content) = &request.content {
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
        attributes: attributes(request),
        flags: finished.flags() & 0xff,
        trace_id: finished.trace.to_vec(),
        span_id: span.map(Vec::from).unwrap_or_default(),
        event_name: EVENT.to_owned(),
        ..LogRecord::default()
    }
}
