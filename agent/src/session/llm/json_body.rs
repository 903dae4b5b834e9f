//! A whole JSON body, read as it passes. Where bytes are missing the place in the document is unknown; then the end of
//! the body is kept, and read backwards from its last brace, which tells strings from structure without a guess.

use std::fmt;

use memchr::memchr;
use zeroize::Zeroizing;

use super::json_paths::PathTree;
use super::json_scan::Scanner;
use super::json_value::Sink;

/// So much of the end of a body with a gap is kept.
const TAIL_CAP: usize = 16 * 1024;

#[derive(Clone, Debug, Default)]
pub struct JsonBody {
    scanner: Scanner,
    /// Set from the first gap on.
    tail: Option<Tail>,
    /// The document is over, and a line of its own begins behind it.
    behind: bool,
    /// What follows the document is none, and its end not the body's.
    alone: bool,
}

/// The last bytes of a document with a gap, none of them missing. Holds no memory before the first one.
#[derive(Clone, Default)]
pub struct Tail(Zeroizing<Vec<u8>>);

impl fmt::Debug for Tail {
    /// Without the text of users that it may hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("bytes", &self.0.len()).finish()
    }
}

impl Tail {
    /// The next bytes, of which at least the last [`TAIL_CAP`] are kept.
    pub fn push(&mut self, bytes: &[u8]) {
        let Self(tail) = self;
        if tail.capacity() == 0 && !bytes.is_empty() {
            // Of its full size at once: a vector that grows leaves what it had behind.
            tail.reserve_exact(2 * TAIL_CAP);
        }
        if tail.len() + bytes.len() > 2 * TAIL_CAP {
            let kept = TAIL_CAP.saturating_sub(bytes.len());
            let from = tail.len().saturating_sub(kept);
            tail.drain(..from);
        }
        tail.extend_from_slice(&bytes[bytes.len().saturating_sub(2 * TAIL_CAP)..]);
    }

    /// Bytes are missing again.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Reads the members of the top-level object that stand whole in it. All or nothing.
    pub fn read<S: Sink + Clone>(&self, tree: &PathTree<S::Field>, draft: &mut S) {
        read_tail(&self.0, tree, draft);
    }
}

impl JsonBody {
    /// For a body of which only the beginning is JSON.
    pub fn alone() -> Self {
        Self { alone: true, ..Self::default() }
    }

    /// Takes the next bytes. Gives them from where another document begins on a line behind the one that is over: then
    /// the body is JSON lines, whatever its type says.
    pub fn push<'b, S: Sink>(&mut self, bytes: &'b [u8], tree: &PathTree<S::Field>, draft: &mut S) -> Option<&'b [u8]> {
        let Some(tail) = &mut self.tail else {
            let used = self.scanner.push(bytes, tree, draft);
            return if self.is_done() && !self.alone { self.next_line(&bytes[used..]) } else { None };
        };
        // Where the document ended among bytes of any kind is not to be told.
        if !self.alone {
            tail.push(bytes);
        }
        None
    }

    /// The document was read to its end, no byte of it missing.
    pub fn is_done(&self) -> bool {
        self.scanner.is_done() && self.tail.is_none()
    }

    fn next_line<'b>(&mut self, mut rest: &'b [u8]) -> Option<&'b [u8]> {
        loop {
            if !self.behind {
                rest = &rest[memchr(b'\n', rest)? + 1..];
                self.behind = true;
            }
            rest = rest.trim_ascii_start();
            if *rest.first()? == b'{' {
                return Some(rest);
            }
            self.behind = false;
        }
    }

    /// Bytes are missing.
    pub fn gap(&mut self) {
        if self.scanner.is_done() {
            // What comes next stands somewhere in a line.
            self.behind = false;
        } else {
            self.tail.get_or_insert_default().clear();
        }
    }

    /// The body is complete. Returns false if it was not JSON to its end.
    pub fn end<S: Sink + Clone>(&mut self, tree: &PathTree<S::Field>, draft: &mut S) -> bool {
        match self.tail.take() {
            Some(tail) => {
                tail.read(tree, draft);
                true
            }
            None => {
                self.scanner.end(tree, draft);
                self.scanner.is_done() || self.scanner.is_fresh()
            }
        }
    }
}

fn read_tail<S: Sink + Clone>(tail: &[u8], tree: &PathTree<S::Field>, draft: &mut S) {
    let tail = tail.trim_ascii_end();
    let Some(start) = first_member(tail) else { return };
    let (last, members) = match tail[start..].split_last() {
        Some((last, members)) => (last, members),
        None => return,
    };
    let mut found = draft.clone();
    let mut scanner = Scanner::inside_object();
    scanner.push(members, tree, &mut found);
    let early = scanner.is_done();
    scanner.push(&[*last], tree, &mut found);
    if scanner.is_done() && !early {
        *draft = found;
    }
}

/// Where the first whole member of the top-level object starts, if the tail ends that object.
fn first_member(tail: &[u8]) -> Option<usize> {
    let mut start = None;
    let mut depth = 0u32;
    let mut in_string = false;
    let mut at = tail.len();
    if tail.last() != Some(&b'}') {
        return None;
    }
    while at > 0 {
        at -= 1;
        match tail[at] {
            b'"' => {
                let slashes = tail[..at].iter().rev().take_while(|b| **b == b'\\').count();
                if slashes == at {
                    // Whether the quote is escaped stands in the gap.
                    break;
                }
                match (slashes % 2, in_string) {
                    (0, false) => in_string = true,
                    (0, true) if slashes == 0 => in_string = false,
                    (1, true) => {}
                    _ => return None,
                }
                at -= slashes;
            }
            _ if in_string => {}
            b'}' | b']' => depth += 1,
            // The object's own start cannot be here: it was before the gap.
            b'{' | b'[' if depth <= 1 => return None,
            b'{' | b'[' => depth -= 1,
            b',' if depth == 1 => start = Some(at + 1),
            _ => {}
        }
    }
    start
}
