//! The level in a line that is one JSON object. Such a line can be cut, so it is walked and not parsed; what is no JSON
//! has no level.

use super::level::Level;

/// Names of the field, in any case.
const NAMES: [&[u8]; 9] = [
    b"level",
    b"lvl",
    b"severity",
    b"levelname",
    b"log.level",
    b"loglevel",
    b"log_level",
    b"severity_text",
    b"severitytext",
];

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn blank(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.blank();
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// The bytes between quotes, escapes as they stand.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let begin = self.at;
        loop {
            match *self.text.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(begin..self.at - 1)
    }

    /// Goes over a value; None where the text ends first.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                _ if depth != 0 => self.at += 1,
                _ => self.scalar(),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn scalar(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let ends = |byte: &u8| b",}]".contains(byte) || byte.is_ascii_whitespace();
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
    }

    fn value(&mut self) -> Option<Level> {
        if self.peek()? == b'"' {
            return self.string().and_then(Level::of_word);
        }
        let begin = self.at;
        self.scalar();
        std::str::from_utf8(self.text.get(begin..self.at)?).ok()?.parse().ok().and_then(Level::of_number)
    }

    /// `inside`: the object is the value of `log`, as the Elastic Common Schema nests it.
    fn object(&mut self, inside: bool) -> Option<Level> {
        self.take(b'{')?;
        loop {
            let key = self.string()?;
            self.take(b':')?;
            if NAMES.iter().any(|name| key.eq_ignore_ascii_case(name)) {
                let begin = self.at;
                if let Some(level) = self.value() {
                    return Some(level);
                }
                self.at = begin;
                self.skip()?;
            } else if !inside && key == b"log" && self.peek()? == b'{' {
                let begin = self.at;
                if let Some(level) = self.object(true) {
                    return Some(level);
                }
                self.at = begin;
                self.skip()?;
            } else {
                self.skip()?;
            }
            self.take(b',')?;
        }
    }
}

/// The level of the object that a line begins with.
pub fn level(line: &[u8]) -> Option<Level> {
    Walk { text: line, at: 0 }.object(false)
}
