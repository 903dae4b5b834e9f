//! A raw-socket HTTP/1.1 client for LLM servers that stamps every read. It is the independent witness of the live
//! tests and benches, so it shares no code with the agent.

use crate::clock::now_ns;
use crate::outcome::Outcome;
pub use crate::request::Request;
use crate::transport::Target;
use crate::wire::{Body, Head, take_event};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

/// A connection that carries one request after the other.
pub struct Client {
    target: Target,
    timeout: Duration,
    connection: Option<File>,
    raw: Vec<u8>,
}

impl Client {
    pub fn new(target: &Target) -> Self {
        Self { target: target.clone(), timeout: Duration::from_secs(120), connection: None, raw: Vec::new() }
    }

    /// Sends `request` on the open connection, or on a new one, and reads its response to the end. A response that
    /// breaks off is an outcome with a `failure`; an error means that the request could not be sent at all.
    /// A server may close a connection that it kept while the next request is on its way: such a request, of which not
    /// one byte was answered, is sent again on a new connection, as every client does.
    pub fn send(&mut self, request: &Request) -> Result<Outcome> {
        let kept = self.connection.is_some();
        let outcome = self.send_once(request)?;
        if kept && outcome.failure.is_some() && outcome.bytes_received == 0 {
            return self.send_once(request);
        }
        Ok(outcome)
    }

    fn send_once(&mut self, request: &Request) -> Result<Outcome> {
        let (head, body) = request.parts(self.target.host());
        if self.connection.is_none() {
            self.connection = Some(match request.receive_buffer {
                Some(bytes) => self.target.connect_narrow(self.timeout, bytes)?,
                None => self.target.connect(self.timeout)?,
            });
            self.raw.clear();
        }
        let mut connection = self.connection.take().context("connected above")?;
        let mut outcome = Outcome { path: request.path.clone(), stream: request.stream, ..Outcome::default() };
        outcome.bytes_sent = (head.len() + body.len()) as u64;
        outcome.t_send_ns = now_ns();
        let result = self.transmit(&mut connection, request, head, body);
        let result = result.and_then(|()| self.receive(&mut connection, request, &mut outcome));
        if outcome.t_end_ns == 0 {
            outcome.t_end_ns = now_ns();
        }
        match result {
            Ok(true) => self.connection = Some(connection),
            Ok(false) => {}
            Err(e) => outcome.failure = Some(format!("{e:#}")),
        }
        Ok(outcome)
    }

    /// Sends several requests before reading, then all responses in order.
    pub fn pipeline(&mut self, requests: &[Request]) -> Result<Vec<Outcome>> {
        let mut connection = self.target.connect(self.timeout)?;
        self.raw.clear();
        let mut all = Vec::new();
        for r in requests {
            all.extend(r.to_bytes(self.target.host()));
        }
        let t_send_ns = now_ns();
        connection.write_all(&all)?;
        let mut outcomes = Vec::new();
        for r in requests {
            let mut o = Outcome { path: r.path.clone(), stream: r.stream, t_send_ns, ..Outcome::default() };
            self.receive(&mut connection, r, &mut o)?;
            if o.t_end_ns == 0 {
                o.t_end_ns = now_ns();
            }
            outcomes.push(o);
        }
        Ok(outcomes)
    }

    fn transmit(&mut self, connection: &mut File, request: &Request, head: Vec<u8>, body: Vec<u8>) -> Result<()> {
        if request.expect_continue {
            connection.write_all(&head)?;
            loop {
                if let Some(interim) = Head::take(&mut self.raw)? {
                    if interim.status != 100 {
                        bail!("{} in place of 100 Continue", interim.status);
                    }
                    break;
                }
                if self.read(connection, request)? == 0 {
                    bail!("closed before 100 Continue");
                }
            }
            connection.write_all(&body)?;
            return Ok(());
        }
        let all = [head, body].concat();
        for piece in all.chunks(all.len().div_ceil(request.writes.max(1))) {
            connection.write_all(piece)?;
        }
        Ok(())
    }

    fn read(&mut self, connection: &mut File, request: &Request) -> Result<usize> {
        if let Some(pause) = request.slow {
            std::thread::sleep(pause);
        }
        let mut buf = [0; 65536];
        let size = request.read_size.clamp(1, buf.len());
        loop {
            match connection.read(&mut buf[..size]) {
                Ok(n) => {
                    self.raw.extend_from_slice(&buf[..n]);
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("read"),
            }
        }
    }

    /// Reads one response. True when the connection can carry another.
    fn receive(&mut self, connection: &mut File, request: &Request, o: &mut Outcome) -> Result<bool> {
        let mut head: Option<(Head, Body)> = None;
        let mut body = Vec::new();
        loop {
            if head.is_none() {
                head = match Head::take(&mut self.raw)? {
                    Some(h) if h.status < 200 => continue,
                    Some(h) => {
                        o.status = h.status;
                        let framing = Body::of(&h)?;
                        Some((h, framing))
                    }
                    None => None,
                };
            }
            let mut complete = false;
            if let Some((h, framing)) = &mut head {
                complete = framing.feed(&mut self.raw, &mut body)?;
                let events = event_lines(h);
                if absorb(o, &mut body, events, complete, request.abort_after) {
                    o.aborted = true;
                    o.t_end_ns = now_ns();
                    return Ok(false);
                }
            }
            if complete {
                let close = head.as_ref().and_then(|(h, _)| h.get("connection")) == Some("close");
                return Ok(!close && !request.close);
            }
            let n = self.read(connection, request)?;
            o.t_end_ns = now_ns();
            o.reads += 1;
            o.bytes_received += n as u64;
            if o.t_first_byte_ns == 0 {
                o.t_first_byte_ns = o.t_end_ns;
            }
            if n == 0 {
                return match &head {
                    Some((h, Body::UntilClose)) => {
                        absorb(o, &mut body, event_lines(h), true, None);
                        Ok(false)
                    }
                    _ => bail!("closed inside the response"),
                };
            }
        }
    }
}

/// Whether the body is a stream of events, and if so, whether it is NDJSON.
fn event_lines(head: &Head) -> Option<bool> {
    let kind = head.get("content-type").unwrap_or_default();
    if kind.contains("event-stream") {
        return Some(false);
    }
    kind.contains("ndjson").then_some(true)
}

/// Takes what is complete out of `body`. True when it is time for this client to go away.
fn absorb(o: &mut Outcome, body: &mut Vec<u8>, events: Option<bool>, complete: bool, abort_after: Option<u64>) -> bool {
    let at_ns = o.t_end_ns;
    if let Some(ndjson) = events {
        while let Some(data) = take_event(body, ndjson) {
            if let Ok(v) = serde_json::from_slice(&data) {
                o.absorb(&v, at_ns);
            }
            if abort_after.is_some_and(|n| o.content_chunks >= n) {
                return true;
            }
        }
    } else if complete && let Ok(v) = serde_json::from_slice(body) {
        o.absorb(&v, at_ns);
    }
    false
}
