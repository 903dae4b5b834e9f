//! LLM dialects: what a request and its response mean. Each dialect is one file and one row of the table here: paths
//! of HTTP, and paths of JSON with their meaning. Bodies are read as they pass; no text of a prompt or a completion is
//! kept.

mod admin;
mod anthropic;
mod counts;
mod echo;
mod embeddings;
mod events;
mod field;
mod figures;
mod invocations;
mod json_body;
mod json_paths;
mod json_scan;
mod json_value;
mod llama_cpp;
mod ollama;
mod openai_chat;
mod openai_completions;
mod openai_responses;
mod response;
mod sglang;
mod texts;
mod tgi;
mod triton;
mod unescape;
mod vllm;

use std::sync::LazyLock;

use field::Dialect;
use figures::Draft;
use response::{Response, Trees};
use texts::Texts;

pub(super) use json_body::JsonBody;
pub(super) use json_paths::PathTree;
pub(super) use json_scan::Scanner;
pub(super) use json_value::{Sink, Value as JsonValue, plain};
pub(super) use response::Framing;

use super::exchange::LlmExchange;
use crate::privacy::{Guard, Said};

/// Every dialect. Of several rows that fit a path, the one with the most segments is taken.
const DIALECTS: &[&Dialect] = &[
    &openai_chat::DIALECT,
    &openai_completions::DIALECT,
    &openai_responses::DIALECT,
    &anthropic::DIALECT,
    &embeddings::EMBEDDINGS,
    &embeddings::RERANK,
    &embeddings::SCORE,
    &sglang::GENERATE,
    &sglang::ENCODE,
    &sglang::CLASSIFY,
    &llama_cpp::COMPLETION,
    &llama_cpp::INFILL,
    &llama_cpp::EMBEDDING,
    &ollama::CHAT,
    &ollama::GENERATE,
    &ollama::EMBED,
    &tgi::STREAM,
    &tgi::ROOT,
    &triton::GENERATE,
    &triton::STREAM,
    &triton::INFER,
    &vllm::DIALECT,
    &invocations::DIALECT,
    &admin::DIALECT,
];

/// Whether a member of this name holds what people or models write, in some dialect.
pub fn holds_text(name: &str) -> bool {
    let rows = DIALECTS.iter().flat_map(|dialect| [dialect.asks, dialect.says]).flatten().copied().flatten();
    let last = |path: &str| path.rsplit('.').next().map(|segment| segment.trim_end_matches("[]") == name);
    rows.into_iter().any(|(path, field)| texts::is_text(*field) && last(path) == Some(true))
}

/// A dialect with its paths as trees.
#[derive(Debug)]
struct Grammar {
    dialect: &'static Dialect,
    request: PathTree,
    response: PathTree,
    asks: PathTree,
    says: PathTree,
}

static GRAMMARS: LazyLock<Vec<Grammar>> = LazyLock::new(|| {
    let grammar = |dialect: &&'static Dialect| Grammar {
        dialect,
        request: PathTree::new(dialect.request),
        response: PathTree::new(dialect.response),
        asks: PathTree::new(dialect.asks),
        says: PathTree::new(dialect.says),
    };
    DIALECTS.iter().map(grammar).collect()
});

/// Some of a body, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Bytes(&'a [u8]),
    /// So many bytes of the body were not captured.
    Gap(u64),
}

/// Reads the two bodies of one exchange as they pass, in constant memory but for the texts that are kept.
#[derive(Debug)]
pub struct LlmParser {
    grammar: &'static Grammar,
    request_body: JsonBody,
    request: Draft,
    response: Response,
    texts: Option<Box<Texts>>,
}

impl LlmParser {
    /// The parser for a request, if its path (without the query) is one of an LLM's API.
    pub fn detect(method: &str, path: &str) -> Option<Self> {
        if method != "POST" {
            return None;
        }
        let path = without_slash(path);
        let fit = |grammar: &&'static Grammar| grammar.dialect.paths.iter().filter_map(|p| fits(p, path)).max();
        let best = GRAMMARS.iter().filter_map(|g| fit(&g).map(|segments| (segments, g)));
        let (_, grammar) = best.max_by_key(|(segments, _)| *segments)?;
        let mut request = Draft::default();
        request.model = triton::model_in_path(path).map(str::to_owned);
        let response = Response::new(grammar.dialect);
        Some(Self { grammar, request_body: JsonBody::default(), request, response, texts: None })
    }

    /// Keeps texts from here on, as far as the guard allows it; before the first byte of the bodies.
    pub fn keep_texts(&mut self, guard: &Guard) {
        self.texts = Texts::begin(guard);
    }

    /// The texts that were kept, once; `requested` and `answered`: the bodies were seen to their ends.
    pub fn take_texts(&mut self, requested: bool, answered: bool) -> Option<Box<Said>> {
        let mut texts = self.texts.take()?;
        for (reader, whole) in [(&mut texts.prompt, requested), (&mut texts.completion, answered)] {
            if !whole {
                reader.unfinished();
            }
        }
        Some(Box::new(texts.end()))
    }

    /// Whether it only asks the server to load something: no LLM's exchange.
    pub fn is_admin(&self) -> bool {
        self.grammar.dialect.name == admin::DIALECT.name
    }

    /// The next piece of the request's body.
    pub fn request_body(&mut self, piece: Piece<'_>) {
        if let Some(texts) = &mut self.texts {
            match piece {
                Piece::Bytes(bytes) => texts.prompt.push(bytes, &self.grammar.asks),
                Piece::Gap(0) => {}
                Piece::Gap(_) => texts.prompt.gap(),
            }
        }
        match piece {
            Piece::Bytes(bytes) => _ = self.request_body.push(bytes, &self.grammar.request, &mut self.request),
            Piece::Gap(0) => {}
            Piece::Gap(_) => {
                self.request_body.gap();
                self.request.asked.unseen = true;
            }
        }
    }

    /// The request's body is complete.
    pub fn request_end(&mut self) {
        // A request that is no JSON is the client's fault, and the server's status says so.
        self.request_body.end(&self.grammar.request, &mut self.request);
    }

    /// The final response's head; a body starts after it.
    pub fn response_head(&mut self, status: u16, headers: &[httparse::Header<'_>]) {
        self.response.head(Framing::of(headers), status);
        let figures = &mut self.response.figures;
        for header in headers {
            let number = || std::str::from_utf8(header.value).ok()?.trim().parse::<u64>().ok();
            match header.name.to_ascii_lowercase().as_str() {
                "x-prompt-tokens" => figures.counts.in_headers(number(), None),
                "x-generated-tokens" => {
                    figures.counts.in_headers(None, number());
                    figures.engine = Some("tgi");
                }
                "server" if header.value.eq_ignore_ascii_case(b"llama.cpp") => figures.engine = Some("llama_cpp"),
                _ => {}
            }
        }
    }

    /// Returns how many events with content this piece completed; 0 for responses that are not streamed.
    pub fn response_body(&mut self, piece: Piece<'_>) -> u32 {
        let texts = self.texts.as_deref_mut().map(|texts| &mut texts.completion);
        match piece {
            Piece::Bytes(bytes) => return self.response.push(bytes, Trees::of(self.grammar), texts),
            Piece::Gap(0) => {}
            Piece::Gap(_) => {
                texts.into_iter().for_each(texts::Reader::gap);
                self.response.gap();
            }
        }
        0
    }

    /// The response's body is complete. Returns how many events with content that completed.
    pub fn response_end(&mut self) -> u32 {
        let texts = self.texts.as_deref_mut().map(|texts| &mut texts.completion);
        self.response.end(Trees::of(self.grammar), texts)
    }

    /// The response is one document, and that was read to its end.
    pub fn answered_whole(&self) -> bool {
        self.response.is_whole()
    }

    /// Content has come that only what follows can tell to be the first of a stream: it then counts with that.
    pub fn withholds(&self) -> bool {
        self.response.withholds()
    }

    /// The stream's own last event was seen.
    pub fn ended(&self) -> bool {
        self.response.figures.ended
    }

    /// Whether the response is streamed: until its head has come, whether the request asks for that.
    pub fn streams(&self) -> bool {
        let asked = self.request.stream.unwrap_or(self.grammar.dialect.streams_by_default);
        self.response.streams().unwrap_or(asked)
    }

    /// Whether this is an LLM exchange after all. Some paths, such as `/generate` or `/score`, may be anyone's: there
    /// the bodies must have said so.
    pub fn recognized(&self) -> bool {
        let figures = &self.response.figures;
        self.grammar.dialect.certain || self.request.speaks.or(figures.speaks).is_some() || figures.counts.any()
    }

    /// What the exchange said, complete or not.
    pub fn finish(mut self) -> LlmExchange {
        self.response.settle();
        let stream = self.streams();
        let dialect = self.grammar.dialect;
        let figures = &mut self.response.figures;
        figures.counts.settle(&self.request.asked, stream && !figures.ended);
        let name = figures.speaks.or(self.request.speaks).unwrap_or(dialect.name);
        LlmExchange {
            dialect: name,
            operation: DIALECTS.iter().find(|known| known.name == name).unwrap_or(&dialect).operation,
            engine: figures.engine,
            request_model: self.request.model,
            response_model: figures.model.take(),
            id: figures.id.take(),
            input_tokens: figures.counts.input_tokens(),
            output_tokens: figures.counts.output_tokens(),
            cached_tokens: figures.counts.cached_tokens(),
            parts: figures.counts.parts(&self.request.asked),
            finish_reason: figures.take_finish(),
            error: figures.error.take(),
            telling: figures.telling,
            stream,
            parse_failures: self.response.failures,
        }
    }
}

/// The route of a path that is one of an LLM's API, by itself or behind `/v1`: what varies in it becomes `{id}`.
pub fn route(path: &str) -> Option<String> {
    let is_own = |pattern: &str, path: &str| {
        let segments = pattern.split('/').zip(path.split('/'));
        pattern.split('/').count() == path.split('/').count()
            && segments.into_iter().all(|(wanted, is)| wanted == is || wanted == "*" && !is.is_empty())
    };
    let patterns = || DIALECTS.iter().flat_map(|dialect| dialect.paths);
    let path = without_slash(path);
    ["", "/v1"].into_iter().find_map(|prefix| {
        let path = path.strip_prefix(prefix)?;
        let pattern = patterns().find(|pattern| is_own(pattern, path))?;
        Some(format!("{prefix}{}", pattern.replace('*', "{id}")))
    })
}

/// A path without the one slash at its end that many servers let pass.
fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').filter(|path| !path.is_empty() && !path.ends_with('/')).unwrap_or(path)
}

/// How many segments of the path the pattern covers, if it fits.
fn fits(pattern: &str, path: &str) -> Option<usize> {
    if pattern == "/" {
        return (path == "/").then_some(0);
    }
    let mut segments = path.rsplit('/');
    let mut count = 0;
    for wanted in pattern.rsplit('/').take_while(|segment| !segment.is_empty()) {
        let segment = segments.next()?;
        if wanted != segment && (wanted != "*" || segment.is_empty()) {
            return None;
        }
        count += 1;
    }
    // What is left must be whole segments before this one.
    segments.next().map(|_| count)
}
