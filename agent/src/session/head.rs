//! Finds whole heads in the stream: in place when one record holds the head, else collected in a bounded buffer that
//! lives no longer than the head is incomplete.

use zeroize::Zeroizing;

use super::exchange::Mark;
use super::http1::{self, Begins};
use super::stats::Fault;

/// A head whose end has not come yet.
#[derive(Debug)]
pub(super) struct Partial {
    /// Wiped at the end: heads have keys and cookies in them.
    bytes: Zeroizing<Vec<u8>>,
    /// When its first byte was moved.
    start: Mark,
}

/// A whole head.
pub(super) enum Head<'d> {
    InPlace(&'d [u8], Mark),
    Collected(Box<Partial>),
}

impl Head<'_> {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Head::InPlace(bytes, _) => bytes,
            Head::Collected(partial) => &partial.bytes,
        }
    }

    pub fn start(&self) -> Mark {
        match self {
            Head::InPlace(_, start) => *start,
            Head::Collected(partial) => partial.start,
        }
    }
}

/// How heads of one direction look.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub begins: fn(&[u8]) -> Begins,
    pub fault: Fault,
    pub limit: usize,
}

/// Takes a head from the front of `data`, and the rest; no head while its end has not come.
pub(super) fn take<'d>(
    held: &mut Option<Box<Partial>>,
    data: &'d [u8],
    now: Mark,
    shape: Shape,
) -> Result<(Option<Head<'d>>, &'d [u8]), Fault> {
    let Some(mut partial) = held.take() else {
        let data = after_empty_lines(data);
        if let Some(end) = http1::head_end(data, 0).filter(|end| *end <= shape.limit) {
            let (head, rest) = data.split_at(end);
            return Ok((Some(Head::InPlace(head, now)), rest));
        }
        shape.check(data)?;
        if !data.is_empty() {
            *held = Some(Box::new(Partial { bytes: Zeroizing::new(data.to_vec()), start: now }));
        }
        return Ok((None, &[]));
    };
    let known = partial.bytes.len();
    let fits = data.len().min(shape.limit.saturating_sub(known) + 1);
    if partial.bytes.capacity() < known + fits {
        // A vector that grows by itself leaves what it had behind. Twice the room each time: heads may come byte by byte.
        let room = (2 * (known + fits)).min(shape.limit + 1).max(known + fits);
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        bytes.extend_from_slice(&partial.bytes);
        partial.bytes = bytes;
    }
    partial.bytes.extend_from_slice(&data[..fits]);
    match http1::head_end(&partial.bytes, known).filter(|end| *end <= shape.limit) {
        Some(end) => {
            partial.bytes.truncate(end);
            Ok((Some(Head::Collected(partial)), &data[end - known..]))
        }
        None => {
            shape.check(&partial.bytes)?;
            *held = Some(partial);
            Ok((None, &[]))
        }
    }
}

impl Shape {
    fn check(self, bytes: &[u8]) -> Result<(), Fault> {
        if (self.begins)(bytes) == Begins::No {
            return Err(self.fault);
        }
        if bytes.len() > self.limit { Err(Fault::HeadTooLong) } else { Ok(()) }
    }
}

/// Servers skip empty lines before a request, and some clients send them after a body.
pub(super) fn after_empty_lines(data: &[u8]) -> &[u8] {
    let blank = data.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    &data[blank..]
}
