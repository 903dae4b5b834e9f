//! What was written through one descriptor, cut into lines wherever the writes were cut.

/// Bytes kept of a line; its level stands at its beginning.
pub const LINE_BYTES: usize = 1024;

/// Puts lines together.
#[derive(Debug, Default)]
pub struct Lines {
    /// The beginning of the line that is not complete yet.
    begun: Vec<u8>,
    /// Its last byte was a carriage return: with a line feed behind it the line ends, else it is written over.
    returned: bool,
}

impl Lines {
    /// The next bytes; each line that they complete goes to `out`, cut at [`LINE_BYTES`], without its end.
    pub fn push(&mut self, bytes: &[u8], mut out: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.returned && rest[0] != b'\n' {
                // What a progress bar showed before is no line.
                self.begun.clear();
            }
            self.returned = false;
            let Some(at) = memchr::memchr2(b'\n', b'\r', rest) else {
                return self.keep(rest);
            };
            let (part, end) = (&rest[..at], rest[at]);
            rest = &rest[at + 1..];
            if end == b'\r' {
                self.keep(part);
                self.returned = true;
            } else if self.begun.is_empty() {
                out(&part[..part.len().min(LINE_BYTES)]);
            } else {
                self.keep(part);
                out(&self.begun);
                self.begun.clear();
            }
        }
    }

    /// No more comes, or what comes next does not follow: what is there of a line is one.
    pub fn end(&mut self, out: impl FnOnce(&[u8])) {
        if !self.begun.is_empty() {
            out(&self.begun);
        }
        // A stream that stands still need not hold the room.
        self.begun = Vec::new();
        self.returned = false;
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LINE_BYTES - self.begun.len();
        self.begun.extend_from_slice(&part[..part.len().min(room)]);
    }
}
