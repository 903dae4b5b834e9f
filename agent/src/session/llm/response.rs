//! A response's body in the framing that it has: one JSON document, server-sent events, or a document per line. The
//! content type says which, and the first byte has the last word, as errors come as JSON whatever was asked for. What
//! seemed to be one document turns out to be a stream of them where another stands on the line behind it.

use super::events::EventReader;
use super::field::Dialect;
use super::figures::{Draft, Figures};
use super::json_body::JsonBody;
use super::json_paths::PathTree;
use super::texts::Reader;
use crate::session::http1::is_coded;
use crate::session::ndjson::NdjsonSplitter;
use crate::session::sse::{Part, SseSplitter};

/// What the head says about the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// No type, or none that says it: text of a proxy, or a server that is careless about types.
    #[default]
    Unknown,
    Json,
    /// One JSON document, and behind it what is none (KServe's binary tensors).
    Alone,
    Sse,
    Ndjson,
    /// Compressed: unreadable here.
    Opaque,
}

impl Framing {
    pub fn of(headers: &[httparse::Header<'_>]) -> Self {
        let value = |name: &str| headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
        if value("content-encoding").is_some_and(is_coded) {
            return Self::Opaque;
        }
        let length = value("inference-header-content-length").map(<[u8]>::trim_ascii);
        if length.is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit)) {
            return Self::Alone;
        }
        let kind = value("content-type").unwrap_or_default();
        let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        match kind.to_ascii_lowercase().as_slice() {
            b"text/event-stream" => Self::Sse,
            b"application/x-ndjson"
            | b"application/ndjson"
            | b"application/jsonl"
            | b"application/jsonlines"
            | b"application/x-jsonlines"
            | b"application/stream+json" => Self::Ndjson,
            kind if kind.ends_with(b"json") => Self::Json,
            _ => Self::Unknown,
        }
    }

    /// The framing that the body has, given its first byte.
    pub fn seen(self, first: u8, ok: bool) -> Self {
        match (first, self) {
            (_, Self::Opaque) | (0x1f, _) => Self::Opaque,
            (b'{', Self::Ndjson) => Self::Ndjson,
            (b'{', Self::Alone) => Self::Alone,
            (_, Self::Alone) => Self::Opaque,
            (b'{' | b'[', _) => Self::Json,
            (_, Self::Sse) => Self::Sse,
            // `data:`, `event:` or a comment under another type; `id:`, `retry:` or a byte order mark under none that
            // says what it is.
            (b'd' | b'e' | b':', _) if ok => Self::Sse,
            (b'i' | b'r' | 0xef, Self::Unknown) if ok => Self::Sse,
            (0xef, Self::Ndjson) => Self::Ndjson,
            (_, Self::Unknown) => Self::Opaque,
            _ => Self::Json,
        }
    }
}

/// Where the wanted values of a response stand: figures, and texts where they are kept.
#[derive(Clone, Copy)]
pub struct Trees<'a> {
    figures: &'a PathTree,
    texts: &'a PathTree,
}

impl<'a> Trees<'a> {
    pub fn of(grammar: &'a super::Grammar) -> Self {
        Self { figures: &grammar.response, texts: &grammar.says }
    }

    /// A part of an event, for the texts.
    fn told(&self, texts: &mut Option<&mut Reader>, part: &Part<'_>) {
        if let Some(texts) = texts {
            texts.part(*part, self.texts);
        }
    }
}

#[derive(Clone, Debug)]
enum Body {
    /// Nothing but white space has come.
    Unseen,
    Json(JsonBody, Box<Draft>),
    Sse(SseSplitter, EventReader),
    Ndjson(NdjsonSplitter, EventReader),
    Opaque,
}

#[derive(Clone, Debug)]
pub struct Response {
    last_events: &'static [&'static str],
    framing: Framing,
    ok: bool,
    body: Body,
    pub figures: Figures,
    /// Documents that were no JSON.
    pub failures: u32,
}

impl Response {
    pub fn new(dialect: &'static Dialect) -> Self {
        Self {
            last_events: dialect.last_events,
            framing: Framing::default(),
            ok: true,
            body: Body::Unseen,
            figures: Figures::default(),
            failures: 0,
        }
    }

    pub fn head(&mut self, framing: Framing, status: u16) {
        self.framing = framing;
        self.ok = status < 400;
        self.body = Body::Unseen;
    }

    /// Whether the body is a stream of events; `None` while it has not begun.
    pub fn streams(&self) -> Option<bool> {
        match self.body {
            Body::Unseen => None,
            Body::Json(..) => Some(false),
            Body::Sse(..) | Body::Ndjson(..) => Some(true),
            Body::Opaque => None,
        }
    }

    /// A whole document with content has come, alone so far: a reply, or the first line of a stream under another type.
    /// What completes a second one tells of the content of both.
    pub fn withholds(&self) -> bool {
        matches!(&self.body, Body::Json(body, draft) if draft.content && body.is_done())
    }

    /// One document, read to its end.
    pub fn is_whole(&self) -> bool {
        matches!(&self.body, Body::Json(body, _) if body.is_done())
    }

    /// Returns how many events with content the bytes have completed.
    pub fn push(&mut self, mut bytes: &[u8], trees: Trees<'_>, mut texts: Option<&mut Reader>) -> u32 {
        if matches!(self.body, Body::Unseen) {
            bytes = bytes.trim_ascii_start();
            let Some(first) = bytes.first() else { return 0 };
            self.begin(self.framing.seen(*first, self.ok));
        }
        let first = self.first_line(&mut bytes, trees, &mut texts);
        let tree = trees.figures;
        let mut tally = Tally { content: first, failures: &mut self.failures };
        match &mut self.body {
            Body::Json(..) | Body::Unseen => {}
            Body::Sse(splitter, reader) => {
                splitter.push(bytes, &mut |part| {
                    trees.told(&mut texts, &part);
                    tally.add(reader.part(part, tree, &mut self.figures));
                });
            }
            Body::Ndjson(splitter, reader) => {
                splitter.push(bytes, &mut |part| {
                    trees.told(&mut texts, &part);
                    tally.add(reader.part(part, tree, &mut self.figures));
                });
            }
            // Compressed, or of no known kind.
            Body::Opaque => texts.into_iter().for_each(Reader::gap),
        }
        tally.content
    }

    /// Feeds a document. If it is the first line of several, the body is a stream from the second on, whose bytes are
    /// left; returns how many events with content the first line is.
    fn first_line(&mut self, bytes: &mut &[u8], trees: Trees<'_>, texts: &mut Option<&mut Reader>) -> u32 {
        let Body::Json(body, draft) = &mut self.body else { return 0 };
        if let Some(texts) = texts {
            texts.push(bytes, trees.texts);
        }
        let Some(rest) = body.push(bytes, trees.figures, &mut **draft) else { return 0 };
        *bytes = rest;
        trees.told(texts, &Part::End);
        let content = u32::from(draft.content);
        self.figures.merge(draft);
        draft.renew();
        let draft = std::mem::take(&mut **draft);
        self.body = Body::Ndjson(NdjsonSplitter::default(), EventReader::new(draft));
        content
    }

    pub fn gap(&mut self) {
        if matches!(self.body, Body::Unseen) {
            self.begin(self.framing);
        }
        match &mut self.body {
            Body::Json(body, _) => body.gap(),
            Body::Sse(splitter, reader) => {
                splitter.gap();
                reader.gap();
            }
            Body::Ndjson(splitter, reader) => {
                splitter.gap();
                reader.gap();
            }
            Body::Unseen | Body::Opaque => {}
        }
    }

    /// The body is complete. Returns how many events with content that has completed.
    pub fn end(&mut self, trees: Trees<'_>, mut texts: Option<&mut Reader>) -> u32 {
        let tree = trees.figures;
        let mut tally = Tally { content: 0, failures: &mut self.failures };
        match &mut self.body {
            Body::Json(body, draft) => {
                if !body.end(tree, &mut **draft) {
                    *tally.failures += 1;
                }
                self.figures.merge(draft);
            }
            Body::Sse(splitter, reader) => {
                splitter.end(&mut |part| {
                    trees.told(&mut texts, &part);
                    tally.add(reader.part(part, tree, &mut self.figures));
                });
            }
            Body::Ndjson(splitter, reader) => {
                splitter.end(&mut |part| {
                    trees.told(&mut texts, &part);
                    tally.add(reader.part(part, tree, &mut self.figures));
                });
            }
            Body::Unseen | Body::Opaque => {}
        }
        tally.content
    }

    /// The exchange is over, maybe before the body was: a document under way counts as far as it was read.
    pub fn settle(&mut self) {
        if let Body::Json(_, draft) = &mut self.body {
            self.figures.merge(draft);
        }
    }

    fn begin(&mut self, framing: Framing) {
        let draft = Draft::new(self.last_events);
        self.body = match framing {
            Framing::Json | Framing::Unknown => Body::Json(JsonBody::default(), Box::new(draft)),
            Framing::Alone => Body::Json(JsonBody::alone(), Box::new(draft)),
            Framing::Sse => Body::Sse(SseSplitter::default(), EventReader::new(draft)),
            Framing::Ndjson => Body::Ndjson(NdjsonSplitter::default(), EventReader::new(draft)),
            Framing::Opaque => Body::Opaque,
        };
    }
}

struct Tally<'a> {
    content: u32,
    failures: &'a mut u32,
}

impl Tally<'_> {
    fn add(&mut self, outcome: Result<bool, super::events::NotJson>) {
        match outcome {
            Ok(content) => self.content += u32::from(content),
            Err(_) => *self.failures = self.failures.saturating_add(1),
        }
    }
}
