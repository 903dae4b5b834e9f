//! Undoes the escapes of a JSON string that comes in pieces, cut anywhere. What is no escape stays as it is.

/// The longest escape: a surrogate pair.
const LONGEST: usize = 12;

/// An escape whose end has not come.
#[derive(Clone, Debug, Default)]
pub struct Unescape {
    held: [u8; LONGEST],
    len: usize,
}

impl Unescape {
    /// A string is over; half an escape at its end is dropped.
    pub fn reset(&mut self) {
        self.len = 0;
    }

    pub fn push(&mut self, mut bytes: &[u8], out: &mut impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            if self.len == 0 {
                let plain = memchr::memchr(b'\\', bytes).unwrap_or(bytes.len());
                if plain != 0 {
                    out(&bytes[..plain]);
                }
                bytes = &bytes[plain..];
                let Some((first, rest)) = bytes.split_first() else { return };
                self.hold(*first);
                bytes = rest;
                continue;
            }
            let next = bytes[0];
            if self.wants(next) {
                self.hold(next);
                bytes = &bytes[1..];
                if !self.is_whole() {
                    continue;
                }
            }
            self.tell(out);
        }
    }

    fn hold(&mut self, byte: u8) {
        self.held[self.len] = byte;
        self.len += 1;
    }

    /// Whether this byte goes on with the escape.
    fn wants(&self, next: u8) -> bool {
        match self.len {
            1 => true,
            2..=5 | 8..=11 => next.is_ascii_hexdigit(),
            6 => next == b'\\',
            7 => next == b'u',
            _ => false,
        }
    }

    /// Nothing can follow: a first half of a pair waits for the second.
    fn is_whole(&self) -> bool {
        match self.len {
            2 => self.held[1] != b'u',
            6 => !matches!(self.unit(2), Some(0xd800..=0xdbff)),
            LONGEST => true,
            _ => false,
        }
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let digits = std::str::from_utf8(&self.held[at..at + 4]).ok()?;
        u32::from_str_radix(digits, 16).ok()
    }

    fn tell(&mut self, out: &mut impl FnMut(&[u8])) {
        let len = std::mem::take(&mut self.len);
        let mut tell = |sign: char| out(sign.encode_utf8(&mut [0; 4]).as_bytes());
        match (len, self.held[1]) {
            (2, b'n') => tell('\n'),
            (2, b't') => tell('\t'),
            (2, b'r') => tell('\r'),
            (2, b'b') => tell('\u{8}'),
            (2, b'f') => tell('\u{c}'),
            (2, b'u') | (3..=5, _) => tell(char::REPLACEMENT_CHARACTER),
            (2, _) => out(&self.held[1..2]),
            (LONGEST, _) => {
                let (high, low) = (self.unit(2).unwrap_or(0), self.unit(8).unwrap_or(0));
                let sign = char::decode_utf16([high as u16, low as u16]).next().and_then(Result::ok);
                tell(sign.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (6.., _) => tell(self.unit(2).and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)),
            _ => {}
        }
        // The backslash after half a pair begins another escape.
        if (7..LONGEST).contains(&len) {
            self.hold(b'\\');
            if len > 7 {
                self.hold(b'u');
                let digits: Vec<u8> = self.held[8..len].to_vec();
                digits.into_iter().for_each(|digit| self.hold(digit));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(inside: &[u8], size: usize) -> String {
        let (mut unescape, mut out) = (Unescape::default(), Vec::new());
        inside.chunks(size).for_each(|piece| unescape.push(piece, &mut |text| out.extend_from_slice(text)));
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn escapes_are_undone() {
        let inside = br#"a\n\"\\\/\u0040\u00e9\ud83d\ude00 \q \ud83dx \ud83d\u0041."#;
        for size in [1, 2, 3, 7, 100] {
            assert_eq!(read(inside, size), "a\n\"\\/@\u{e9}\u{1f600} q \u{fffd}x \u{fffd}.", "{size}");
        }
    }

    proptest! {
        #[test]
        fn what_json_writes_is_read_back(text in "\\PC{0,40}", size in 1usize..9) {
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(read(&quoted.as_bytes()[1..quoted.len() - 1], size), text);
        }

        #[test]
        fn any_bytes_are_fine_in_any_pieces(bytes in prop::collection::vec(any::<u8>(), 0..60), size in 1usize..9) {
            prop_assert_eq!(read(&bytes, size), read(&bytes, 100));
        }

        #[test]
        fn any_escapes_are_fine_in_any_pieces(text in "[\\\\u0-9a-fd]{0,40}", size in 1usize..9) {
            prop_assert_eq!(read(text.as_bytes(), size), read(text.as_bytes(), 100));
        }
    }
}
