//! Reads HTTP/1.1 requests off a connection: keep-alive, pipelining, bodies of either framing, 100-continue.

use crate::behaviour::Behaviour;
use crate::socket::Socket;
use anyhow::{Context, Result, bail, ensure};

pub struct Request {
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Value of the header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The default behaviour with this request's `x-test-` headers applied.
    pub fn behaviour(&self, base: &Behaviour) -> Result<Behaviour> {
        let mut out = base.clone();
        for (name, value) in &self.headers {
            if let Some(key) = name.strip_prefix("x-test-") {
                out.set(key, value)?;
            }
        }
        if self.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")) {
            out.keep_alive = false;
        }
        Ok(out)
    }
}

/// Bytes read and not yet taken.
#[derive(Default)]
pub struct Inbox(Vec<u8>);

impl Inbox {
    /// The next request, or None when the client has closed between two.
    pub fn next(&mut self, socket: &mut Socket, how: &Behaviour) -> Result<Option<Request>> {
        let end = loop {
            if let Some(at) = self.0.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            if !self.fill(socket, how)? {
                ensure!(self.0.is_empty(), "the client closed inside a request head");
                return Ok(None);
            }
        };
        let mut request = parse_head(&self.0[..end])?;
        self.0.drain(..end + 4);
        let here = request.behaviour(how)?;
        socket.counted = !request.path.starts_with("/test/");
        socket.set_nonblocking(here.nonblocking);
        if request.header("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
            socket.write_all(&here, b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        request.body = self.body(socket, &here, &request)?;
        Ok(Some(request))
    }

    fn fill(&mut self, socket: &Socket, how: &Behaviour) -> Result<bool> {
        let mut buf = [0; 65536];
        let n = socket.read(how, &mut buf)?;
        self.0.extend_from_slice(&buf[..n]);
        Ok(n > 0)
    }

    fn take(&mut self, socket: &Socket, how: &Behaviour, n: usize) -> Result<Vec<u8>> {
        while self.0.len() < n {
            ensure!(self.fill(socket, how)?, "the client closed inside a request body");
        }
        Ok(self.0.drain(..n).collect())
    }

    fn line(&mut self, socket: &Socket, how: &Behaviour) -> Result<String> {
        loop {
            if let Some(at) = self.0.windows(2).position(|w| w == b"\r\n") {
                let line = self.0.drain(..at + 2).take(at).collect();
                return String::from_utf8(line).context("a line that is no text");
            }
            ensure!(self.fill(socket, how)?, "the client closed inside a chunk");
        }
    }

    fn body(&mut self, socket: &Socket, how: &Behaviour, request: &Request) -> Result<Vec<u8>> {
        if request.header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            let mut all = Vec::new();
            loop {
                let size = usize::from_str_radix(self.line(socket, how)?.trim(), 16).context("chunk size")?;
                all.extend(self.take(socket, how, size)?);
                self.line(socket, how)?;
                if size == 0 {
                    return Ok(all);
                }
            }
        }
        let length = request.header("content-length").map_or(Ok(0), str::parse).context("content-length")?;
        self.take(socket, how, length)
    }
}

fn parse_head(head: &[u8]) -> Result<Request> {
    let text = std::str::from_utf8(head).context("a request head that is no text")?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let Some(path) = first.split(' ').nth(1) else { bail!("`{first}` is no request line") };
    let headers = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let path = path.split('?').next().unwrap_or_default().to_owned();
    Ok(Request { path, headers, body: Vec::new() })
}
