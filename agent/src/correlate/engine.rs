//! Where a request's time went in an engine of several processes: before, in and after the core behind its HTTP front.
//! Pure, like all of `correlate`.

use serde::Serialize;

use crate::session::exchange::Exchange;

/// Times in seconds; `before_s + wait_s + decode_s + after_s` is the request's duration. One that lacks an end that was
/// seen is None.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EngineTimes {
    /// Start until the front sent the request to the core: reading, checking, tokens of the prompt.
    pub before_s: Option<f64>,
    /// Until the front had the first tokens; the next three are its parts, by the engine's account.
    pub wait_s: Option<f64>,
    /// Until the engine took it in: it does so between two of its steps.
    pub handover_s: Option<f64>,
    /// In the engine's queue.
    pub queue_s: Option<f64>,
    /// Scheduled until the front had the first tokens.
    pub prefill_s: Option<f64>,
    /// First tokens to last, as the front received them.
    pub decode_s: Option<f64>,
    /// Until the response's last byte.
    pub after_s: Option<f64>,
    /// Requests of the engine: one per prompt and choice.
    pub requests: u64,
    /// Requests that the engine had when this one came.
    pub in_flight: u64,
    /// Requests that its scheduler ran and had waiting when the first tokens came, by its own account.
    pub running: Option<u64>,
    pub waiting: Option<u64>,
    pub preemptions: u32,
    pub finish_reason: Option<&'static str>,
    pub input_tokens: Option<u64>,
    pub output_tokens: u64,
    pub cached_tokens: Option<u64>,
    /// All messages about the request were seen, up to the engine's word that it is over: then tokens are exact.
    pub complete: bool,
}

impl EngineTimes {
    /// None if nothing was seen of the engine.
    pub fn of(exchange: &Exchange) -> Option<Self> {
        let trace = exchange.engine.as_deref()?;
        let seconds = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?) as f64 / 1e9);
        // The engine's instants are of the same clock, unless it has a time namespace of its own.
        let (queued_ns, scheduled_ns) = (trace.queued_ns, trace.scheduled_ns);
        let in_order = trace.added_ns <= queued_ns && queued_ns <= scheduled_ns && scheduled_ns <= trace.first_ns;
        let (queued_ns, scheduled_ns) = if in_order { (queued_ns, scheduled_ns) } else { (None, None) };
        Some(Self {
            before_s: seconds(Some(exchange.start.at_ns), trace.added_ns),
            wait_s: seconds(trace.added_ns, trace.first_ns),
            handover_s: seconds(trace.added_ns, queued_ns),
            queue_s: seconds(queued_ns, scheduled_ns),
            prefill_s: seconds(scheduled_ns, trace.first_ns),
            decode_s: seconds(trace.first_ns, trace.last_ns),
            after_s: seconds(trace.last_ns, Some(exchange.end.at_ns)),
            requests: trace.requests,
            in_flight: trace.in_flight,
            running: trace.running,
            waiting: trace.waiting,
            preemptions: trace.preemptions,
            finish_reason: trace.finish,
            input_tokens: trace.input_tokens,
            output_tokens: trace.output_tokens,
            cached_tokens: trace.cached_tokens,
            complete: trace.exact(),
        })
    }
}
