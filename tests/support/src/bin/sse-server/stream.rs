//! Streamed responses: an answer's events, framed, batched and paced as the behaviour says, with a turn for the worse
//! in the middle if it asks for one. The loop writes ready-made bytes, so that it can stream as fast as the socket takes.

use crate::behaviour::{Behaviour, Framing, Turn};
use crate::content::{Content, Script};
use crate::respond::{Next, break_off, frame, head, next};
use crate::socket::Socket;
use crate::stats::Stats;
use std::io::Result;
use std::time::Duration;

struct Wire<'a> {
    socket: &'a Socket,
    how: &'a Behaviour,
    /// Bytes that wait to leave together with the next ones.
    held: Vec<u8>,
}

impl Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.held.is_empty() {
            return self.socket.write_all(self.how, bytes);
        }
        self.held.extend_from_slice(bytes);
        self.flush()
    }

    fn write_or_hold(&mut self, bytes: &[u8], hold: bool) -> Result<()> {
        if hold {
            self.held.extend_from_slice(bytes);
            return Ok(());
        }
        self.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        self.socket.write_all(self.how, &held)
    }

    /// The framed bytes of `n` content chunks.
    fn batch(&self, content: &Content, at: u64, n: u64) -> Vec<u8> {
        let events: Vec<&[u8]> = (at..at + n).map(|i| content.get(i)).collect();
        frame(self.how, &events.concat())
    }

    /// Content chunks `from..to`, `per_write` at a time.
    fn content(&mut self, content: &Content, from: u64, to: u64) -> Result<()> {
        let full = self.how.per_write;
        let same = matches!(content, Content::Same(..)) && from + full <= to;
        let ready = if same { self.batch(content, from, full) } else { Vec::new() };
        let pause = Duration::from_micros(self.how.delay_us);
        let mut at = from;
        while at < to {
            let n = full.min(to - at);
            if at > 0 && !pause.is_zero() {
                std::thread::sleep(pause);
            }
            if n == full && same {
                self.write(&ready)?;
            } else {
                self.write(&self.batch(content, at, n))?;
            }
            Stats::add(&self.socket.stats.content_chunks, n);
            at += n;
        }
        Ok(())
    }
}

/// Writes a streamed response.
pub fn stream(socket: &Socket, how: &Behaviour, script: &Script) -> Result<Next> {
    let mut wire = Wire { socket, how, held: Vec::new() };
    let length = (how.framing == Framing::Length).then(|| body_bytes(how, script));
    wire.write_or_hold(&head(how, 200, script.content_type, length, "cache-control: no-cache\r\n"), how.head_together)?;
    if how.pings {
        wire.write_or_hold(&frame(how, ping(how).as_bytes()), how.head_together)?;
    }
    std::thread::sleep(Duration::from_millis(how.prefill_ms));
    for event in &script.before {
        wire.write_or_hold(&frame(how, event), how.head_together)?;
    }
    let total = script.content.count();
    let turn_at = how.turn.map_or(total, |_| how.at.min(total));
    wire.content(&script.content, 0, turn_at)?;
    if let Some(turn) = how.turn {
        wire.flush()?;
        if let Some(next) = take_turn(&mut wire, script, turn)? {
            return Ok(next);
        }
        wire.content(&script.content, turn_at, total)?;
    }
    end(&mut wire, &script.after)?;
    Ok(next(how))
}

fn ping(how: &Behaviour) -> String {
    format!(": ping{0}{0}", how.eol())
}

fn body_bytes(how: &Behaviour, script: &Script) -> usize {
    let events: usize = script.before.iter().chain(&script.after).map(Vec::len).sum();
    events + script.content.bytes() + if how.pings { ping(how).len() } else { 0 }
}

fn end(wire: &mut Wire, after: &[Vec<u8>]) -> Result<()> {
    let together = wire.how.tail_together;
    for event in after {
        wire.write_or_hold(&frame(wire.how, event), together)?;
    }
    let last: &[u8] = if wire.how.framing == Framing::Chunked { b"0\r\n\r\n" } else { b"" };
    wire.write(last)
}

/// The odd thing in the middle. Some(next) when it ends the response.
fn take_turn(wire: &mut Wire, script: &Script, turn: Turn) -> Result<Option<Next>> {
    let how = wire.how;
    let eol = how.eol();
    match turn {
        Turn::Abort | Turn::Close | Turn::Replace | Turn::CloseRange | Turn::Kill => {
            break_off(wire.socket, turn);
            Ok(Some(Next::Close))
        }
        Turn::Error => {
            wire.write(&frame(how, &script.error))?;
            end(wire, &[])?;
            Ok(Some(next(how)))
        }
        Turn::LyingChunk => {
            let event = script.content.get(0);
            let mut lie = format!("{:x}\r\n", event.len() + 7).into_bytes();
            lie.extend_from_slice(event);
            lie.extend_from_slice(b"\r\n");
            wire.write(&lie)?;
            Ok(Some(Next::Close))
        }
        Turn::Garbage => {
            let noise: Vec<u8> = (0..997u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            wire.write(&frame(how, &noise)).map(|()| None)
        }
        Turn::HalfJson => {
            let half = format!("data: {{\"id\":\"half\",\"choices\":[{{\"delta\":{{\"cont{eol}{eol}");
            wire.write(&frame(how, half.as_bytes())).map(|()| None)
        }
        Turn::LongLine => {
            let long = format!("data: {{\"filler\":\"{}\"}}{eol}{eol}", "x".repeat(10 << 20));
            wire.write(&frame(how, long.as_bytes())).map(|()| None)
        }
        Turn::BadUtf8 => {
            let mut bad = b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\xfe\xc3\x28\"}}]}".to_vec();
            bad.extend_from_slice(format!("{eol}{eol}").as_bytes());
            wire.write(&frame(how, &bad)).map(|()| None)
        }
    }
}
