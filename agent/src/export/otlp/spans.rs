//! Finished requests to spans: one for the request, and below it one for prefill and one for decode where the record
//! has these phases. Times are the record's, moved to the Unix epoch.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};

use super::{
    attributes::{self, Attributes, Phase},
    resource::{Host, by_service, scope},
    trace::{Finished, span_id},
};
use crate::correlate::{Causes, HostShare};

/// Moves an instant of CLOCK_MONOTONIC by `offset_ns` and some seconds.
pub fn unix_ns(at_ns: u64, offset_ns: u64, plus_s: f64) -> u64 {
    at_ns.saturating_add(offset_ns).saturating_add((plus_s * 1e9).round() as u64)
}

/// The spans of these requests and how many they are. `offset_ns` makes Unix time of CLOCK_MONOTONIC.
pub fn export<'a>(
    finished: impl Iterator<Item = &'a Finished<'a>>,
    host: &Host,
    offset_ns: u64,
) -> (ExportTraceServiceRequest, u64) {
    let mut items = 0;
    let mut resource_spans = Vec::new();
    for (service, of_service) in by_service(finished.map(|one| (one.request.service.as_str(), one))) {
        let spans: Vec<Span> = of_service.into_iter().flat_map(|one| spans(one, offset_ns)).collect();
        items += spans.len() as u64;
        let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
        let resource = Some(host.resource(service));
        resource_spans.push(ResourceSpans { resource, scope_spans, ..ResourceSpans::default() });
    }
    (ExportTraceServiceRequest { resource_spans }, items)
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
