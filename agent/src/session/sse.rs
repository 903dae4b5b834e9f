//! Splits a server-sent event stream into events, in pieces of any size and without buffering them: data is handed on
//! as it comes, and `Part::End` says that the event is over. Follows the WHATWG rules, with two liberties: an event
//! that the end of the stream cuts off is still delivered, and llama.cpp's `error:` lines count as data.

use memchr::memchr2;

/// A piece of an event, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The event's name, whole, cut at 32 bytes.
    Name(&'a [u8]),
    /// Some of the event's data; several lines are joined by one line feed.
    Data(&'a [u8]),
    /// The event is over.
    End,
    /// After a gap: some of the lines, as they stand, in which an event ends whose beginning is missing.
    Rest(&'a [u8]),
    /// That event is over.
    Lost,
}

const NAME_CAP: usize = 32;
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes of a byte order mark matched so far.
    Start(u8),
    /// In a line's field name, which is collected in `word`.
    Field,
    /// After the colon: one space is dropped.
    Colon(Target),
    Value(Target),
    /// After a gap: in a line that is not understood, or at the start of one.
    LostLine,
    LostStart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Data,
    Name,
    Nothing,
}

/// The splitter's state: constant size.
#[derive(Clone, Debug)]
pub struct SseSplitter {
    state: State,
    /// The last line ended in CR, so that an LF that follows belongs to it.
    after_cr: bool,
    word: [u8; NAME_CAP],
    word_len: usize,
    has_data: bool,
    has_name: bool,
}

impl Default for SseSplitter {
    fn default() -> Self {
        Self {
            state: State::Start(0),
            after_cr: false,
            word: [0; NAME_CAP],
            word_len: 0,
            has_data: false,
            has_name: false,
        }
    }
}

impl SseSplitter {
    /// Takes the next bytes, cut anywhere; what they complete goes to `out`.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut impl FnMut(Part<'_>)) {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let used = match self.state {
                State::Start(matched) => self.start(matched, first, out),
                State::Field => self.field(bytes, out),
                State::Colon(target) => {
                    self.state = State::Value(target);
                    usize::from(first == b' ')
                }
                State::Value(target) => self.value(target, bytes, out),
                State::LostLine | State::LostStart => self.lost(bytes, out),
            };
            bytes = &bytes[used..];
        }
    }

    /// Bytes are missing: the event under way has no `End`. What follows up to a blank line comes as `Rest`.
    pub fn gap(&mut self) {
        *self = Self { state: State::LostLine, ..Self::default() };
    }

    /// The stream is over; an event under way is delivered.
    pub fn end(&mut self, out: &mut impl FnMut(Part<'_>)) {
        match self.state {
            State::Value(Target::Name) => self.name(out),
            State::Field if self.word_len > 0 => self.field_end(out),
            State::LostLine | State::LostStart => out(Part::Lost),
            _ => {}
        }
        if self.has_data || self.has_name {
            out(Part::End);
        }
        *self = Self::default();
    }

    fn start(&mut self, matched: u8, first: u8, out: &mut impl FnMut(Part<'_>)) -> usize {
        if first == BOM[usize::from(matched)] {
            self.state = if matched == 2 { State::Field } else { State::Start(matched + 1) };
            return 1;
        }
        self.state = State::Field;
        if matched > 0 {
            self.field(&BOM[..usize::from(matched)], out);
        }
        0
    }

    fn field(&mut self, bytes: &[u8], out: &mut impl FnMut(Part<'_>)) -> usize {
        if self.word_len == 0 && bytes.starts_with(b"data:") {
            self.begin_data(out);
            return 5;
        }
        let end = bytes.iter().position(|b| matches!(b, b':' | b'\n' | b'\r'));
        let taken = end.unwrap_or(bytes.len());
        self.collect(&bytes[..taken]);
        let Some(end) = end else { return taken };
        if bytes[end] == b':' {
            self.colon(out);
        } else if self.word_len == 0 {
            self.blank(out);
            self.line_end(bytes[end]);
        } else {
            self.field_end(out);
            self.line_end(bytes[end]);
        }
        end + 1
    }

    /// A line that is a field name alone is that field with an empty value.
    fn field_end(&mut self, out: &mut impl FnMut(Part<'_>)) {
        if &self.word[..self.word_len] == b"data" {
            self.begin_data(out);
        }
    }

    fn colon(&mut self, out: &mut impl FnMut(Part<'_>)) {
        match &self.word[..self.word_len] {
            b"data" => self.begin_data(out),
            b"error" => {
                out(Part::Name(b"error"));
                self.begin_data(out);
            }
            b"event" => {
                self.word_len = 0;
                self.state = State::Colon(Target::Name);
            }
            _ => self.state = State::Colon(Target::Nothing),
        }
    }

    fn begin_data(&mut self, out: &mut impl FnMut(Part<'_>)) {
        if self.has_data {
            out(Part::Data(b"\n"));
        }
        self.has_data = true;
        self.state = State::Colon(Target::Data);
    }

    fn value(&mut self, target: Target, bytes: &[u8], out: &mut impl FnMut(Part<'_>)) -> usize {
        let end = memchr2(b'\n', b'\r', bytes);
        let value = &bytes[..end.unwrap_or(bytes.len())];
        match target {
            Target::Data if !value.is_empty() => out(Part::Data(value)),
            Target::Name => self.collect(value),
            Target::Data | Target::Nothing => {}
        }
        let Some(end) = end else { return bytes.len() };
        if target == Target::Name {
            self.name(out);
        }
        self.line_end(bytes[end]);
        end + 1
    }

    fn name(&mut self, out: &mut impl FnMut(Part<'_>)) {
        self.has_name = true;
        out(Part::Name(&self.word[..self.word_len]));
    }

    fn blank(&mut self, out: &mut impl FnMut(Part<'_>)) {
        if self.has_data || self.has_name {
            out(Part::End);
        }
        self.has_data = false;
        self.has_name = false;
    }

    fn lost(&mut self, bytes: &[u8], out: &mut impl FnMut(Part<'_>)) -> usize {
        if self.state == State::LostStart {
            if matches!(bytes[0], b'\n' | b'\r') {
                out(Part::Lost);
                self.line_end(bytes[0]);
                return 1;
            }
            out(Part::Rest(b"\n"));
        }
        let end = memchr2(b'\n', b'\r', bytes);
        out(Part::Rest(&bytes[..end.unwrap_or(bytes.len())]));
        let Some(end) = end else {
            self.state = State::LostLine;
            return bytes.len();
        };
        self.line_end(bytes[end]);
        self.state = State::LostStart;
        end + 1
    }

    fn line_end(&mut self, terminator: u8) {
        self.after_cr = terminator == b'\r';
        self.word_len = 0;
        self.state = State::Field;
    }

    fn collect(&mut self, bytes: &[u8]) {
        let room = bytes.len().min(NAME_CAP - self.word_len);
        self.word[self.word_len..self.word_len + room].copy_from_slice(&bytes[..room]);
        self.word_len += room;
    }
}

#[cfg(test)]
#[path = "sse_test.rs"]
mod tests;
