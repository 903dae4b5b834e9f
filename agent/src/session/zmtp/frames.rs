//! ZMTP 3 framing (RFC 23) of one direction of a connection: records in, frames out. What was not captured is stepped
//! over where a frame's length says how far; where it does not, the next record that begins with a message is waited for.

use inferscope_abi::DIR_TX;

use crate::decode::Payload;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;
/// A length beyond this is none.
const LONGEST: u64 = 1 << 40;
/// Bytes kept of a request's frame, which names it at its beginning, and of a reply's, which can tell of many.
const REQUEST_BYTES: usize = 4 << 10;
const REPLY_BYTES: usize = 256 << 10;
/// Frames of a message after these are tensors.
const FRAMES: u32 = 2;

/// One frame of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its place in the message.
    pub index: u32,
    /// As far as they were captured without a gap, and are of use.
    pub bytes: &'a [u8],
    /// Whether that is all of it.
    pub whole: bool,
}

/// What a stream gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Frame(Frame<'a>),
    /// Frames are missing before the next one.
    Lost,
}

#[derive(Debug)]
enum Place {
    /// Some bytes of a frame's head.
    Head {
        bytes: [u8; 9],
        have: usize,
    },
    Body {
        flags: u8,
        left: u64,
        whole: bool,
    },
    /// Until a record begins with a message.
    Lost,
}

const HEAD: Place = Place::Head { bytes: [0; 9], have: 0 };

/// Where one direction stands.
#[derive(Debug)]
pub struct Stream {
    /// Position after the last record.
    next: u64,
    place: Place,
    index: u32,
    /// Of a frame that came in pieces.
    kept: Vec<u8>,
}

impl Stream {
    /// A stream whose first record, at `offset`, begins with a message.
    pub fn new(offset: u64) -> Self {
        Self { next: offset, place: Place::Lost, index: 0, kept: Vec::new() }
    }

    /// One record, its frames to `out`.
    pub fn record(&mut self, p: &Payload<'_>, out: &mut impl FnMut(Piece<'_>)) {
        let sent = p.head.direction == DIR_TX;
        match p.head.offset.checked_sub(self.next) {
            Some(0) => {}
            Some(missing) => self.gap(missing, out),
            None => self.lose(out),
        }
        self.next = p.head.offset.saturating_add(u64::from(p.head.length));
        if matches!(self.place, Place::Lost) && begins_message(p.data, sent) {
            (self.place, self.index) = (HEAD, 0);
        }
        self.feed(p.data, if sent { REQUEST_BYTES } else { REPLY_BYTES }, out);
        self.gap(u64::from(p.head.length).saturating_sub(p.data.len() as u64), out);
    }

    fn lose(&mut self, out: &mut impl FnMut(Piece<'_>)) {
        if !matches!(self.place, Place::Lost) {
            self.place = Place::Lost;
            self.kept = Vec::new();
            out(Piece::Lost);
        }
    }

    /// Bytes that were not captured.
    fn gap(&mut self, bytes: u64, out: &mut impl FnMut(Piece<'_>)) {
        if bytes == 0 {
            return;
        }
        match &mut self.place {
            Place::Body { left, whole, .. } if *left >= bytes => {
                *left -= bytes;
                *whole = false;
                if *left == 0 {
                    self.end(&[], out);
                }
            }
            Place::Body { whole, .. } => {
                *whole = false;
                self.end(&[], out);
                self.lose(out);
            }
            _ => self.lose(out),
        }
    }

    fn feed(&mut self, mut data: &[u8], most: usize, out: &mut impl FnMut(Piece<'_>)) {
        while !data.is_empty() {
            match &mut self.place {
                Place::Lost => return,
                Place::Head { bytes, have } => {
                    let wanted = if *have == 0 || bytes[0] & LONG == 0 { 2 } else { 9 };
                    let take = data.len().min(wanted - *have);
                    bytes[*have..*have + take].copy_from_slice(&data[..take]);
                    *have += take;
                    data = &data[take..];
                    let (bytes, have) = (*bytes, *have);
                    self.head(bytes, have, out);
                }
                Place::Body { left, whole, .. } => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                    let (piece, rest) = data.split_at(take);
                    *left -= take as u64;
                    data = rest;
                    if *left == 0 {
                        self.end(piece, out);
                    } else if self.index < FRAMES && *whole {
                        let room = most.saturating_sub(self.kept.len());
                        *whole = piece.len() <= room;
                        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
                    }
                }
            }
        }
    }

    /// Takes a frame's head once it is there.
    fn head(&mut self, bytes: [u8; 9], have: usize, out: &mut impl FnMut(Piece<'_>)) {
        let flags = bytes[0];
        if flags > MORE | LONG | COMMAND {
            return self.lose(out);
        }
        if have < 2 || flags & LONG != 0 && have < 9 {
            return;
        }
        let [_, length @ ..] = bytes;
        let left = if flags & LONG != 0 { u64::from_be_bytes(length) } else { u64::from(bytes[1]) };
        if left > LONGEST {
            return self.lose(out);
        }
        self.place = Place::Body { flags, left, whole: true };
        if left == 0 {
            self.end(&[], out);
        }
    }

    /// A frame ends with `piece`.
    fn end(&mut self, piece: &[u8], out: &mut impl FnMut(Piece<'_>)) {
        let Place::Body { flags, whole, .. } = std::mem::replace(&mut self.place, HEAD) else { return };
        if flags & COMMAND == 0 && self.index < FRAMES {
            if self.kept.is_empty() {
                out(Piece::Frame(Frame { index: self.index, bytes: piece, whole }));
            } else {
                if whole {
                    self.kept.extend_from_slice(piece);
                }
                out(Piece::Frame(Frame { index: self.index, bytes: &self.kept, whole }));
            }
        }
        self.kept.clear();
        self.kept.shrink_to(REPLY_BYTES);
        self.index = if flags & MORE == 0 { 0 } else { self.index.saturating_add(1) };
    }
}

/// Whether bytes begin what a front writes (`sent`) or reads; as the kernel side looks at a connection that it does not
/// know.
pub fn begins_message(data: &[u8], sent: bool) -> bool {
    let is_array = |byte: u8| byte & 0xf0 == 0x90 || byte == 0xdc;
    let (flags, body) = match data {
        [flags @ (0 | MORE), _, body @ ..] => (*flags, body),
        [flags @ 2..=3, 0, 0, 0, 0, _, _, _, _, body @ ..] => (*flags, body),
        _ => return false,
    };
    let inside = match body {
        [0x80, 4 | 5, ..] if flags & MORE == 0 => return true,
        [..=5, ..=3, ..] if sent && data[..2] == [MORE, 1] => return true,
        [0xdc, _, _, inside @ ..] => inside,
        [array, inside @ ..] if is_array(*array) => inside,
        _ => return false,
    };
    match inside {
        [0xa0..=0xbf, b'A'..=b'Z', ..] => flags & MORE == 0,
        [array, ..] if is_array(*array) => !sent,
        [..=0x7f, array, ..] => !sent && is_array(*array),
        _ => false,
    }
}
