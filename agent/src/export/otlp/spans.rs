//! Finished requests to spans: one for the request, and below it one for prefill and one for decode where the record
//! has these phases. Times are the record's, moved to the Unix epoch.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};
use prost::Message;

use super::{
    attributes::{self, Attributes, Phase},
    resource::{Host, by_service, scope},
    split::split,
    trace::{Finished, span_id},
};
use crate::correlate::{Causes, HostShare};

/// Moves an instant of CLOCK_MONOTONIC by `offset_ns` and some seconds.
pub fn unix_ns(at_ns: u64, offset_ns: u64, plus_s: f64) -> u64 {
    at_ns.saturating_add(offset_ns).saturating_add((plus_s * 1e9).round() as u64)
}

/// The spans of these requests in as many exports as they need, with how many are in each; those of one request are in one.
/// `offset_ns` makes Unix time of CLOCK_MONOTONIC.
pub fn exports<'a>(
    finished: impl Iterator<Item = &'a Finished<'a>>,
    host: &Host,
    offset_ns: u64,
) -> impl Iterator<Item = (ExportTraceServiceRequest, u64)> {
    let requests = finished.map(move |one| {
        let spans = spans(one, offset_ns);
        (spans.iter().map(Message::encoded_len).sum(), (one.request.service.as_str(), spans))
    });
    split(requests).map(|requests| export(requests, host))
}

fn export(requests: Vec<(&str, Vec<Span>)>, host: &Host) -> (ExportTraceServiceRequest, u64) {
    let count = requests.iter().map(|(_, spans)| spans.len() as u64).sum();
    let one = |(service, spans): (&str, Vec<Vec<Span>>)| ResourceSpans {
        resource: Some(host.resource(service)),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope()),
            spans: spans.into_iter().flatten().collect(),
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    (ExportTraceServiceRequest { resource_spans: by_service(requests).into_iter().map(one).collect() }, count)
}

fn spans(finished: &Finished<'_>, offset_ns: u64) -> Vec<Span> {
    let request = finished.request;
    let at = |plus_s| unix_ns(request.start_ns, offset_ns, plus_s);
    let mut spans = vec![Span {
        trace_id: finished.trace.to_vec(),
        span_id: finished.span.to_vec(),
        parent_span_id: finished.parent.map(Vec::from).unwrap_or_default(),
        flags: finished.flags(),
        name: attributes::name(request),
        kind: if request.role == "client" { SpanKind::Client } else { SpanKind::Server } as i32,
        start_time_unix_nano: at(0.0),
        end_time_unix_nano: at(request.duration_s),
        attributes: attributes::of(request),
        status: request.error_type.is_some().then(|| Status { message: String::new(), code: StatusCode::Error as i32 }),
        ..Span::default()
    }];
    // The first content ends the one phase and begins the other.
    if let Some(ttft_s) = request.ttft_s {
        let (host, causes) = (&request.host, &request.finding.causes);
        let prefill = (host.prefill.as_ref(), causes.prefill.as_ref());
        let decode = (host.decode.as_ref(), causes.decode.as_ref());
        spans.push(phase(finished, Phase::Prefill, (at(0.0), at(ttft_s)), prefill));
        spans.push(phase(finished, Phase::Decode, (at(ttft_s), at(request.duration_s)), decode));
    }
    spans.extend(engine(finished, at));
    spans
}

/// From the front's message to the core until the core's last answer, where both were seen.
fn engine(finished: &Finished<'_>, at: impl Fn(f64) -> u64) -> Option<Span> {
    let times = finished.request.engine_times.as_ref()?;
    let begin_s = times.before_s?;
    let end_s = begin_s + times.wait_s? + times.decode_s?;
    let mut attributes = Attributes::default();
    attributes.engine(times);
    Some(child(finished, "engine", (at(begin_s), at(end_s)), attributes))
}

fn phase(
    finished: &Finished<'_>,
    phase: Phase,
    (from, to): (u64, u64),
    (share, causes): (Option<&HostShare>, Option<&Causes>),
) -> Span {
    let mut attributes = Attributes::default();
    attributes.causes(phase, causes);
    attributes.share(phase, share);
    child(finished, phase.name(), (from, to), attributes)
}

fn child(finished: &Finished<'_>, name: &str, (from, to): (u64, u64), attributes: Attributes) -> Span {
    Span {
        trace_id: finished.trace.to_vec(),
        span_id: span_id().to_vec(),
        parent_span_id: finished.span.to_vec(),
        flags: finished.child_flags(),
        name: name.to_owned(),
        kind: SpanKind::Internal as i32,
        start_time_unix_nano: from,
        end_time_unix_nano: to,
        attributes: attributes.0,
        ..Span::default()
    }
}
