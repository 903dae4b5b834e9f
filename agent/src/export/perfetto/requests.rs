//! Requests of a timeline: a slice each with its phases, an instant for each chunk, and what the record says beside it.

use super::form::{Note, Place, Slice, Value};
use crate::{correlate::Request, session::InFlight};

fn place(pid: u32) -> Place<'static> {
    Place::Among { pid, name: "requests" }
}

/// A request that ended.
pub fn ended(request: &Request, put: impl FnOnce(&Slice<'_>)) {
    let at = |seconds: f64| request.start_ns + (seconds * 1e9) as u64;
    let (operation, model) = (request.operation.unwrap_or("http"), request.model.as_deref().unwrap_or("-"));
    let (begin_ns, end_ns) = (at(0.0), at(request.duration_s));
    let phases = request
        .ttft_s
        .map_or_else(Vec::new, |ttft| vec![("prefill", begin_ns, Some(at(ttft))), ("decode", at(ttft), Some(end_ns))]);
    let name = format!("{operation} {model}");
    let slice = Slice::new(place(request.pid), &name, begin_ns, Some(end_ns), notes(request));
    put(&Slice { phases, instants: ("chunk", &request.chunk_times_ns), ..slice });
}

/// A request that has not ended.
pub fn open(request: &InFlight, put: impl FnOnce(&Slice<'_>)) {
    let name = if request.is_llm { "LLM request, not ended" } else { "request, not ended" };
    let first_ns = request.first_content_ns;
    // What is not streamed does not tell when its first token was made.
    let mut phases = if request.streams { vec![("prefill", request.start_ns, first_ns)] } else { Vec::new() };
    phases.extend(first_ns.map(|first_ns| ("decode", first_ns, None)));
    let slice = Slice::new(place(request.tgid), name, request.start_ns, None, Vec::new());
    put(&Slice { phases: if request.is_llm { phases } else { Vec::new() }, ..slice });
}

fn notes(request: &Request) -> Vec<Note> {
    let mut all = vec![("status", Value::Count(request.status.into()))];
    let texts = [("id", &request.id), ("error_type", &request.error_type), ("finish_reason", &request.finish_reason)];
    all.extend(texts.into_iter().filter_map(|(name, text)| Some((name, Value::Text(text.clone()?)))));
    let output = if request.tokens_estimated { "output_tokens_estimated" } else { "output_tokens" };
    let counts = [("input_tokens", request.input_tokens), (output, request.output_tokens)];
    all.extend(counts.into_iter().filter_map(|(name, count)| Some((name, Value::Count(count?)))));
    all.push(("chunks", Value::Count(request.chunks)));
    let times = [("ttfb_s", request.ttfb_s), ("ttft_s", request.ttft_s), ("tpot_s", request.tpot_s)];
    all.extend(times.into_iter().filter_map(|(name, time)| Some((name, Value::Number(time?)))));
    all.extend(request.finding.verdict.map(|verdict| ("verdict", Value::Text(verdict.name().to_owned()))));
    all.extend(request.finding.slowdown.map(|slowdown| ("slowdown", Value::Number(slowdown))));
    all
}
