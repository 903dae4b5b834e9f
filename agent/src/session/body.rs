//! Where a message's body ends. Feeds the body's own bytes on without copying them; framing bytes stay here.
//! Bytes that were not captured are passed on as gaps as long as the place in the framing stays certain.

use super::llm::Piece;
use super::stats::Fault;

/// Extensions of one chunk, in bytes.
const EXTENSION_BYTES: u32 = 4096;
/// All trailer lines of one body, in bytes.
const TRAILER_BYTES: u32 = 64 * 1024;
const SIZE_DIGITS: u32 = 32;

/// A body that has not ended, by its framing (RFC 9112, section 6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes are still to come; never 0.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// What a body took of the bytes it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fed {
    pub used: u64,
    pub done: bool,
}

impl Body {
    pub fn chunked() -> Self {
        Body::Chunked(Chunked { phase: Phase::Size, left: 0, count: 0 })
    }

    /// Takes bytes up to the body's end.
    pub fn feed<'a>(&mut self, data: &'a [u8], sink: &mut impl FnMut(Piece<'a>)) -> Result<Fed, Fault> {
        match self {
            Body::Length(left) => {
                let take = usize::try_from(*left).map_or(data.len(), |left| left.min(data.len()));
                *left -= take as u64;
                sink(Piece::Bytes(&data[..take]));
                Ok(Fed { used: take as u64, done: *left == 0 })
            }
            Body::Chunked(chunked) => chunked.feed(data, sink),
            Body::UntilClose => {
                sink(Piece::Bytes(data));
                Ok(Fed { used: data.len() as u64, done: false })
            }
        }
    }

    /// Passes over bytes that were not captured, up to the body's end.
    pub fn gap<'a>(&mut self, bytes: u64, sink: &mut impl FnMut(Piece<'a>)) -> Result<Fed, Fault> {
        match self {
            Body::Length(left) => {
                let take = bytes.min(*left);
                *left -= take;
                sink(Piece::Gap(take));
                Ok(Fed { used: take, done: *left == 0 })
            }
            Body::Chunked(chunked) => {
                let data = chunked.gap(bytes)?;
                if data > 0 {
                    sink(Piece::Gap(data));
                }
                Ok(Fed { used: bytes, done: false })
            }
            Body::UntilClose => {
                sink(Piece::Gap(bytes));
                Ok(Fed { used: bytes, done: false })
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    EndLf,
}

/// The chunked transfer coding (RFC 9112, section 7.1), byte for byte outside the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    phase: Phase,
    /// The size while it is read, then the data bytes still to come.
    left: u64,
    /// Bytes of the current size, extension or trailer section.
    count: u32,
}

impl Chunked {
    fn feed<'a>(&mut self, data: &'a [u8], sink: &mut impl FnMut(Piece<'a>)) -> Result<Fed, Fault> {
        let mut at = 0;
        while at < data.len() {
            if self.phase == Phase::Data {
                let rest = data.len() - at;
                let take = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                sink(Piece::Bytes(&data[at..at + take]));
                at += take;
                self.left -= take as u64;
                if self.left == 0 {
                    self.phase = Phase::DataCr;
                }
                continue;
            }
            let done = self.step(data[at])?;
            at += 1;
            if done {
                return Ok(Fed { used: at as u64, done });
            }
        }
        Ok(Fed { used: at as u64, done: false })
    }

    /// One byte of framing; true when it was the body's last. A bare LF ends a line too, as most parsers have it.
    fn step(&mut self, byte: u8) -> Result<bool, Fault> {
        match (self.phase, byte) {
            (Phase::Size, b'\n') | (Phase::SizeLf | Phase::Extension, b'\n') => self.size_line_end()?,
            (Phase::Size, b'\r') => self.phase = Phase::SizeLf,
            (Phase::Size, b';' | b' ' | b'\t') if self.count > 0 => (self.phase, self.count) = (Phase::Extension, 1),
            (Phase::Size, _) => self.digit(byte)?,
            (Phase::Extension, _) => self.limit(EXTENSION_BYTES, Fault::ChunkSize)?,
            (Phase::SizeLf, _) => return Err(Fault::ChunkSize),
            (Phase::DataCr, b'\r') => self.phase = Phase::DataLf,
            (Phase::DataCr | Phase::DataLf, b'\n') => (self.phase, self.count) = (Phase::Size, 0),
            (Phase::Data | Phase::DataCr | Phase::DataLf, _) => return Err(Fault::ChunkEnd),
            (Phase::TrailerStart, b'\r') => self.phase = Phase::EndLf,
            (Phase::TrailerStart | Phase::EndLf, b'\n') => return Ok(true),
            (Phase::EndLf, _) => return Err(Fault::ChunkEnd),
            (Phase::Trailer, b'\n') => self.phase = Phase::TrailerStart,
            (Phase::TrailerStart | Phase::Trailer, _) => {
                self.phase = Phase::Trailer;
                self.limit(TRAILER_BYTES, Fault::TrailerTooLong)?;
            }
        }
        Ok(false)
    }

    fn digit(&mut self, byte: u8) -> Result<(), Fault> {
        let digit = char::from(byte).to_digit(16).ok_or(Fault::ChunkSize)?;
        if self.left > u64::MAX >> 4 {
            return Err(Fault::ChunkSize);
        }
        self.left = self.left << 4 | u64::from(digit);
        self.limit(SIZE_DIGITS, Fault::ChunkSize)
    }

    fn size_line_end(&mut self) -> Result<(), Fault> {
        if self.count == 0 {
            return Err(Fault::ChunkSize);
        }
        self.phase = if self.left == 0 { Phase::TrailerStart } else { Phase::Data };
        self.count = 0;
        Ok(())
    }

    fn limit(&mut self, limit: u32, fault: Fault) -> Result<(), Fault> {
        self.count += 1;
        if self.count > limit { Err(fault) } else { Ok(()) }
    }

    /// Passes over a gap that ends within the current chunk or its line end; gives the data bytes in it.
    fn gap(&mut self, bytes: u64) -> Result<u64, Fault> {
        let (data, line_end) = match self.phase {
            Phase::Data => (self.left, 2),
            Phase::DataCr => (0, 2),
            Phase::DataLf => (0, 1),
            _ => return Err(Fault::GapInChunk),
        };
        if bytes < data {
            self.left -= bytes;
            return Ok(bytes);
        }
        self.phase = match line_end - (bytes - data).min(3) as i64 {
            2 => Phase::DataCr,
            1 => Phase::DataLf,
            0 => Phase::Size,
            _ => return Err(Fault::GapInChunk),
        };
        (self.left, self.count) = (0, 0);
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(wire: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), Fault> {
        let mut body = Body::chunked();
        let (mut out, mut used, mut done) = (Vec::new(), 0, false);
        for piece in wire.chunks(step) {
            let fed = body.feed(piece, &mut |p| match p {
                Piece::Bytes(b) => out.extend_from_slice(b),
                Piece::Gap(_) => panic!("no gap was put in"),
            })?;
            used += fed.used as usize;
            if fed.done {
                done = true;
                break;
            }
        }
        Ok((out, used, done))
    }

    #[test]
    fn chunked_bodies() {
        let long_extension = [b"1;".as_slice(), &[b'x'; 5000], b"\r\na\r\n0\r\n\r\n"].concat();
        let long_trailer = [b"0\r\nx: ".as_slice(), &[b'x'; 70_000], b"\r\n\r\n"].concat();
        type Row<'a> = (&'a str, &'a [u8], Result<(&'a [u8], bool), Fault>);
        let rows: &[Row<'_>] = &[
            ("two chunks", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", Ok((b"abcde", true))),
            (
                "upper and lower hex",
                b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
                Ok((b"01234567890123456789", true)),
            ),
            ("extensions", b"3;name=\"v\"\r\nabc\r\n0;last\r\n\r\n", Ok((b"abc", true))),
            ("space after the size", b"3 \r\nabc\r\n0\r\n\r\n", Ok((b"abc", true))),
            ("leading zeros", b"0003\r\nabc\r\n000\r\n\r\n", Ok((b"abc", true))),
            ("trailers", b"1\r\na\r\n0\r\nx-time: 3\r\ny: 4\r\n\r\n", Ok((b"a", true))),
            ("bare line feeds", b"1\na\n0\n\n", Ok((b"a", true))),
            ("not ended", b"5\r\nabc", Ok((b"abc", false))),
            ("largest size", b"ffffffffffffffff\r\nabc", Ok((b"abc", false))),
            ("size overflow", b"10000000000000000\r\nabc", Err(Fault::ChunkSize)),
            ("size of nothing", b"\r\nabc", Err(Fault::ChunkSize)),
            ("extension of nothing", b";a\r\nabc", Err(Fault::ChunkSize)),
            ("negative size", b"-1\r\nabc", Err(Fault::ChunkSize)),
            ("size too small", b"2\r\nabc\r\n0\r\n\r\n", Err(Fault::ChunkEnd)),
            ("no end of zeros", &[b'0'; 40], Err(Fault::ChunkSize)),
            ("extension too long", &long_extension, Err(Fault::ChunkSize)),
            ("trailer too long", &long_trailer, Err(Fault::TrailerTooLong)),
        ];
        for (name, wire, want) in rows {
            for step in [1, 2, 7, wire.len()] {
                let got = decode(wire, step);
                let want = want.map(|(data, done)| (data.to_vec(), wire.len(), done));
                assert_eq!(got, want, "{name}, {step} at a time");
            }
        }
    }

    #[test]
    fn a_body_ends_before_what_follows_it() {
        assert_eq!(decode(b"1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK", 64), Ok((b"a".to_vec(), 11, true)));
        let mut body = Body::Length(3);
        assert_eq!(body.feed(b"abcGET /", &mut |_| ()), Ok(Fed { used: 3, done: true }));
    }

    #[test]
    fn gaps() {
        // Framing before the gap, gap, data bytes in it or fault, framing after it, whether that ends the body.
        type Row<'a> = (&'a [u8], u64, Result<u64, Fault>, &'a [u8], bool);
        let rows: &[Row<'_>] = &[
            (b"6\r\nab", 3, Ok(3), b"f\r\n0\r\n\r\n", true),
            (b"6\r\nab", 4, Ok(4), b"\r\n0\r\n\r\n", true),
            (b"6\r\nab", 5, Ok(4), b"\n0\r\n\r\n", true),
            (b"6\r\nab", 6, Ok(4), b"0\r\n\r\n", true),
            (b"6\r\nab", 7, Err(Fault::GapInChunk), b"", false),
            (b"6\r\nab", u64::MAX, Err(Fault::GapInChunk), b"", false),
            (b"2\r\nab", 2, Ok(0), b"0\r\n\r\n", true),
            (b"2\r\nab\r", 1, Ok(0), b"0\r\n\r\n", true),
            (b"2\r\nab\r", 2, Err(Fault::GapInChunk), b"", false),
            (b"2\r\nab\r\n", 1, Err(Fault::GapInChunk), b"", false),
            (b"2", 1, Err(Fault::GapInChunk), b"", false),
            (b"0\r\n", 2, Err(Fault::GapInChunk), b"", false),
        ];
        for (before, gap, want, after, done) in rows {
            let mut body = Body::chunked();
            body.feed(before, &mut |_| ()).expect("valid framing");
            let mut seen = 0;
            let got = body.gap(*gap, &mut |p| match p {
                Piece::Gap(n) => seen += n,
                Piece::Bytes(_) => panic!("a gap has no bytes"),
            });
            assert_eq!(got.map(|_| seen), *want, "{before:?} {gap}");
            if want.is_ok() {
                assert_eq!(body.feed(after, &mut |_| ()).map(|fed| fed.done), Ok(*done), "{before:?} {gap}");
            }
        }
        let mut body = Body::Length(10);
        assert_eq!(body.gap(12, &mut |_| ()), Ok(Fed { used: 10, done: true }));
    }
}
