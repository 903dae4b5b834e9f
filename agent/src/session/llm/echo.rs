//! Events of a stream are mostly the one before with other content. One that is need not be read again: it says what
//! that one said. Only an event that said nothing but its content is taken as a pattern.

use std::ops::Range;

use memchr::memchr2;
use zeroize::Zeroizing;

use super::field::Field;
use super::figures::Draft;
use super::json_value::{Raw, Sink, Value};

/// Longer events are read each time.
const LONGEST: usize = 1024;
/// So many patterns in a row that nothing was like, and the stream has no use for them.
const USELESS: u32 = 8;

/// The event before, if it was a document in one piece.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    event: Zeroizing<Vec<u8>>,
    /// Where its content is, which is not empty.
    content: Option<Range<usize>>,
    ready: bool,
    useless: u32,
}

impl Pattern {
    /// Whether this piece of an event is the pattern with other content.
    pub fn fits(&mut self, piece: &[u8]) -> bool {
        let fits = self.ready && self.compare(piece);
        if fits {
            self.useless = 0;
        }
        fits
    }

    fn compare(&self, piece: &[u8]) -> bool {
        let Some(content) = &self.content else { return false };
        let (before, after) = (&self.event[..content.start], &self.event[content.end..]);
        let Some(rest) = piece.strip_prefix(before) else { return false };
        rest.strip_suffix(after).is_some_and(|content| !content.is_empty() && is_one_string(content))
    }

    /// Forgets, but for what is useless.
    pub fn clear(&mut self) {
        self.ready = false;
        self.content = None;
    }

    /// An event begins with this piece, which is about to be read through [`Marked`].
    pub fn begin(&mut self, piece: &[u8]) {
        self.clear();
        self.event.clear();
        if self.useless < USELESS && piece.len() <= LONGEST {
            // Of its full size at once: a vector that grows leaves what it had behind.
            self.event.reserve_exact(LONGEST);
            self.event.extend_from_slice(piece);
        }
    }

    /// The event is over, and was nothing but a document with content.
    pub fn keep(&mut self) {
        self.ready = self.content.is_some() && !self.event.is_empty();
        self.useless += u32::from(self.ready);
    }

    /// What was kept last.
    pub fn event(&self) -> &[u8] {
        &self.event
    }
}

/// Whether these bytes stand in one string of JSON to its end.
fn is_one_string(mut bytes: &[u8]) -> bool {
    while let Some(at) = memchr2(b'"', b'\\', bytes) {
        if bytes[at] == b'"' {
            return false;
        }
        let Some(rest) = bytes.get(at + 2..) else { return false };
        bytes = rest;
    }
    true
}

/// Hands values on to a draft and marks where the content is in the piece that is read.
pub struct Marked<'a> {
    pub draft: &'a mut Draft,
    pub pattern: &'a mut Pattern,
    pub piece: &'a [u8],
}

impl Marked<'_> {
    fn mark(&mut self, raw: &Raw<'_>) {
        let from = raw.bytes.as_ptr().addr().wrapping_sub(self.piece.as_ptr().addr());
        let within = from < self.piece.len() && self.pattern.content.is_none();
        self.pattern.content = within.then(|| from..from + raw.bytes.len());
        if !within {
            // More than one, or one that is not here whole.
            self.pattern.event.clear();
        }
    }
}

impl Sink for Marked<'_> {
    type Field = Field;

    fn wants_text(&self, field: Field) -> bool {
        field == Field::Content || self.draft.wants_text(field)
    }

    fn value(&mut self, field: Field, value: Value<'_>) {
        match (field, value) {
            (Field::Content, Value::Text(raw)) => {
                if !raw.bytes.is_empty() {
                    self.mark(&raw);
                }
                self.draft.value(field, Value::Filled(!raw.bytes.is_empty()));
            }
            (Field::Content, Value::Open) => {
                self.pattern.event.clear();
                self.draft.value(field, value);
            }
            _ => self.draft.value(field, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::llm::{LlmParser, Piece};

    #[test]
    fn strings_end_at_their_quote() {
        for (inside, one) in [("", true), ("a b", true), (r#"a\"b"#, true), (r"\\", true), ("\\", false)] {
            assert_eq!(is_one_string(inside.as_bytes()), one, "{inside}");
        }
        assert!(!is_one_string(br#"a","b":"c"#));
        assert!(!is_one_string(br#"a\\","b"#));
    }

    /// Everything that the parser says of a stream that comes in pieces of this size.
    fn read(stream: &str, size: usize) -> (u32, String) {
        let mut parser = LlmParser::detect("POST", "/v1/chat/completions").unwrap();
        let value = b"text/event-stream";
        parser.response_head(200, &[httparse::Header { name: "content-type", value }]);
        let mut content = 0;
        for piece in stream.as_bytes().chunks(size) {
            content += parser.response_body(Piece::Bytes(piece));
        }
        content += parser.response_end();
        let ended = parser.ended();
        (content, format!("{ended} {:?}", parser.finish()))
    }

    fn chunk(rest: &str) -> String {
        format!("data: {{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{rest}}}]}}\n\n")
    }

    #[test]
    fn a_stream_of_like_events_is_read_as_what_it_is() {
        let stream: String = ["a", "b c", r#"\"d\""#, r"\\", "", "e"]
            .map(|content| chunk(&format!("{{\"content\":\"{content}\"}},\"finish_reason\":null")))
            .concat();
        let (content, told) = read(&stream, usize::MAX);
        assert_eq!(content, 5, "all but the empty one");
        assert_eq!((content, told), read(&stream, 1));
    }

    fn event() -> impl Strategy<Value = String> {
        let contents = ["a", "b", "", r#"\"x\":\"y"#, r"\\", r"\n", "\u{e9}", r#"a","finish_reason":"stop"#, "\\"];
        let content = prop::sample::select(contents.to_vec());
        let tails = ["null", "null", "null", "null", "\"stop\"", "\"length\"", "7"];
        let delta = (content.clone(), prop::sample::select(tails.to_vec()))
            .prop_map(|(content, tail)| chunk(&format!("{{\"content\":\"{content}\"}},\"finish_reason\":{tail}")));
        let twice =
            content.clone().prop_map(|c| chunk(&format!("{{\"content\":\"{c}\",\"reasoning_content\":\"{c}\"}}")));
        let usage = (0u64..3, content).prop_map(|(n, c)| {
            let usage = format!("\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":{n}}}");
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{c}\"}}}}],{usage}}}\n\n")
        });
        let odd = prop::sample::select(vec![
            "data: [DONE]\n\n",
            "event: error\n",
            "data: {\"error\":{\"type\":\"x\"}}\n\n",
            ": ping\n\n",
            "data: {\"choices\":\n",
            "data: 7\n",
            "\n",
            "event: error\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\nevent: error\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\ndata: x\n\n",
        ]);
        prop_oneof![6 => delta, 1 => twice, 2 => usage, 2 => odd.prop_map(str::to_owned)]
    }

    proptest! {
        /// One byte at a time no event comes in one piece, so each is read.
        #[test]
        fn whatever_is_left_unread_would_have_said_the_same(events in prop::collection::vec(event(), 0..40)) {
            let stream = events.concat();
            let told = read(&stream, usize::MAX);
            prop_assert_eq!(&told, &read(&stream, 1));
            prop_assert_eq!(&told, &read(&stream, 37));
        }
    }
}
