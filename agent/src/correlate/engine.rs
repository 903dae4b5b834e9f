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
    /// Until the front had the first tokens: queue and prefill.
    pub wait_s: Option<f64>,
    /// Of that in the engine's queue, by its own account.
    pub queue_s: Option<f64>,
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
        Some(Self {
            before_s: seconds(Some(exchange.start.at_ns), trace.added_ns),
            wait_s: seconds(trace.added_ns, trace.first_ns),
            queue_s: trace.queue_ns.map(|ns| ns as f64 / 1e9),
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
