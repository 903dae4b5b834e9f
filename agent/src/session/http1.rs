//! One HTTP/1 head to what the session needs of it: names cut to bounded length, the body's framing, a few headers.
//! Stateless; what a header says is taken as the watched program would take it, not policed.

use std::mem::MaybeUninit;
use std::str;

use httparse::Header;

use super::body::Body;
use super::stats::Fault;

const METHOD_BYTES: usize = 32;
const PATH_BYTES: usize = 512;
const REQUEST_ID_BYTES: usize = 128;
const HEADERS: usize = 128;

/// The first bytes of an HTTP/2 connection, up to where a head ends.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
const RESPONSE_START: &[u8] = b"HTTP/1.";

/// Whether bytes begin a message, as far as they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    Yes,
    /// Too short to tell.
    Perhaps,
    No,
}

/// A request begins with a method and a space.
pub(super) fn request_begins(data: &[u8]) -> Begins {
    for (i, byte) in data.iter().take(METHOD_BYTES).enumerate() {
        match byte {
            b'A'..=b'Z' | b'-' | b'_' => {}
            b' ' if i > 2 => return Begins::Yes,
            _ => return Begins::No,
        }
    }
    if data.len() < METHOD_BYTES { Begins::Perhaps } else { Begins::No }
}

pub(super) fn response_begins(data: &[u8]) -> Begins {
    let n = data.len().min(RESPONSE_START.len());
    match data[..n] == RESPONSE_START[..n] {
        false => Begins::No,
        true if n < RESPONSE_START.len() => Begins::Perhaps,
        true => Begins::Yes,
    }
}

/// Where the head ends that begins at 0: the position after its empty line. `from`: bytes known not to hold the end.
pub(super) fn head_end(data: &[u8], from: usize) -> Option<usize> {
    // An end may begin up to two bytes before the bytes that are new.
    let from = from.saturating_sub(2);
    memchr::memchr_iter(b'\n', data.get(from..)?).map(|i| from + i + 1).find_map(|at| match data.get(at..)? {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub method: String,
    /// Without query, scheme and authority.
    pub path: String,
    pub body: Option<Body>,
    /// `Expect: 100-continue`: the body may never come.
    pub expect: bool,
    /// The body has a content coding: its bytes are not the message's text.
    pub encoded: bool,
    pub traceparent: Option<String>,
    pub request_id: Option<String>,
}

#[derive(Debug)]
pub(super) enum Request {
    Http1(RequestHead),
    Http2,
}

/// Reads a whole request head.
pub(super) fn request(head: &[u8]) -> Result<Request, Fault> {
    if head == HTTP2_PREFACE {
        return Ok(Request::Http2);
    }
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut headers) {
        Ok(httparse::Status::Complete(_)) => {}
        // httparse wants a target of valid UTF-8, servers do not.
        Err(httparse::Error::Token) => return request(&with_valid_target(head).ok_or(Fault::RequestHead)?),
        _ => return Err(Fault::RequestHead),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else { return Err(Fault::RequestHead) };
    let facts = Facts::read(parsed.headers)?;
    let body = match facts.transfer {
        Transfer::Chunked => Some(Body::chunked()),
        // RFC 9112, section 6.3: the length of such a request cannot be known.
        Transfer::Other => return Err(Fault::TransferEncoding),
        Transfer::None => facts.length.filter(|n| *n > 0).map(Body::Length),
    };
    let path = if method == "CONNECT" { target } else { path_of(target) };
    Ok(Request::Http1(RequestHead {
        method: cut(method, METHOD_BYTES).to_owned(),
        path: cut(path, PATH_BYTES).to_owned(),
        body,
        expect: facts.expect,
        encoded: facts.encoded,
        traceparent: facts.traceparent.map(str::to_owned),
        request_id: facts.request_id.map(str::to_owned),
    }))
}

#[derive(Debug)]
pub(super) struct ResponseHead<'h, 'b> {
    pub status: u16,
    pub headers: &'h [Header<'b>],
    /// By the headers alone: the request's method and the status may say that there is none.
    pub body: Option<Body>,
    pub encoded: bool,
    pub request_id: Option<&'b str>,
}

/// Reads a whole response head and shows it to `read`.
pub(super) fn response<T>(head: &[u8], read: impl FnOnce(ResponseHead<'_, '_>) -> T) -> Result<T, Fault> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .parse_response_with_uninit_headers(&mut parsed, head, &mut headers);
    let (Ok(httparse::Status::Complete(_)), Some(code)) = (status, parsed.code) else {
        return Err(Fault::ResponseHead);
    };
    let facts = Facts::read(parsed.headers)?;
    let body = match (facts.transfer, facts.length) {
        (Transfer::Chunked, _) => Some(Body::chunked()),
        (Transfer::Other, _) | (Transfer::None, None) => Some(Body::UntilClose),
        (Transfer::None, Some(0)) => None,
        (Transfer::None, Some(n)) => Some(Body::Length(n)),
    };
    let (encoded, request_id) = (facts.encoded, facts.request_id);
    Ok(read(ResponseHead { status: code, headers: parsed.headers, body, encoded, request_id }))
}

enum Transfer {
    None,
    Chunked,
    Other,
}

/// What the headers of either direction say.
struct Facts<'a> {
    transfer: Transfer,
    length: Option<u64>,
    expect: bool,
    encoded: bool,
    traceparent: Option<&'a str>,
    request_id: Option<&'a str>,
}

impl<'a> Facts<'a> {
    fn read(headers: &[Header<'a>]) -> Result<Self, Fault> {
        let mut facts = Facts {
            transfer: Transfer::None,
            length: None,
            expect: false,
            encoded: false,
            traceparent: None,
            request_id: None,
        };
        for Header { name, value } in headers {
            // The length tells most headers apart at no cost.
            match name.len() {
                6 if name.eq_ignore_ascii_case("expect") => facts.expect = value.eq_ignore_ascii_case(b"100-continue"),
                11 if name.eq_ignore_ascii_case("traceparent") => {
                    facts.traceparent = str::from_utf8(value).ok().filter(|v| is_traceparent(v));
                }
                12 if name.eq_ignore_ascii_case("x-request-id") => facts.request_id = request_id(value),
                14 if name.eq_ignore_ascii_case("content-length") => facts.add_length(value)?,
                16 if name.eq_ignore_ascii_case("content-encoding") => {
                    facts.encoded |= is_coded(value);
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => facts.add_transfer(value),
                _ => {}
            }
        }
        Ok(facts)
    }

    /// Repeated lengths must agree (RFC 9110, section 8.6).
    fn add_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        for item in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            let digits = str::from_utf8(item).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
            let length: u64 = digits.and_then(|v| v.parse().ok()).ok_or(Fault::ContentLength)?;
            if self.length.is_some_and(|known| known != length) {
                return Err(Fault::ContentLength);
            }
            self.length = Some(length);
        }
        Ok(())
    }

    /// The last coding decides how the body ends; any other codes its bytes.
    fn add_transfer(&mut self, value: &[u8]) {
        for coding in value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|c| !c.is_empty()) {
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.transfer = Transfer::Chunked;
            } else {
                self.transfer = Transfer::Other;
                self.encoded |= is_coded(coding);
            }
        }
    }
}

/// Whether a `Content-Encoding` codes the body. `none` is no coding, but servers say it to keep proxies from adding one.
pub(super) fn is_coded(value: &[u8]) -> bool {
    let plain = |coding: &[u8]| {
        coding.is_empty() || [b"identity".as_slice(), b"none"].iter().any(|plain| coding.eq_ignore_ascii_case(plain))
    };
    !value.split(|b| *b == b',').map(<[u8]>::trim_ascii).all(plain)
}

/// The head with a valid target, if invalid UTF-8 in it was what is wrong.
fn with_valid_target(head: &[u8]) -> Option<Vec<u8>> {
    let line_end = memchr::memchr(b'\n', head)?;
    let (line, rest) = head.split_at(line_end);
    str::from_utf8(line).err()?;
    let mut repaired = String::from_utf8_lossy(line).into_owned().into_bytes();
    repaired.extend_from_slice(rest);
    Some(repaired)
}

/// Path of a target in origin, absolute or asterisk form.
fn path_of(target: &str) -> &str {
    let target = match target.split_once("://") {
        Some((scheme, rest))
            if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
                && !scheme.is_empty() =>
        {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    match target.find(['?', '#']) {
        Some(0) => "/",
        Some(at) => &target[..at],
        None => target,
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// W3C Trace Context, section 3.2: version, trace id, parent id, flags; ids not all zero.
fn is_traceparent(value: &str) -> bool {
    let fields: [&str; 4] = match value.split('-').collect::<smallvec::SmallVec<[_; 5]>>().as_slice() {
        [version, trace, parent, flags] => [version, trace, parent, flags],
        _ => return false,
    };
    let hex = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |s: &str| s.bytes().all(|b| b == b'0');
    fields.iter().zip([2, 32, 16, 2]).all(|(field, len)| field.len() == len && hex(field))
        && fields[0] != "ff"
        && !zero(fields[1])
        && !zero(fields[2])
}

fn request_id(value: &[u8]) -> Option<&str> {
    let value = str::from_utf8(value.trim_ascii()).ok()?;
    (!value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic())).then(|| cut(value, REQUEST_ID_BYTES))
}

#[cfg(test)]
#[path = "http1_test.rs"]
mod tests;
