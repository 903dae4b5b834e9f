//! Reads the texts of an exchange where they are kept: a second look at the bodies, beside the one for the figures and
//! with paths of its own. Escapes are undone and a stream's chunks put together before anything is made of them.
//! Where bytes are missing it stops: what follows could be the end of a secret that began before.

use std::fmt;

use super::field::Field;
use super::json_paths::PathTree;
use super::json_scan::Scanner;
use super::json_value::{Sink, Value, word};
use super::unescape::Unescape;
use crate::privacy::{Guard, Hashing, Holding, Kind, Missing, Mode, Place, Said, Speaker, Taken};
use crate::session::sse::Part;

/// Both sides of one exchange.
pub struct Texts {
    mode: Mode,
    pub prompt: Reader,
    pub completion: Reader,
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// One body's texts.
pub struct Reader {
    scanner: Scanner,
    collector: Collector,
    /// Bytes are missing: nothing more is read.
    over: bool,
    /// Where the event under way began.
    begin: Option<Place>,
}

struct Collector {
    holding: Holding,
    unescape: Unescape,
    /// Pieces of a prompt stand for themselves; those of a stream are joined.
    joins: bool,
    /// The string under way has had a piece.
    inside: bool,
    /// First piece of the message under way, and who says it.
    message: usize,
    speaker: Option<Speaker>,
    /// Only the first of several choices is kept.
    choice: u64,
    begin_of_choice: Option<Place>,
    /// For streams that say everything so far again in each event.
    beginning: Place,
    anything: bool,
}

impl Texts {
    /// None if the mode keeps nothing of this request.
    pub fn begin(guard: &Guard) -> Option<Box<Self>> {
        let mode = guard.mode();
        if mode == Mode::Off || mode == Mode::Full && !guard.drawn() {
            return None;
        }
        let hashing = guard.hashing();
        let (prompt, completion) =
            (Reader::new(guard, mode, &hashing, false), Reader::new(guard, mode, &hashing, true));
        Some(Box::new(Self { mode, prompt, completion }))
    }

    /// What was read.
    pub fn end(self) -> Said {
        Said { mode: self.mode, prompt: self.prompt.end(), completion: self.completion.end() }
    }
}

impl Reader {
    fn new(guard: &Guard, mode: Mode, hashing: &Hashing, joins: bool) -> Self {
        let holding = Holding::new(guard, mode, hashing);
        let beginning = holding.place();
        let collector = Collector {
            holding,
            unescape: Unescape::default(),
            joins,
            inside: false,
            message: 0,
            speaker: None,
            choice: 0,
            begin_of_choice: None,
            beginning,
            anything: false,
        };
        Self { scanner: Scanner::default(), collector, over: false, begin: None }
    }

    /// The next bytes of one document.
    pub fn push(&mut self, bytes: &[u8], tree: &PathTree) {
        if !self.over {
            self.scanner.push(bytes, tree, &mut self.collector);
        }
    }

    /// A part of an event, which is a document.
    pub fn part(&mut self, part: Part<'_>, tree: &PathTree) {
        match part {
            // After a gap nothing is read.
            Part::Name(_) | Part::Rest(_) | Part::Lost => {}
            Part::Data(bytes) => {
                if self.begin.is_none() && !self.over {
                    self.begin = Some(self.collector.holding.place());
                }
                self.push(bytes, tree);
            }
            Part::End => self.event_over(),
        }
    }

    fn event_over(&mut self) {
        let whole = self.scanner.is_done();
        if let Some(begin) = self.begin.take()
            && !self.over
            && (!whole || self.collector.choice != 0)
        {
            self.collector.holding.back_to(&begin);
            self.collector.holding.missing.parts |= whole;
        }
        self.collector.holding.settle();
        self.collector.event_over();
        self.scanner.reset();
    }

    /// Bytes are missing, or cannot be read.
    pub fn gap(&mut self) {
        self.over = true;
        self.collector.holding.missing.end = true;
    }

    /// The exchange ended before the body did.
    pub fn unfinished(&mut self) {
        self.collector.holding.missing.end = true;
    }

    fn end(self) -> (Taken, Missing) {
        self.collector.holding.take()
    }
}

/// Whether what is there is a text that may be kept.
pub const fn is_text(field: Field) -> bool {
    kind(field).is_some()
}

const fn kind(field: Field) -> Option<Kind> {
    match field {
        Field::Said | Field::Instructions | Field::SaidSoFar | Field::SaidAgain => Some(Kind::Text),
        Field::Reasoned => Some(Kind::Reasoning),
        Field::Arguments => Some(Kind::ToolCall),
        Field::Complaint => Some(Kind::Error),
        _ => None,
    }
}

impl Collector {
    fn begins(&mut self, field: Field) {
        if field == Field::SaidSoFar && !self.inside {
            self.holding.begin_anew(&self.beginning);
        }
    }

    fn text(&mut self, bytes: &[u8], field: Field, kind: Kind) {
        let speaker = if field == Field::Instructions { Some(Speaker::System) } else { self.speaker };
        let joins = self.joins && field != Field::SaidSoFar || self.inside;
        self.holding.add(bytes, kind, speaker, joins);
        self.inside = true;
        self.anything = true;
    }

    fn stands_for(&mut self, field: Field, label: &str) {
        let kind = kind(field).unwrap_or(Kind::Text);
        self.inside = false;
        self.text(label.as_bytes(), field, kind);
        self.inside = false;
    }

    fn event_over(&mut self) {
        (self.choice, self.begin_of_choice) = (0, None);
        self.string_over();
    }

    fn string_over(&mut self) {
        self.unescape.reset();
        self.inside = false;
    }

    fn choice_over(&mut self) {
        if let Some(begin) = self.begin_of_choice.take()
            && self.choice != 0
        {
            self.holding.back_to(&begin);
            self.holding.missing.parts = true;
        }
        self.choice = 0;
    }
}

impl Sink for Collector {
    type Field = Field;

    const PIECES: bool = true;

    fn wants_text(&self, field: Field) -> bool {
        field == Field::Role
    }

    fn piece(&mut self, field: Field, bytes: &[u8]) {
        let Some(kind) = kind(field) else { return };
        if bytes.is_empty() || field == Field::SaidAgain && self.anything && !self.inside {
            return;
        }
        self.begins(field);
        let mut unescape = std::mem::take(&mut self.unescape);
        unescape.push(bytes, &mut |text| self.text(text, field, kind));
        self.unescape = unescape;
    }

    fn value(&mut self, field: Field, value: Value<'_>) {
        match (field, value) {
            (Field::Role, Value::Text(role)) => {
                self.speaker = Speaker::of(&word(role));
                self.holding.said_by(self.message, self.speaker);
            }
            (Field::Message, Value::Open) => (self.message, self.speaker) = (self.holding.pieces(), None),
            (Field::Message, Value::Close) => self.speaker = None,
            (Field::Choice, Value::Open) => {
                (self.choice, self.begin_of_choice) = (0, Some(self.holding.place()));
            }
            (Field::Choice, Value::Close) => self.choice_over(),
            (Field::ChoiceIndex | Field::BatchIndex, Value::Uint(choice)) => self.choice = choice,
            (Field::Media(label), Value::Open | Value::Filled(true)) => self.stands_for(field, label),
            (Field::Arguments, Value::Open) => self.stands_for(field, "[object]"),
            (_, Value::Filled(_)) => self.string_over(),
            _ => {}
        }
    }
}
