//! Splits newline-delimited JSON into lines, in pieces of any size and without buffering them. Blank lines are no
//! events; a last line without a newline is one.

use memchr::memchr;

use super::sse::Part;

/// The splitter's state: constant size.
#[derive(Clone, Debug, Default)]
pub struct NdjsonSplitter {
    has_data: bool,
    /// After a gap: everything up to the next newline belongs to a line whose start is unknown.
    lost: bool,
}

impl NdjsonSplitter {
    /// Takes the next bytes, cut anywhere; what they complete goes to `out`.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut impl FnMut(Part<'_>)) {
        while !bytes.is_empty() {
            let end = memchr(b'\n', bytes);
            let line = &bytes[..end.unwrap_or(bytes.len())];
            self.line(line, out);
            let Some(end) = end else { return };
            self.end(out);
            bytes = &bytes[end + 1..];
        }
    }

    /// Bytes are missing: the line under way has no `End`. The rest of the line after it comes as `Rest`.
    pub fn gap(&mut self) {
        *self = Self { has_data: false, lost: true };
    }

    /// The stream is over; a line under way is delivered.
    pub fn end(&mut self, out: &mut impl FnMut(Part<'_>)) {
        if std::mem::take(&mut self.lost) {
            out(Part::Lost);
        }
        if std::mem::take(&mut self.has_data) {
            out(Part::End);
        }
    }

    fn line(&mut self, line: &[u8], out: &mut impl FnMut(Part<'_>)) {
        let blank = !self.has_data && line.iter().all(u8::is_ascii_whitespace);
        if self.lost {
            out(Part::Rest(line));
        } else if !blank {
            self.has_data = true;
            out(Part::Data(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn lines(pieces: &[&str]) -> Vec<String> {
        let mut splitter = NdjsonSplitter::default();
        let mut lines = Vec::new();
        let line = RefCell::new(String::new());
        let mut take = |part: Part<'_>| match part {
            Part::Data(bytes) => line.borrow_mut().push_str(&String::from_utf8_lossy(bytes)),
            Part::Name(_) => unreachable!("lines have no names"),
            Part::End => lines.push(line.take()),
            Part::Rest(bytes) => line.borrow_mut().push_str(&String::from_utf8_lossy(bytes)),
            Part::Lost => lines.push(format!("~{}", line.take())),
        };
        for piece in pieces {
            match *piece {
                "~" => {
                    splitter.gap();
                    line.take();
                }
                bytes => splitter.push(bytes.as_bytes(), &mut take),
            }
        }
        splitter.end(&mut take);
        lines
    }

    #[test]
    fn ndjson_lines() {
        assert_eq!(lines(&["{1}\n{2}\r\n\n \n{3}"]), ["{1}", "{2}\r", "{3}"]);
        assert_eq!(lines(&["{", "1", "}", "\n", "{2}\n"]), ["{1}", "{2}"]);
        assert_eq!(lines(&["{1}\n{2", "~", "x", "}\n{3}\n"]), ["{1}", "~x}", "{3}"]);
        assert_eq!(lines(&["{1", "~", "y", "~", "x}"]), ["~x}"]);
    }
}
