//! Processes that listen and are not recognised, watched under a service index of their own until an exchange in an
//! LLM dialect shows what they are. Bounded: so many processes, so many exchanges kept until discovery has answered.
#![forbid(unsafe_code)]

use std::collections::HashMap;

pub use inferscope_abi::CANDIDATES;

use crate::session::exchange::{Exchange, Role};

const PROCESSES: usize = 64;
const EXCHANGES: usize = 256;
/// Discovery answers within a second; what has no service by then is given up.
const KEEP_NS: u64 = 30_000_000_000;
/// The least time between two questions to discovery about one process: each costs a look at every process.
const ASK_EVERY_NS: u64 = 5_000_000_000;
/// A process that answered so many requests without one in a dialect is no inference server.
const PATIENCE: u32 = 2_000;

/// The processes that are listened to, and what they have said so far.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Exchanges outside any dialect, by pid.
    others: HashMap<u32, u32>,
    kept: Vec<Exchange>,
    /// When discovery was asked about a process; those asked within [`ASK_EVERY_NS`].
    asked: HashMap<u32, u64>,
}

/// Dialects in which an answer with a `model` may be anyone's: their paths are plain words.
const PLAIN: [&str; 5] = ["openai_responses", "ollama_chat", "ollama_generate", "ollama_embed", "llama_cpp_completion"];

/// An exchange that only an LLM server has: answered, and answered in the dialect. A finish reason is no sign: a form's
/// `status` is one.
fn convinces(exchange: &Exchange) -> bool {
    let Some(llm) = &exchange.llm else { return false };
    let counted = llm.input_tokens.or(llm.output_tokens).is_some() || exchange.content_chunks > 0;
    let named = llm.response_model.is_some() && !PLAIN.contains(&llm.dialect);
    let said = counted || named || llm.telling || llm.engine.is_some();
    exchange.role == Role::Server && (200..400).contains(&exchange.status) && said
}

impl Candidates {
    /// False if there is no room.
    pub fn add(&mut self, pid: u32) -> bool {
        self.others.retain(|pid, _| std::path::Path::new(&format!("/proc/{pid}")).exists());
        let room = self.others.len() < PROCESSES || self.others.contains_key(&pid);
        if room {
            self.others.entry(pid).or_default();
        }
        room
    }

    /// Whether it is one.
    pub fn has(&self, pid: u32) -> bool {
        self.others.contains_key(&pid)
    }

    /// True if it was one.
    pub fn remove(&mut self, pid: u32) -> bool {
        self.others.remove(&pid).is_some()
    }

    /// Dialect and port of an exchange that is worth keeping; others are counted.
    pub fn keep(&mut self, exchange: &Exchange) -> Option<(&'static str, u16)> {
        if convinces(exchange) {
            return exchange.llm.as_ref().map(|llm| (llm.dialect, exchange.server_port));
        }
        if let Some(others) = self.others.get_mut(&exchange.tgid) {
            *others += 1;
        }
        None
    }

    /// Whether discovery is to be asked about a process that has just answered in a dialect, at `at_ns`.
    pub fn asks(&mut self, pid: u32, at_ns: u64) -> bool {
        self.asked.retain(|_, asked| at_ns.saturating_sub(*asked) < ASK_EVERY_NS);
        let asks = !self.asked.contains_key(&pid) && self.asked.len() < EXCHANGES;
        if asks {
            self.asked.insert(pid, at_ns);
        }
        asks
    }

    /// Keeps an exchange until discovery has answered; false if there is no room for it.
    pub fn push(&mut self, exchange: Exchange) -> bool {
        let room = self.kept.len() < EXCHANGES;
        if room {
            self.kept.push(exchange);
        }
        room
    }

    /// Takes out the exchanges whose processes belong to a service by now, as that service's.
    pub fn settle(&mut self, service_of: impl Fn(u32) -> Option<u32>) -> Vec<Exchange> {
        let owned = self.kept.extract_if(.., |exchange| match service_of(exchange.tgid) {
            Some(service) => {
                exchange.service = service;
                true
            }
            None => false,
        });
        owned.collect()
    }

    /// Drops the exchanges that have waited for a service for too long; how many. `now_ns` is of CLOCK_MONOTONIC.
    pub fn expire(&mut self, now_ns: u64) -> u64 {
        let before = self.kept.len();
        self.kept.retain(|exchange| now_ns.saturating_sub(exchange.end.at_ns) <= KEEP_NS);
        (before - self.kept.len()) as u64
    }

    /// Forgets the processes. What they have said waits on.
    pub fn clear(&mut self) {
        self.others.clear();
    }

    /// Processes that have answered too much else to be of interest any more.
    pub fn given_up(&mut self) -> Vec<u32> {
        let given_up: Vec<u32> =
            self.others.iter().filter(|(_, others)| **others >= PATIENCE).map(|(pid, _)| *pid).collect();
        for pid in &given_up {
            self.others.remove(pid);
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::exchange::{Ending, GapCounts, LlmExchange, Mark, Sending};
    use crate::session::llm::{LlmParser, Piece};

    fn answered(tgid: u32, end_ns: u64) -> Exchange {
        let llm = LlmExchange { dialect: "openai_chat", output_tokens: Some(1), ..LlmExchange::default() };
        Exchange {
            role: Role::Server,
            tgid,
            service: CANDIDATES,
            server_port: 8000,
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            status: 200,
            start: Mark::default(),
            request_end: None,
            first_byte: None,
            first_content: None,
            last_content: None,
            end: Mark { at_ns: end_ns, ..Mark::default() },
            ending: Ending::Complete,
            request_bytes: 10,
            response_bytes: 20,
            content_chunks: 0,
            gap: false,
            chunk_gaps: GapCounts::default(),
            others_in_flight: 0.0,
            sending: Sending::default(),
            chunk_times_ns: Vec::new(),
            engine: None,
            fields: None,
            said: None,
            traceparent: None,
            request_id: None,
            subject: None,
            llm: Some(llm),
        }
    }

    /// What a server is taken to be after one exchange that is answered with this.
    fn shows(path: &str, request: &str, response: &str) -> bool {
        let mut parser = LlmParser::detect("POST", path).unwrap();
        parser.request_body(Piece::Bytes(request.as_bytes()));
        parser.request_end();
        parser.response_head(201, &[]);
        let content_chunks = parser.response_body(Piece::Bytes(response.as_bytes())) + parser.response_end();
        let llm = parser.recognized().then(|| parser.finish());
        convinces(&Exchange { status: 201, llm, content_chunks: content_chunks.into(), ..answered(7, 1) })
    }

    #[test]
    fn an_answer_of_a_model_convinces_and_a_form_does_not() {
        let event = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        for (path, request, response, want) in [
            ("/v1/chat/completions", "{}", r#"{"choices":[{"message":{"content":"a"}}]}"#, true),
            ("/v1/chat/completions", "{}", event, true),
            ("/v1/completions", "{}", r#"{"choices":[{"text":"a"}]}"#, true),
            ("/v1/embeddings", "{}", r#"{"data":[{"embedding":[0.1]}]}"#, true),
            ("/generate", r#"{"inputs":"a"}"#, r#"{"generated_text":"b"}"#, true),
            ("/generate_stream", "{}", "data:{\"token\":{\"text\":\"a\"}}\n\n", true),
            ("/embedding", "{}", r#"[{"index":0,"embedding":[[0.1]]}]"#, true),
            ("/rerank", r#"{"query":"a","texts":["b"]}"#, r#"[{"index":0,"score":0.9}]"#, true),
            ("/api/embeddings", "{}", r#"{"embedding":[0.1]}"#, true),
            ("/api/generate", "{}", r#"{"model":"m","response":"a","done":true,"eval_count":3}"#, true),
            ("/v1/responses", "{}", r#"{"id":"r","object":"response","status":"completed"}"#, true),
            ("/v1/responses", "{}", r#"{"id":"r","usage":{"input_tokens":3}}"#, true),
            ("/forms/12/responses", "{}", r#"{"id":"981","status":"submitted"}"#, false),
            ("/forms/12/responses", "{}", r#"{"id":"981","status":"submitted","model":"A4"}"#, false),
            ("/api/generate", "{}", r#"{"file":"invoice.pdf","model":"A4"}"#, false),
            ("/task/completions", "{}", r#"{"done":true,"model":"A4"}"#, false),
            ("/generate", r#"{"text":"a"}"#, r#"{"text":"b"}"#, false),
            ("/embedding", "{}", r#"{"embedding":"on"}"#, false),
            ("/v1/chat/completions", "{}", "{}", false),
        ] {
            assert_eq!(shows(path, request, response), want, "{path} {response}");
        }
    }

    #[test]
    fn exchanges_wait_for_their_own_service() {
        let mut candidates = Candidates::default();
        for (tgid, end_ns) in [(7, 1), (8, 1), (9, KEEP_NS)] {
            let exchange = answered(tgid, end_ns);
            assert_eq!(candidates.keep(&exchange), Some(("openai_chat", 8000)));
            assert!(candidates.push(exchange));
        }
        let settled = candidates.settle(|pid| (pid == 8).then_some(3));
        assert_eq!(settled.iter().map(|e| (e.tgid, e.service)).collect::<Vec<_>>(), [(8, 3)]);
        assert_eq!((candidates.expire(1 + KEEP_NS), candidates.expire(2 + KEEP_NS)), (0, 1));
        assert_eq!(candidates.settle(|_| Some(4)).len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut candidates = Candidates::default();
        assert_eq!((0..2 * EXCHANGES).filter(|_| candidates.push(answered(7, 0))).count(), EXCHANGES);
        assert_eq!(candidates.expire(u64::MAX), EXCHANGES as u64);
        assert!(candidates.push(answered(7, 0)));
    }

    #[test]
    fn discovery_is_not_asked_about_each_request() {
        let mut candidates = Candidates::default();
        assert!(candidates.asks(7, 10) && candidates.asks(8, 10));
        assert!(!candidates.asks(7, 9 + ASK_EVERY_NS) && candidates.asks(7, 10 + ASK_EVERY_NS));
    }
}
