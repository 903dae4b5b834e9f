//! A push tokenizer for JSON that comes in pieces and may be megabytes: it keeps the path, hands the wanted values to a
//! `Sink`, and holds at most one short string. It is lenient about what is not wanted, and total: any bytes are fine.

use memchr::memchr2;

use super::json_paths::{DEAD, MAX_DEPTH, NodeId, PathTree, ROOT};
use super::json_value::{Raw, Sink, TEXT_CAP, Value, scalar_value, word};

/// Containers nested deeper than this make the document invalid.
const NEST_CAP: u32 = 127;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value must come.
    Value,
    /// In a byte order mark before the document, which some servers write; this byte of it must come.
    Mark(u8),
    /// A value or the end of the array just begun.
    FirstElement,
    /// A key or the end of the object just begun.
    FirstKey,
    Key,
    Colon,
    /// A comma or the end of the container.
    After,
    InKey,
    InString,
    InScalar,
    Done,
    Invalid,
}

/// State between pieces: constant size, but for `held`, which is empty unless a piece ends inside a wanted token.
#[derive(Clone, Debug)]
pub struct Scanner {
    state: State,
    depth: u32,
    /// Bit per open container: set for an object.
    objects: u128,
    /// Place in the tree of each open container.
    places: [NodeId; MAX_DEPTH],
    /// Place of the value that comes or is under way.
    node: NodeId,
    /// Whether the token under way is kept.
    keep: bool,
    backslash: bool,
    escaped: bool,
    cut: bool,
    filled: bool,
    held: Vec<u8>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            state: State::Value,
            depth: 0,
            objects: 0,
            places: [DEAD; MAX_DEPTH],
            node: ROOT,
            keep: false,
            backslash: false,
            escaped: false,
            cut: false,
            filled: false,
            held: Vec::new(),
        }
    }
}

impl Scanner {
    /// A scanner that stands inside the top-level object, where a key must come.
    pub fn inside_object() -> Self {
        let mut scanner = Self { state: State::Key, depth: 1, objects: 1, ..Self::default() };
        scanner.places[0] = ROOT;
        scanner
    }

    /// Back to the start of a document; keeps the allocation.
    pub fn reset(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        held.clear();
        *self = Self { held, ..Self::default() };
    }

    /// The document was read to its end. What follows it is ignored.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Nothing but white space has come yet.
    pub fn is_fresh(&self) -> bool {
        self.state == State::Value && self.depth == 0
    }

    /// Takes the next bytes; returns how many of them it took, which is all but what follows the document.
    pub fn push<S: Sink>(&mut self, bytes: &[u8], tree: &PathTree<S::Field>, sink: &mut S) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            at += match self.state {
                State::InKey | State::InString => self.string(&bytes[at..], tree, sink),
                State::InScalar => self.scalar(&bytes[at..], tree, sink),
                State::Done | State::Invalid => return at,
                _ => {
                    self.structure(bytes[at], tree, sink);
                    // A scalar's first byte belongs to it.
                    usize::from(self.state != State::InScalar)
                }
            };
        }
        at
    }

    /// The document is over: only a scalar at the top level needs to be told.
    pub fn end<S: Sink>(&mut self, tree: &PathTree<S::Field>, sink: &mut S) {
        if self.state == State::InScalar && self.depth == 0 {
            self.scalar(b" ", tree, sink);
        }
    }

    fn structure<S: Sink>(&mut self, byte: u8, tree: &PathTree<S::Field>, sink: &mut S) {
        match (byte, self.state) {
            (0xef, State::Value) if self.is_fresh() => self.state = State::Mark(0xbb),
            (0xbb, State::Mark(0xbb)) => self.state = State::Mark(0xbf),
            (0xbf, State::Mark(0xbf)) => self.state = State::Value,
            (_, State::Mark(_)) => self.state = State::Invalid,
            (b' ' | b'\t' | b'\n' | b'\r', _) => {}
            (b'"', State::Key | State::FirstKey) => self.token(State::InKey, true),
            (b':', State::Colon) => self.state = State::Value,
            (b',', State::After) => self.next_member(tree),
            (b'}', State::FirstKey | State::After) if self.in_object() => self.close(tree, sink),
            (b']', State::FirstElement | State::After) if !self.in_object() => self.close(tree, sink),
            (_, State::Value | State::FirstElement) => self.begin_value(byte, tree, sink),
            _ => self.state = State::Invalid,
        }
    }

    fn begin_value<S: Sink>(&mut self, byte: u8, tree: &PathTree<S::Field>, sink: &mut S) {
        let field = tree.field(self.node);
        match byte {
            b'"' => self.token(State::InString, field.is_some_and(|f| sink.wants_text(f))),
            b'{' | b'[' => self.open(byte == b'{', tree, sink),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b'N' | b'I' => self.token(State::InScalar, field.is_some()),
            _ => self.state = State::Invalid,
        }
    }

    fn open<S: Sink>(&mut self, object: bool, tree: &PathTree<S::Field>, sink: &mut S) {
        if self.depth >= NEST_CAP {
            self.state = State::Invalid;
            return;
        }
        if let Some(field) = tree.field(self.node) {
            sink.value(field, Value::Open);
        }
        if let Some(place) = self.places.get_mut(self.depth as usize) {
            *place = self.node;
        }
        let bit = 1 << self.depth;
        self.objects = if object { self.objects | bit } else { self.objects & !bit };
        self.depth += 1;
        self.state = if object { State::FirstKey } else { State::FirstElement };
        self.node = if object { DEAD } else { tree.element(self.place()) };
    }

    fn close<S: Sink>(&mut self, tree: &PathTree<S::Field>, sink: &mut S) {
        let place = self.place();
        self.depth -= 1;
        if let Some(field) = tree.field(place) {
            sink.value(field, Value::Close);
        }
        self.value_over();
    }

    fn next_member<F: Copy>(&mut self, tree: &PathTree<F>) {
        if self.in_object() {
            self.state = State::Key;
        } else {
            self.state = State::Value;
            self.node = tree.element(self.place());
        }
    }

    fn value_over(&mut self) {
        self.state = if self.depth == 0 { State::Done } else { State::After };
    }

    /// Place of the innermost open container.
    fn place(&self) -> NodeId {
        let at = (self.depth as usize).wrapping_sub(1);
        self.places.get(at).copied().unwrap_or(DEAD)
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.objects >> (self.depth - 1) & 1 == 1
    }

    fn token(&mut self, state: State, keep: bool) {
        self.state = state;
        self.keep = keep;
        self.backslash = false;
        self.escaped = false;
        self.cut = false;
        self.filled = false;
        self.held.clear();
    }

    /// Reads on in a string or key; returns how many bytes it took.
    fn string<S: Sink>(&mut self, bytes: &[u8], tree: &PathTree<S::Field>, sink: &mut S) -> usize {
        let mut at = 0;
        loop {
            if self.backslash {
                if at == bytes.len() {
                    break;
                }
                self.backslash = false;
                at += 1;
            }
            let Some(found) = memchr2(b'"', b'\\', &bytes[at..]) else { break };
            at += found;
            if bytes[at] == b'"' {
                self.string_over(&bytes[..at], tree, sink);
                return at + 1;
            }
            self.backslash = true;
            self.escaped = true;
            at += 1;
        }
        self.filled |= !bytes.is_empty();
        self.piece(bytes, tree, sink);
        self.hold(bytes);
        bytes.len()
    }

    fn piece<S: Sink>(&self, bytes: &[u8], tree: &PathTree<S::Field>, sink: &mut S) {
        if S::PIECES
            && self.state == State::InString
            && let Some(field) = tree.field(self.node)
        {
            sink.piece(field, bytes);
        }
    }

    fn string_over<S: Sink>(&mut self, last: &[u8], tree: &PathTree<S::Field>, sink: &mut S) {
        self.filled |= !last.is_empty();
        self.piece(last, tree, sink);
        // The usual case, a token within one piece, is not copied.
        let whole = self.held.is_empty() && last.len() <= TEXT_CAP;
        if !whole {
            self.hold(last);
        }
        let text = if whole { last } else { self.held.as_slice() };
        if self.state == State::InKey {
            let key = word(Raw { bytes: text, escaped: self.escaped, cut: self.cut });
            self.node = tree.member(self.place(), &key);
            self.state = State::Colon;
            return;
        }
        if let Some(field) = tree.field(self.node) {
            let text = Raw { bytes: text, escaped: self.escaped, cut: self.cut };
            sink.value(field, if self.keep { Value::Text(text) } else { Value::Filled(self.filled) });
        }
        self.value_over();
    }

    fn scalar<S: Sink>(&mut self, bytes: &[u8], tree: &PathTree<S::Field>, sink: &mut S) -> usize {
        let part_of = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let Some(end) = bytes.iter().position(|b| !part_of(b)) else {
            self.hold(bytes);
            return bytes.len();
        };
        let field = tree.field(self.node).filter(|_| self.keep);
        let value = if field.is_none() {
            None
        } else if self.held.is_empty() {
            scalar_value(&bytes[..end])
        } else {
            self.hold(&bytes[..end]);
            scalar_value(&self.held)
        };
        match (field, value) {
            (Some(_), None) => self.state = State::Invalid,
            (Some(field), Some(value)) => {
                sink.value(field, value);
                self.value_over();
            }
            (None, _) => self.value_over(),
        }
        end
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.keep {
            let room = TEXT_CAP - self.held.len().min(TEXT_CAP);
            self.cut |= bytes.len() > room;
            self.held.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
}
