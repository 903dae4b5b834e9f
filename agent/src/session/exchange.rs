//! What the session layer hands on: one finished HTTP exchange with its instants, and what its bodies said if they
//! were an LLM dialect's. Texts are in it only where the operator asked for them.

use inferscope_abi::Snapshot;

use super::wanted::Values;
use crate::privacy::Said;

/// Which side of the connection the watched process is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Server,
    Client,
}

/// An instant of an exchange, with the service's counters as they stood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// CLOCK_MONOTONIC nanoseconds.
    pub at_ns: u64,
    /// Index of the service whose counters these are.
    pub service: u32,
    pub snapshot: Snapshot,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The response was complete.
    Complete,
    /// The client went away, or closed before the response was complete.
    Cancelled,
    /// The connection was reset, or the server closed it, before the response was complete.
    Reset,
    /// The watched process ended before the response was complete.
    ProcessExit,
}

/// A model or an adapter that a request asks the server to load, fetch or make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// If the request names it.
    pub name: Option<String>,
    /// The response's body names an error, whatever its status.
    pub failed: bool,
}

/// One request and its response.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub role: Role,
    pub tgid: u32,
    pub service: u32,
    /// The listening side's port: local in the server role, remote in the client role. 0 for unix sockets.
    pub server_port: u16,
    pub method: String,
    /// Path without the query string.
    pub path: String,
    /// 0 when no response line was seen.
    pub status: u16,
    /// First byte of the request line.
    pub start: Mark,
    /// Last byte of the request; none if the response was over before it came, or its record was lost.
    pub request_end: Option<Mark>,
    /// First byte of the response (1xx responses aside).
    pub first_byte: Option<Mark>,
    /// First chunk with content; streamed responses only.
    pub first_content: Option<Mark>,
    /// Last chunk with content; streamed responses only.
    pub last_content: Option<Mark>,
    /// Last byte of the response. Of a response that was cut off: the close, with the counters of the last record until
    /// [`take_on`](crate::correlate::take_on) has those of the close.
    pub end: Mark,
    pub ending: Ending,
    /// Body and head bytes on the wire.
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Chunks with content, as far as they were seen.
    pub content_chunks: u64,
    /// Bytes of the response's body were lost or left out of the capture: chunks with content may be missing.
    pub gap: bool,
    /// Gaps between content chunks, summed up while streaming: for the histogram of inter-chunk latency. One gap
    /// between two records with content, however many chunks each holds; gaps of 0 (records of one call) are left out,
    /// and so are those in which bytes were lost.
    pub chunk_gaps: GapCounts,
    /// LLM requests of the service that were in flight beside this one, on average over its time.
    pub others_in_flight: f64,
    pub sending: Sending,
    /// When records with content chunks came, the first ones; only kept for a timeline.
    pub chunk_times_ns: Vec<u64>,
    /// `traceparent` header of the request, if valid.
    pub traceparent: Option<String>,
    /// `x-request-id` header of the request or of the response.
    pub request_id: Option<String>,
    pub llm: Option<LlmExchange>,
    /// What the request asks the server to load, if it is such a request.
    pub subject: Option<Subject>,
    /// What was seen of it behind the HTTP front, in engines that have one.
    pub engine: Option<Box<EngineTrace>>,
    /// Fields that the configuration wants read.
    pub fields: Option<Box<Values>>,
    /// Texts that the guard let pass; its Debug form has none.
    pub said: Option<Box<Said>>,
}

/// What one exchange's requests did in the engine behind the HTTP front. Instants are of CLOCK_MONOTONIC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineTrace {
    /// Requests of the engine: one per prompt and choice.
    pub requests: u64,
    /// The front began to send the first of them. None if that was not seen.
    pub added_ns: Option<u64>,
    /// The front had read the first and the last tokens.
    pub first_ns: Option<u64>,
    pub last_ns: Option<u64>,
    /// The engine put it into its queue, and scheduled it for the first time, by its own account.
    pub queued_ns: Option<u64>,
    pub scheduled_ns: Option<u64>,
    pub input_tokens: Option<u64>,
    pub output_tokens: u64,
    pub cached_tokens: Option<u64>,
    /// Why the engine ended the last of them.
    pub finish: Option<&'static str>,
    pub preemptions: u32,
    /// Requests that the engine had when the first of these came.
    pub in_flight: u64,
    /// What its scheduler ran and had waiting when the first tokens were made.
    pub running: Option<u64>,
    pub waiting: Option<u64>,
    /// Messages may be missing.
    pub doubt: bool,
    /// Replies were first heard when it was in the engine already: the first ones may be missing.
    pub late: bool,
    /// Each reply told all tokens so far: a lost one leaves no error.
    pub says_all: bool,
}

impl EngineTrace {
    /// Whether the number of output tokens is certain to be that of the whole response, by the engine's word that it is over.
    pub fn exact(&self) -> bool {
        let ended = matches!(self.finish, Some("stop" | "length" | "repetition"));
        ended && self.is_counted()
    }

    /// Whether all tokens that the engine has told of are counted.
    pub fn is_counted(&self) -> bool {
        self.says_all || self.added_ns.is_some() && !self.doubt && !self.late
    }

    /// Adds another request of the same exchange.
    pub fn add(&mut self, other: &Self, own_prompt: bool) {
        let sooner = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        // One that has not ended, or was not seen from the beginning, makes the whole so.
        self.doubt |= other.doubt || self.exact() != other.exact();
        self.late |= other.late;
        self.says_all &= other.says_all;
        self.requests += other.requests;
        if other.added_ns < self.added_ns {
            self.in_flight = other.in_flight;
            (self.queued_ns, self.scheduled_ns) = (other.queued_ns, other.scheduled_ns);
        }
        self.added_ns = sooner(self.added_ns, other.added_ns);
        if other.first_ns.is_some_and(|other| self.first_ns.is_none_or(|own| other < own)) {
            (self.first_ns, self.running, self.waiting) = (other.first_ns, other.running, other.waiting);
        }
        self.finish = if other.last_ns > self.last_ns { other.finish } else { self.finish };
        self.last_ns = self.last_ns.max(other.last_ns);
        self.output_tokens += other.output_tokens;
        self.preemptions += other.preemptions;
        if own_prompt {
            self.input_tokens = sum(self.input_tokens, other.input_tokens);
            self.cached_tokens = sum(self.cached_tokens, other.cached_tokens);
        }
    }
}

/// What the connection showed of the way to the client while a response went out. Index 0 is before the first content,
/// 1 after it; a response that is not streamed has all of it in 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sending {
    /// Time inside calls that wrote. Little, unless a blocking call waited for room.
    pub call_ns: [u64; 2],
    /// Time in which a non-blocking socket was known to have no room.
    pub full_ns: [u64; 2],
    /// Segments that were sent again since the request began, and not in vain.
    pub retransmits: u32,
    /// The shortest round-trip time that was seen; 0 if it is not TCP, or was not seen.
    pub rtt_us: u32,
    /// Calls that wrote, and those after which more waited to be sent than the client had room for.
    pub calls: u32,
    pub calls_unread: u32,
}

/// What the dialect's parser took out of the two bodies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LlmExchange {
    /// Dialect of the wire, e.g. `openai_chat`.
    pub dialect: &'static str,
    /// `gen_ai.operation.name`: chat, text_completion, embeddings, ...
    pub operation: &'static str,
    /// The engine that the exchange itself gives away (a field or header that only one engine writes), if any.
    pub engine: Option<&'static str>,
    pub request_model: Option<String>,
    pub response_model: Option<String>,
    /// `id` in the response body.
    pub id: Option<String>,
    /// Whether the response was streamed.
    pub stream: bool,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    /// Choices of prompts that it is about, at least: each is a request of its own to the engine. 0 if that is not known.
    pub parts: u64,
    pub finish_reason: Option<String>,
    /// Type of an error object in the body or in the stream, e.g. `invalid_request_error`. Never its message.
    pub error: Option<String>,
    /// The response has a place that only an answer of a model has: a choice, an embedding, a score.
    pub telling: bool,
    /// Documents in the response (events, lines or the whole body) that were not JSON, each left out.
    pub parse_failures: u32,
}

/// Upper edges in seconds of the inter-chunk histogram; one more bucket takes the rest.
pub const GAP_EDGES: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0];

/// A histogram of gaps in constant memory, kept per exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GapCounts {
    pub buckets: [u32; GAP_EDGES.len() + 1],
    pub sum_ns: u64,
    pub max_ns: u64,
}

impl GapCounts {
    /// Counts one gap.
    pub fn add(&mut self, gap_ns: u64) {
        let seconds = gap_ns as f64 / 1e9;
        let at = GAP_EDGES.iter().position(|edge| seconds <= *edge).unwrap_or(GAP_EDGES.len());
        self.buckets[at] += 1;
        self.sum_ns += gap_ns;
        self.max_ns = self.max_ns.max(gap_ns);
    }
}
