//! Which trace a request belongs to: that of its `traceparent`, else the one that its `x-request-id` names, else a new one.
//! Makes the ids; whether they are exported is decided elsewhere.

use crate::{correlate::Request, privacy::Content};

pub type TraceId = [u8; 16];
pub type SpanId = [u8; 8];

/// W3C trace flags: the caller records this trace.
const SAMPLED: u8 = 1;
/// Bits of OTLP's span flags: whether the parent is of another process is known, and it is.
const KNOWS_REMOTE: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// A finished request with the ids of its span.
#[derive(Debug)]
pub struct Finished<'a> {
    pub request: &'a Request,
    /// For a log; never on a span.
    pub content: Option<&'a Content>,
    pub trace: TraceId,
    pub span: SpanId,
    /// The caller's span.
    pub parent: Option<SpanId>,
    flags: u8,
}

/// Makes a span's id.
pub fn span_id() -> SpanId {
    fastrand::u64(1..).to_be_bytes()
}

impl<'a> Finished<'a> {
    /// Finds or makes the ids.
    pub fn new(request: &'a Request, content: Option<&'a Content>) -> Self {
        let caller = request.traceparent.as_deref().and_then(traceparent);
        let named = || request.request_id.as_deref().and_then(uuid);
        let (trace, parent, flags) = match caller {
            Some((trace, parent, flags)) => (trace, Some(parent), flags),
            None => (named().unwrap_or_else(|| fastrand::u128(1..).to_be_bytes()), None, SAMPLED),
        };
        Self { request, content, trace, span: span_id(), parent, flags }
    }

    /// Whether the caller records its trace; so does one that nobody else knows of.
    pub fn sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// OTLP's flags of the request's own span.
    pub fn flags(&self) -> u32 {
        u32::from(self.flags) | KNOWS_REMOTE | if self.parent.is_some() { REMOTE } else { 0 }
    }

    /// OTLP's flags of a span below it.
    pub fn child_flags(&self) -> u32 {
        u32::from(self.flags) | KNOWS_REMOTE
    }
}

/// Trace, parent and flags of a version-00 header, or of a later one, which begins alike.
fn traceparent(header: &str) -> Option<(TraceId, SpanId, u8)> {
    let mut parts = header.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let [version] = hex::<1>(version)?;
    let (trace, parent, [flags]) = (hex::<16>(trace)?, hex::<8>(parent)?, hex::<1>(flags)?);
    (version != 0xff && trace != [0; 16] && parent != [0; 8]).then_some((trace, parent, flags))
}

/// A UUID, with its dashes or without.
fn uuid(text: &str) -> Option<TraceId> {
    let dashed = text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-');
    let digits = if dashed { text.replace('-', "") } else { text.to_owned() };
    hex::<16>(&digits).filter(|id| *id != [0; 16])
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (value(pair[0])? * 16 + value(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_trace_is_joined_named_or_new() {
        let header = |text: &str| Some(text.to_owned());
        let ids = |traceparent: Option<String>, request_id: Option<String>| {
            let request = Request { traceparent, request_id, ..Request::default() };
            let finished = Finished::new(&request, None);
            (u128::from_be_bytes(finished.trace), finished.parent, finished.sampled(), finished.flags())
        };
        let trace = u128::from_str_radix(TRACE, 16).unwrap();
        let parent = Some(0xb7ad6b7169203331_u64.to_be_bytes());
        let joined = ids(header(&format!("00-{TRACE}-b7ad6b7169203331-01")), header("x"));
        assert_eq!(joined, (trace, parent, true, 0x301));
        let unsampled = ids(header(&format!("00-{TRACE}-b7ad6b7169203331-00")), None);
        assert_eq!(unsampled, (trace, parent, false, 0x300));
        for named in [TRACE, "0AF76519-16CD-43dd-8448-eb211c80319c"] {
            assert_eq!(ids(None, header(named)), (trace, None, true, 0x101), "{named}");
        }
        for (traceparent, request_id) in [
            (None, None),
            (None, header("req-1")),
            (None, header("0af7651916cd43dd-448eb211c80319cxx")),
            (None, header("00000000-0000-0000-0000-000000000000")),
            (None, header("äaf7651916cd43dd8448eb211c80319")),
            (header("00-00000000000000000000000000000000-b7ad6b7169203331-01"), None),
            (header(&format!("00-{TRACE}-0000000000000000-01")), None),
            (header(&format!("ff-{TRACE}-b7ad6b7169203331-01")), None),
            (header(TRACE), None),
        ] {
            let (made, parent, sampled, _) = ids(traceparent.clone(), request_id.clone());
            assert!(made != trace && made != 0 && parent.is_none() && sampled, "{traceparent:?} {request_id:?}");
            assert_ne!(made, ids(traceparent, request_id).0);
        }
    }
}
