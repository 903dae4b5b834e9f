//! Where a request's time went in an engine of several processes: before, in and after the core behind its HTTP front.
//! Pure, like all of `correlate`.

use serde::Serialize;

use crate::session::exchange::{Ending, EngineTrace, Exchange};

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

/// Whether the output tokens are exact: the engine said that it is over, or told all tokens so far with each reply until the
/// response was complete.
fn is_complete(exchange: &Exchange, trace: &EngineTrace) -> bool {
    trace.exact() || trace.says_all && exchange.ending == Ending::Complete
}

/// Output tokens and whether they are exact; None if it is not known how many there were until the end.
pub fn output_tokens(exchange: &Exchange) -> Option<(u64, bool)> {
    let trace = exchange.engine.as_deref().filter(|trace| trace.is_counted() && trace.output_tokens > 0)?;
    Some((trace.output_tokens, is_complete(exchange, trace)))
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
            complete: is_complete(exchange, trace),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::{Labels, Request, request};
    use crate::session::exchange::{GapCounts, LlmExchange, Mark, Role, Sending};

    const MS: u64 = 1_000_000;

    fn trace() -> EngineTrace {
        EngineTrace {
            requests: 1,
            added_ns: Some(1010 * MS),
            first_ns: Some(1050 * MS),
            last_ns: Some(1170 * MS),
            queued_ns: Some(1015 * MS),
            scheduled_ns: Some(1020 * MS),
            input_tokens: Some(31),
            output_tokens: 9,
            finish: Some("length"),
            ..EngineTrace::default()
        }
    }

    fn told(engine: EngineTrace, said: Option<u64>, ending: Ending) -> Request {
        let mark = |at_ms: u64| Mark { at_ns: at_ms * MS, ..Mark::default() };
        let exchange = Exchange {
            role: Role::Server,
            tgid: 7,
            service: 1,
            server_port: 8000,
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            status: 200,
            start: mark(1000),
            request_end: None,
            first_byte: None,
            first_content: Some(mark(1052)),
            last_content: Some(mark(1172)),
            end: mark(1175),
            ending,
            request_bytes: 10,
            response_bytes: 20,
            content_chunks: 5,
            gap: false,
            chunk_gaps: GapCounts::default(),
            chunk_times_ns: Vec::new(),
            others_in_flight: 0.0,
            sending: Sending::default(),
            traceparent: None,
            request_id: None,
            subject: None,
            llm: Some(LlmExchange { operation: "chat", stream: true, output_tokens: said, ..LlmExchange::default() }),
            engine: Some(Box::new(engine)),
            fields: None,
            said: None,
        };
        request(exchange, &Labels { service: "s", engine: "vllm", model: None })
    }

    #[test]
    fn the_parts_add_up_to_the_whole() {
        let request = told(trace(), None, Ending::Complete);
        let times = request.engine_times.expect("seen");
        assert_eq!((times.before_s, times.wait_s, times.decode_s), (Some(0.01), Some(0.04), Some(0.12)));
        assert_eq!((times.handover_s, times.queue_s, times.prefill_s), (Some(0.005), Some(0.005), Some(0.03)));
        assert_eq!((times.after_s, request.duration_s, times.complete), (Some(0.005), 0.175, true));
        let elsewhere = EngineTrace { queued_ns: Some(7), scheduled_ns: Some(9), ..trace() };
        let times = told(elsewhere, None, Ending::Complete).engine_times.expect("seen");
        assert_eq!((times.wait_s, times.queue_s), (Some(0.04), None), "a clock of its own");
    }

    #[test]
    fn tokens_are_exact_only_where_all_was_seen() {
        let tokens = |trace, said, ending| {
            let request = told(trace, said, ending);
            (request.output_tokens, request.tokens_estimated)
        };
        let going = EngineTrace { finish: None, ..trace() };
        let all = EngineTrace { says_all: true, ..going.clone() };
        for (trace, said, ending, is) in [
            (trace(), None, Ending::Complete, (9, false)),
            (trace(), Some(8), Ending::Complete, (8, false)),
            (EngineTrace { doubt: true, ..trace() }, None, Ending::Complete, (5, true)),
            (EngineTrace { added_ns: None, ..trace() }, None, Ending::Complete, (5, true)),
            (EngineTrace { finish: Some("abort"), ..trace() }, None, Ending::Complete, (9, true)),
            (going, None, Ending::Cancelled, (9, true)),
            (all.clone(), None, Ending::Complete, (9, false)),
            (all, None, Ending::Cancelled, (9, true)),
        ] {
            assert_eq!(tokens(trace.clone(), said, ending), (Some(is.0), is.1), "{trace:?} {said:?} {ending:?}");
        }
        assert_eq!(told(trace(), None, Ending::Complete).input_tokens, Some(31));
    }
}
