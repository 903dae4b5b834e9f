//! The client's view of a response: head, body framing and events, fed with bytes as they arrive.

use anyhow::{Context, Result, bail, ensure};

#[derive(Debug, Default)]
pub(crate) struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// Takes a complete head off the front of `bytes`, if there is one.
    pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            ensure!(bytes.len() < 1 << 16, "a response head without end");
            ensure!(bytes.len() < 5 || bytes.starts_with(b"HTTP/"), "not an HTTP response");
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..end]).context("a response head that is no text")?;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let Some(status) = first.strip_prefix("HTTP/1.1 ").and_then(|r| r.get(..3)) else {
            bail!("`{first}` is no status line")
        };
        let status = status.parse().context("status")?;
        let headers = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned()))
            .collect();
        bytes.drain(..end + 4);
        Ok(Some(Self { status, headers }))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// How the body ends, and how much of it is still to come.
#[derive(Debug)]
pub(crate) enum Body {
    Length(usize),
    /// Bytes left of the current chunk, its CRLF included; None before a size line.
    Chunked(Option<usize>),
    UntilClose,
    Complete,
}

impl Body {
    pub fn of(head: &Head) -> Result<Self> {
        if head.get("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            return Ok(Body::Chunked(None));
        }
        Ok(match head.get("content-length") {
            Some(n) => Body::Length(n.parse().context("content-length")?),
            None => Body::UntilClose,
        })
    }

    /// Moves body bytes from `raw` to `body`; true when the body is complete.
    pub fn feed(&mut self, raw: &mut Vec<u8>, body: &mut Vec<u8>) -> Result<bool> {
        loop {
            match self {
                Body::Complete => return Ok(true),
                Body::UntilClose => {
                    body.append(raw);
                    return Ok(false);
                }
                Body::Length(left) => {
                    let n = raw.len().min(*left);
                    body.extend(raw.drain(..n));
                    *left -= n;
                    if *left > 0 {
                        return Ok(false);
                    }
                    *self = Body::Complete;
                }
                Body::Chunked(None) => {
                    let Some(end) = raw.windows(2).position(|w| w == b"\r\n") else { return Ok(false) };
                    let line = std::str::from_utf8(&raw[..end]).context("chunk size")?;
                    let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                        .with_context(|| format!("`{line}` is no chunk size"))?;
                    if size == 0 && raw.len() < end + 4 {
                        return Ok(false);
                    }
                    raw.drain(..end + 2);
                    if size == 0 {
                        raw.drain(..2);
                    }
                    *self = if size == 0 { Body::Complete } else { Body::Chunked(Some(size + 2)) };
                }
                Body::Chunked(Some(left)) => {
                    let n = raw.len().min(*left);
                    let content = n.min(left.saturating_sub(2));
                    body.extend_from_slice(&raw[..content]);
                    let ended = raw.get(content..n).is_some_and(|t| b"\r\n".ends_with(t) || b"\r\n".starts_with(t));
                    ensure!(ended, "a chunk does not end where its size says");
                    raw.drain(..n);
                    *left -= n;
                    if *left > 0 {
                        return Ok(false);
                    }
                    *self = Body::Chunked(None);
                }
            }
        }
    }
}

/// Takes the next complete event's data off the front of an SSE body (LF or CRLF, data lines joined), or the next
/// line of an NDJSON body.
pub(crate) fn take_event(body: &mut Vec<u8>, ndjson: bool) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut at = 0;
    loop {
        let end = at + body.get(at..)?.iter().position(|b| *b == b'\n')?;
        let line = body[at..end].strip_suffix(b"\r").unwrap_or(&body[at..end]);
        at = end + 1;
        if ndjson || line.is_empty() {
            if ndjson {
                data = line.to_vec();
            }
            body.drain(..at);
            return Some(data);
        }
        if let Some(text) = line.strip_prefix(b"data:") {
            if !data.is_empty() {
                data.push(b'\n');
            }
            data.extend_from_slice(text.strip_prefix(b" ").unwrap_or(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunked_bodies_byte_by_byte_and_at_once() {
        let wire = b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\nrest";
        for step in [1, 3, 100] {
            let (mut raw, mut body, mut how) = (Vec::new(), Vec::new(), Body::Chunked(None));
            let mut complete = false;
            for piece in wire.chunks(step) {
                raw.extend_from_slice(piece);
                if !complete {
                    complete = how.feed(&mut raw, &mut body).unwrap();
                }
            }
            assert!(complete);
            assert_eq!((body.as_slice(), raw.as_slice()), (&b"hello!"[..], &b"rest"[..]), "step {step}");
        }
    }

    #[test]
    fn a_lying_chunk_is_an_error() {
        let (mut raw, mut body) = (b"3\r\nhello\r\n".to_vec(), Vec::new());
        assert!(Body::Chunked(None).feed(&mut raw, &mut body).is_err());
    }

    #[test]
    fn events_of_both_line_ends() {
        let mut body = b": ping\n\ndata: a\ndata: b\n\nevent: x\r\ndata:c\r\n\r\ndata: d\n".to_vec();
        assert_eq!(take_event(&mut body, false).unwrap(), b"");
        assert_eq!(take_event(&mut body, false).unwrap(), b"a\nb");
        assert_eq!(take_event(&mut body, false).unwrap(), b"c");
        assert_eq!(take_event(&mut body, false), None);
        assert_eq!(body, b"data: d\n");
    }
}
