//! The events of a streamed response, each a JSON document that is read as it passes. Of one with bytes missing, what it
//! says before them holds, and what stands whole at its end, but not that it had content.

use super::echo::{Marked, Pattern};
use super::figures::{Draft, Figures};
use super::json_body::Tail;
use super::json_paths::PathTree;
use super::json_scan::Scanner;
use crate::session::sse::Part;

/// OpenAI's last event, which is no JSON.
const DONE: &[u8] = b"[DONE]";

#[derive(Clone, Debug)]
pub struct EventReader {
    scanner: Scanner,
    draft: Draft,
    /// So many bytes of `DONE` are all that the event's data has had so far.
    done_bytes: Option<usize>,
    named_error: bool,
    pattern: Pattern,
    /// The event under way is the pattern with other content.
    repeats: bool,
    /// The end of an event of which bytes are missing.
    tail: Tail,
}

impl EventReader {
    pub fn new(draft: Draft) -> Self {
        let (scanner, pattern) = (Scanner::default(), Pattern::default());
        Self { scanner, draft, done_bytes: Some(0), named_error: false, pattern, repeats: false, tail: Tail::default() }
    }

    /// Bytes are missing, the end of the event under way perhaps, and whole events.
    pub fn gap(&mut self) {
        self.repeats = false;
        self.scanner.reset();
        self.draft.content = false;
        self.done_bytes = Some(0);
        self.tail.clear();
    }

    fn renew(&mut self) {
        self.gap();
        self.draft.renew();
        self.named_error = false;
    }

    /// Takes a part of an event. At its end, says whether it had content, or that it was no JSON.
    pub fn part(&mut self, part: Part<'_>, tree: &PathTree, figures: &mut Figures) -> Result<bool, NotJson> {
        match part {
            Part::Name(name) => self.named_error |= name == b"error",
            Part::Data(bytes) => self.data(bytes, tree),
            Part::End => return self.event_over(tree, figures),
            Part::Rest(bytes) => self.tail.push(bytes),
            Part::Lost => self.lost(tree, figures),
        }
        Ok(false)
    }

    fn data(&mut self, mut bytes: &[u8], tree: &PathTree) {
        if self.repeats {
            // What follows a document is ignored.
            return;
        }
        if self.done_bytes == Some(0) {
            bytes = bytes.trim_ascii_start();
            self.repeats = self.pattern.fits(bytes);
            if self.repeats {
                return;
            }
            self.pattern.begin(bytes);
        } else {
            self.pattern.begin(&[]);
        }
        if let Some(known) = self.done_bytes {
            let same = bytes.iter().zip(&DONE[known..]).take_while(|(a, b)| a == b).count();
            let rest = &bytes[same..];
            if rest.trim_ascii_start().is_empty() && (rest.is_empty() || known + same == DONE.len()) {
                self.done_bytes = Some(known + same);
                return;
            }
            self.done_bytes = None;
            self.scan(&DONE[..known], tree);
        }
        self.scan(bytes, tree);
    }

    /// The event with the gap is over. If that was another than the one before the gap, both have said true things.
    fn lost(&mut self, tree: &PathTree, figures: &mut Figures) {
        std::mem::take(&mut self.tail).read(tree, &mut self.draft);
        self.draft.content = false;
        self.draft.was_cut();
        if self.named_error {
            self.draft.is_error();
        }
        self.pattern.clear();
        figures.merge(&mut self.draft);
        self.renew();
    }

    fn scan(&mut self, piece: &[u8], tree: &PathTree) {
        let mut sink = Marked { draft: &mut self.draft, pattern: &mut self.pattern, piece };
        self.scanner.push(piece, tree, &mut sink);
    }

    fn event_over(&mut self, tree: &PathTree, figures: &mut Figures) -> Result<bool, NotJson> {
        if std::mem::take(&mut self.repeats) {
            if !self.named_error {
                // All else that it says was merged with the pattern.
                return Ok(true);
            }
            self.done_bytes = None;
            self.scanner.push(self.pattern.event(), tree, &mut self.draft);
        }
        self.scanner.end(tree, &mut self.draft);
        let done = self.done_bytes == Some(DONE.len());
        let empty = self.done_bytes == Some(0) || (self.done_bytes.is_none() && self.scanner.is_fresh());
        let whole = self.scanner.is_done();
        figures.ended |= done;
        if !whole {
            self.draft.renew();
        }
        if self.named_error {
            self.draft.is_error();
        }
        let content = self.draft.content;
        if whole && !self.named_error && self.draft.is_only_content() {
            self.pattern.keep();
        } else {
            self.pattern.clear();
        }
        if whole || self.named_error {
            figures.merge(&mut self.draft);
        }
        self.renew();
        if whole || done || empty { Ok(content) } else { Err(NotJson) }
    }
}

/// An event whose data is not one JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;
