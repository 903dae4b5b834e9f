//! The wanted fields of a response's body, in whatever framing it has. Of a stream each event is a document of its own.

use super::{Pick, Values};
use crate::session::{
    llm::{Framing, JsonBody, PathTree, Scanner},
    ndjson::NdjsonSplitter,
    sse::{Part, SseSplitter},
};

#[derive(Debug)]
enum Body {
    /// Nothing but white space has come.
    Unseen,
    Json(JsonBody),
    Sse(SseSplitter, Scanner),
    Ndjson(NdjsonSplitter, Scanner),
    Opaque,
}

/// Reads one response.
#[derive(Debug)]
pub(super) struct ResponseBody {
    framing: Framing,
    ok: bool,
    body: Body,
    draft: Values,
}

impl ResponseBody {
    pub fn new(fields: usize) -> Self {
        Self { framing: Framing::default(), ok: true, body: Body::Unseen, draft: Values::new(fields) }
    }

    pub fn head(&mut self, framing: Framing, status: u16) {
        (self.framing, self.ok, self.body) = (framing, status < 400, Body::Unseen);
    }

    pub fn push(&mut self, mut bytes: &[u8], tree: &PathTree<Pick>, values: &mut Values) {
        if matches!(self.body, Body::Unseen) {
            bytes = bytes.trim_ascii_start();
            let Some(first) = bytes.first() else { return };
            self.begin(self.framing.seen(*first, self.ok));
        }
        let draft = &mut self.draft;
        if let Body::Json(body) = &mut self.body {
            let Some(rest) = body.push(bytes, tree, draft) else { return };
            // It was the first line of several.
            values.merge(draft);
            (bytes, self.body) = (rest, Body::Ndjson(NdjsonSplitter::default(), Scanner::default()));
        }
        match &mut self.body {
            Body::Sse(splitter, scanner) => splitter.push(bytes, &mut |part| event(part, scanner, tree, draft, values)),
            Body::Ndjson(splitter, scanner) => {
                splitter.push(bytes, &mut |part| event(part, scanner, tree, draft, values));
            }
            Body::Json(_) | Body::Unseen | Body::Opaque => {}
        }
    }

    pub fn gap(&mut self) {
        if matches!(self.body, Body::Unseen) {
            self.begin(self.framing);
        }
        match &mut self.body {
            Body::Json(body) => {
                body.gap();
                self.draft.uncertain();
            }
            Body::Sse(splitter, scanner) => {
                splitter.gap();
                scanner.reset();
                self.draft.clear();
            }
            Body::Ndjson(splitter, scanner) => {
                splitter.gap();
                scanner.reset();
                self.draft.clear();
            }
            Body::Unseen | Body::Opaque => {}
        }
    }

    pub fn end(&mut self, tree: &PathTree<Pick>, values: &mut Values) {
        let draft = &mut self.draft;
        match &mut self.body {
            Body::Json(body) => {
                if body.end(tree, draft) {
                    values.merge(draft);
                }
            }
            Body::Sse(splitter, scanner) => splitter.end(&mut |part| event(part, scanner, tree, draft, values)),
            Body::Ndjson(splitter, scanner) => splitter.end(&mut |part| event(part, scanner, tree, draft, values)),
            Body::Unseen | Body::Opaque => {}
        }
    }

    fn begin(&mut self, framing: Framing) {
        self.body = match framing {
            Framing::Json | Framing::Unknown => Body::Json(JsonBody::default()),
            Framing::Alone => Body::Json(JsonBody::alone()),
            Framing::Sse => Body::Sse(SseSplitter::default(), Scanner::default()),
            Framing::Ndjson => Body::Ndjson(NdjsonSplitter::default(), Scanner::default()),
            Framing::Opaque => Body::Opaque,
        };
    }
}

/// An event that is no whole document leaves no trace.
fn event(part: Part<'_>, scanner: &mut Scanner, tree: &PathTree<Pick>, draft: &mut Values, values: &mut Values) {
    match part {
        Part::Name(_) | Part::Rest(_) | Part::Lost => {}
        Part::Data(bytes) => _ = scanner.push(bytes, tree, draft),
        Part::End => {
            scanner.end(tree, draft);
            if scanner.is_done() {
                values.merge(draft);
            } else {
                draft.clear();
            }
            scanner.reset();
        }
    }
}
