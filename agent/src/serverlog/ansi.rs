//! Colours and other control sequences of terminals, taken out of a line.

use std::borrow::Cow;

const ESCAPE: u8 = 0x1b;

/// The line without them (ECMA-48: CSI sequences, OSC strings, other escapes of two bytes).
pub fn plain(line: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(ESCAPE, line).is_none() {
        return Cow::Borrowed(line);
    }
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = memchr::memchr(ESCAPE, rest) {
        out.extend_from_slice(&rest[..at]);
        rest = behind(&rest[at + 1..]);
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// What follows a sequence whose escape is taken off.
fn behind(rest: &[u8]) -> &[u8] {
    match rest {
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
            end.map_or(&[], |end| &rest[end + 1..])
        }
        [b']', rest @ ..] => {
            let end = rest.iter().position(|byte| matches!(*byte, 0x07 | ESCAPE));
            end.map_or(&[], |end| {
                if rest[end] == ESCAPE { rest.get(end + 2..).unwrap_or_default() } else { &rest[end + 1..] }
            })
        }
        [_, rest @ ..] => rest,
        [] => rest,
    }
}
