//! The wide record. Field by field it is what `--records` writes; metrics and everything else are views of it.

use std::borrow::Cow;

use serde::Serialize;
use zeroize::Zeroize;

use super::{EngineTimes, engine, host::HostPhases, verdict::Finding};
use crate::identity::Home;
use crate::privacy;
use crate::session::exchange::{Ending, Exchange, GapCounts, LlmExchange, Mark, Role, Sending, Subject};
use crate::session::wanted::Values;

/// One finished request. Times in seconds, sizes in bytes; definitions in the README.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Request {
    /// `id` in the response body.
    pub id: Option<String>,
    pub service: String,
    pub pid: u32,
    /// The container of the service's root process.
    #[serde(flatten)]
    pub home: Home,
    pub engine: String,
    pub role: &'static str,
    pub port: u16,
    pub method: String,
    pub path: String,
    /// None for a request that speaks no LLM dialect.
    pub operation: Option<&'static str>,
    pub dialect: Option<&'static str>,
    pub model: Option<String>,
    pub request_model: Option<String>,
    pub response_model: Option<String>,
    pub stream: bool,
    /// 0 when no response line was seen.
    pub status: u16,
    pub error_type: Option<String>,
    pub finish_reason: Option<String>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    /// `output_tokens` is the number of content chunks: the response said nothing of usage.
    pub tokens_estimated: bool,
    /// CLOCK_MONOTONIC.
    pub start_ns: u64,
    pub ttfb_s: Option<f64>,
    pub ttft_s: Option<f64>,
    pub tpot_s: Option<f64>,
    pub duration_s: f64,
    /// Chunks with content, as far as they were seen.
    pub chunks: u64,
    /// Bytes of the response's body were not seen: chunks may be missing, and their number stands for no tokens.
    pub gap: bool,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub request_id: Option<String>,
    pub traceparent: Option<String>,
    /// Pieces of the bodies that did not parse.
    pub parse_failures: u32,
    pub host: HostPhases,
    /// LLM requests of the service that were in flight beside this one, on average over its time.
    pub others_in_flight: f64,
    pub network: NetworkShare,
    #[serde(flatten)]
    pub finding: Finding,
    /// Where the time went behind the HTTP front; None if the engine has none, or nothing was seen of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_times: Option<EngineTimes>,
    /// The model or adapter that it asks the server to load.
    #[serde(skip)]
    pub subject: Option<Subject>,
    /// What went wrong with the HTTP exchange, whatever its bodies say; in the words of `error_type`.
    #[serde(skip)]
    pub http_error: Option<String>,
    #[serde(skip)]
    pub chunk_gaps: GapCounts,
    /// When chunks with content went out, the first ones; only kept for a timeline.
    #[serde(skip)]
    pub chunk_times_ns: Vec<u64>,
    /// What the configuration wanted read of it.
    #[serde(skip)]
    pub fields: Option<Box<Values>>,
}

/// What the connection showed of the way to the client. By phase: before the first content, and after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct NetworkShare {
    /// Inside calls that wrote the response.
    pub write_s: [f64; 2],
    /// A non-blocking socket had no room.
    pub full_s: [f64; 2],
    /// Segments that were sent again, and not in vain.
    pub retransmits: u32,
    /// The shortest round-trip time that was seen meanwhile; 0 if it is not TCP, or none was.
    pub rtt_s: f64,
    /// Part of the calls that wrote after which more waited to be sent than the client had room for, 0 to 1; 0 where
    /// fewer than four wrote.
    pub unread_ratio: f64,
}

/// What a call has just written still waits to be sent when it returns, however fast the client reads: a response that is
/// written at one go says nothing of its client by that.
const CALLS: u32 = 4;

impl NetworkShare {
    fn of(sending: &Sending) -> Self {
        let (calls, unread) = (f64::from(sending.calls), f64::from(sending.calls_unread));
        Self {
            write_s: sending.call_ns.map(|ns| ns as f64 / 1e9),
            full_s: sending.full_ns.map(|ns| ns as f64 / 1e9),
            retransmits: sending.retransmits,
            rtt_s: f64::from(sending.rtt_us) / 1e6,
            unread_ratio: if sending.calls < CALLS { 0.0 } else { unread / calls },
        }
    }
}

/// What the request alone does not say.
pub struct Labels<'a> {
    pub service: &'a str,
    pub engine: &'a str,
    pub model: Option<&'a str>,
}

/// Engine name of a service that was not recognised.
const UNKNOWN: &str = crate::discover::UNKNOWN_ENGINE;

fn seconds(from: &Mark, to: &Mark) -> f64 {
    to.at_ns.saturating_sub(from.at_ns) as f64 / 1e9
}

/// What went wrong with the exchange itself, None if nothing did.
fn http_error(exchange: &Exchange) -> Option<String> {
    match exchange.ending {
        _ if exchange.status >= 400 => Some(exchange.status.to_string()),
        Ending::Complete => None,
        Ending::Cancelled => Some("cancelled".to_owned()),
        Ending::Reset => Some("connection_reset".to_owned()),
        Ending::ProcessExit => Some("server_exit".to_owned()),
    }
}

/// What an error object without a type is called, and a response that says only that it failed.
const UNNAMED_ERRORS: [&str; 2] = ["error", "failed"];

/// What went wrong, None if nothing did: what the response says of it is more exact than what became of it.
fn error_type(http_error: Option<&str>, llm: Option<&LlmExchange>) -> Option<String> {
    let failed = |reason: &String| matches!(reason.as_str(), "error" | "abort");
    let said = llm.and_then(|llm| llm.error.clone());
    let finish = || llm.and_then(|llm| llm.finish_reason.clone()).filter(failed);
    // An error without a type is called by the least exact word, of which the status is more.
    let named = said.clone().filter(|word| !UNNAMED_ERRORS.contains(&word.as_str()));
    named.or_else(|| http_error.map(str::to_owned)).or(said).or_else(finish)
}

/// Whether what is known of the engine is about all that it was asked for: where the choices have ids of their own, the one
/// in the response finds only one of them.
fn engine_knows_all(exchange: &Exchange) -> bool {
    let parts = exchange.llm.as_ref().map_or(0, |llm| llm.parts);
    parts <= 1 || exchange.engine.as_deref().is_some_and(|trace| trace.requests >= parts)
}

/// Output tokens, and whether they are the number of chunks, or of what the engine had made when the request was given
/// up, because the response did not say.
fn output_tokens(exchange: &Exchange) -> (Option<u64>, bool) {
    let Some(llm) = &exchange.llm else { return (None, false) };
    let counted = engine::output_tokens(exchange).filter(|_| engine_knows_all(exchange));
    if let (None, Some((tokens, exact))) = (llm.output_tokens, counted) {
        return (Some(tokens), !exact);
    }
    let chunks = Some(exchange.content_chunks).filter(|chunks| llm.stream && *chunks > 0 && !exchange.gap);
    (llm.output_tokens.or(chunks), llm.output_tokens.is_none() && chunks.is_some())
}

fn tpot_s(exchange: &Exchange, output_tokens: Option<u64>) -> Option<f64> {
    let (first, last) = (exchange.first_content.as_ref()?, exchange.last_content.as_ref()?);
    let after_first = output_tokens.filter(|tokens| *tokens > 1 && exchange.content_chunks > 1)? - 1;
    Some(seconds(first, last) / after_first as f64)
}

/// What discovery found, else what the exchange gave away.
fn engine<'a>(labels: &Labels<'a>, given_away: Option<&'a str>) -> &'a str {
    given_away.filter(|_| labels.engine == UNKNOWN).unwrap_or(labels.engine)
}

/// Clients write into names and paths what they like. Secrets and personal data of a known form do not belong there.
fn cleaned(mut text: String) -> String {
    let Cow::Owned(clean) = privacy::name(&text) else { return text };
    text.zeroize();
    clean
}

fn clean(mut llm: LlmExchange) -> LlmExchange {
    let texts = [&mut llm.request_model, &mut llm.response_model, &mut llm.id, &mut llm.finish_reason, &mut llm.error];
    texts.into_iter().for_each(|text| *text = text.take().map(cleaned));
    llm
}

/// Builds the record of an exchange.
pub fn request(exchange: Exchange, labels: &Labels<'_>) -> Request {
    let http_error = http_error(&exchange);
    let error_type = error_type(http_error.as_deref(), exchange.llm.as_ref()).map(cleaned);
    let host = HostPhases::new(&exchange.start, exchange.first_content.as_ref(), &exchange.end);
    let (output_tokens, tokens_estimated) = output_tokens(&exchange);
    let tpot_s = tpot_s(&exchange, output_tokens);
    let engine_times = EngineTimes::of(&exchange);
    let whole = engine_times.as_ref().filter(|_| engine_knows_all(&exchange));
    let (engine_input, engine_cached) =
        (whole.and_then(|engine| engine.input_tokens), whole.and_then(|engine| engine.cached_tokens));
    let llm = exchange.llm.map(clean);
    let is_llm = llm.is_some();
    let llm = llm.unwrap_or_default();
    let model = llm.response_model.clone().or_else(|| llm.request_model.clone());
    Request {
        id: llm.id,
        service: labels.service.to_owned(),
        pid: exchange.tgid,
        home: Home::default(),
        engine: engine(labels, llm.engine).to_owned(),
        role: if exchange.role == Role::Server { "server" } else { "client" },
        port: exchange.server_port,
        method: exchange.method,
        path: cleaned(exchange.path),
        operation: is_llm.then_some(llm.operation),
        dialect: is_llm.then_some(llm.dialect),
        model: if is_llm { model.or_else(|| labels.model.map(str::to_owned)) } else { None },
        request_model: llm.request_model,
        response_model: llm.response_model,
        stream: llm.stream,
        status: exchange.status,
        error_type,
        finish_reason: llm.finish_reason,
        input_tokens: llm.input_tokens.or(engine_input),
        output_tokens,
        cached_tokens: llm.cached_tokens.or(engine_cached),
        tokens_estimated,
        start_ns: exchange.start.at_ns,
        ttfb_s: exchange.first_byte.as_ref().map(|first| seconds(&exchange.start, first)),
        ttft_s: exchange.first_content.as_ref().map(|first| seconds(&exchange.start, first)),
        tpot_s,
        duration_s: seconds(&exchange.start, &exchange.end),
        chunks: exchange.content_chunks,
        gap: exchange.gap,
        request_bytes: exchange.request_bytes,
        response_bytes: exchange.response_bytes,
        request_id: exchange.request_id.map(cleaned),
        traceparent: exchange.traceparent,
        parse_failures: llm.parse_failures,
        host,
        others_in_flight: exchange.others_in_flight,
        network: NetworkShare::of(&exchange.sending),
        finding: Finding::default(),
        engine_times,
        subject: exchange.subject,
        http_error,
        chunk_gaps: exchange.chunk_gaps,
        chunk_times_ns: exchange.chunk_times_ns,
        fields: exchange.fields,
    }
}

#[cfg(test)]
mod tests;
