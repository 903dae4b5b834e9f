//! How one response is given: every knob, its default, and its spelling in flags (`-s KEY=VALUE`) and request headers
//! (`x-test-KEY: VALUE`).

use anyhow::{Result, bail};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    Write,
    Send,
    Writev,
    Sendmsg,
    Sendmmsg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    Read,
    Recv,
    Readv,
    Recvmsg,
    Recvmmsg,
    /// recv with MSG_PEEK, then the same bytes again for good.
    Peek,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Chunked,
    Length,
    /// The body ends where the connection does.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// As the dialect has it: OpenAI streams only when `stream_options.include_usage` asks.
    Auto,
    Never,
    Always,
}

/// What happens in the middle of a stream, after `at` content chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The dialect's error event, then a proper end.
    Error,
    /// Connection reset.
    Abort,
    /// Connection closed with the response incomplete.
    Close,
    /// The same, by another file that takes the descriptor's place (dup2).
    Replace,
    /// The same, by close_range.
    CloseRange,
    /// The serving process kills itself.
    Kill,
    /// Random bytes in the stream.
    Garbage,
    /// An event whose JSON stops half-way; the stream goes on.
    HalfJson,
    /// One line of 10 MB.
    LongLine,
    /// An event with bytes that are not UTF-8.
    BadUtf8,
    /// A chunk whose size line says 7 bytes too many.
    LyingChunk,
}

#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Output tokens; otherwise the request's limit, otherwise 16.
    pub tokens: Option<u64>,
    /// Input tokens; otherwise the number of words in the prompt.
    pub input: Option<u64>,
    pub cached: u64,
    /// Pause between two writes with content.
    pub delay_us: u64,
    /// Pause before the first content.
    pub prefill_ms: u64,
    /// Tokens in one event.
    pub per_chunk: u64,
    /// Events in one write.
    pub per_write: u64,
    /// Writes that each batch of bytes is cut into; 0 means single bytes.
    pub split: usize,
    /// Buffers (writev, sendmsg) or messages (sendmmsg) of one call.
    pub iovecs: usize,
    /// Head, opening events and first content in one write.
    pub head_together: bool,
    /// Closing events and the end of the body in one write.
    pub tail_together: bool,
    pub crlf: bool,
    pub framing: Framing,
    pub writer: Writer,
    pub reader: Reader,
    /// Most bytes asked for in one read.
    pub read_size: usize,
    pub nonblocking: bool,
    pub done: bool,
    pub usage: Usage,
    /// Comment lines and empty events before the first content.
    pub pings: bool,
    pub status: u16,
    pub turn: Option<Turn>,
    /// Content chunks before the turn.
    pub at: u64,
    /// Bytes that are no HTTP in place of a response.
    pub garbage_head: bool,
    pub gzip: bool,
    /// Answer on a duplicate of the connection's descriptor, the original closed.
    pub dup: bool,
    pub finish: Option<String>,
    pub keep_alive: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            tokens: None,
            input: None,
            cached: 0,
            delay_us: 0,
            prefill_ms: 0,
            per_chunk: 1,
            per_write: 1,
            split: 1,
            iovecs: 3,
            head_together: false,
            tail_together: false,
            crlf: false,
            framing: Framing::Chunked,
            writer: Writer::Write,
            reader: Reader::Read,
            read_size: 65536,
            nonblocking: false,
            done: true,
            usage: Usage::Auto,
            pings: false,
            status: 200,
            turn: None,
            at: 3,
            garbage_head: false,
            gzip: false,
            dup: false,
            finish: None,
            keep_alive: true,
        }
    }
}

impl Behaviour {
    /// Sets one knob by its spelling.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let switch = || value != "0" && value != "no";
        match key {
            "tokens" => self.tokens = Some(value.parse()?),
            "input" => self.input = Some(value.parse()?),
            "cached" => self.cached = value.parse()?,
            "delay-us" => self.delay_us = value.parse()?,
            "prefill-ms" => self.prefill_ms = value.parse()?,
            "per-chunk" => self.per_chunk = value.parse::<u64>()?.max(1),
            "per-write" => self.per_write = value.parse::<u64>()?.max(1),
            "split" => self.split = value.parse()?,
            "iovecs" => self.iovecs = value.parse::<usize>()?.clamp(1, 64),
            "head" => self.head_together = value == "together",
            "tail" => self.tail_together = value == "together",
            "eol" => self.crlf = value == "crlf",
            "framing" => self.framing = framing(value)?,
            "writer" => self.writer = writer(value)?,
            "reader" => self.reader = reader(value)?,
            "read-size" => self.read_size = value.parse::<usize>()?.clamp(1, 65536),
            "nonblocking" => self.nonblocking = switch(),
            "done" => self.done = switch(),
            "usage" => self.usage = usage(value)?,
            "pings" => self.pings = switch(),
            "status" => self.status = value.parse()?,
            "turn" => self.turn = Some(turn(value)?),
            "at" => self.at = value.parse()?,
            "garbage-head" => self.garbage_head = switch(),
            "gzip" => self.gzip = switch(),
            "dup" => self.dup = switch(),
            "finish" => self.finish = Some(value.to_owned()),
            "keep-alive" => self.keep_alive = switch(),
            _ => bail!("no behaviour is called `{key}`"),
        }
        Ok(())
    }

    pub fn eol(&self) -> &'static str {
        if self.crlf { "\r\n" } else { "\n" }
    }
}

fn framing(value: &str) -> Result<Framing> {
    Ok(match value {
        "chunked" => Framing::Chunked,
        "length" => Framing::Length,
        "close" => Framing::Close,
        _ => bail!("framing is chunked, length or close"),
    })
}

fn writer(value: &str) -> Result<Writer> {
    Ok(match value {
        "write" => Writer::Write,
        "send" => Writer::Send,
        "writev" => Writer::Writev,
        "sendmsg" => Writer::Sendmsg,
        "sendmmsg" => Writer::Sendmmsg,
        _ => bail!("writer is write, send, writev, sendmsg or sendmmsg"),
    })
}

fn reader(value: &str) -> Result<Reader> {
    Ok(match value {
        "read" => Reader::Read,
        "recv" => Reader::Recv,
        "readv" => Reader::Readv,
        "recvmsg" => Reader::Recvmsg,
        "recvmmsg" => Reader::Recvmmsg,
        "peek" => Reader::Peek,
        _ => bail!("reader is read, recv, readv, recvmsg, recvmmsg or peek"),
    })
}

fn usage(value: &str) -> Result<Usage> {
    Ok(match value {
        "auto" => Usage::Auto,
        "never" => Usage::Never,
        "always" => Usage::Always,
        _ => bail!("usage is auto, never or always"),
    })
}

fn turn(value: &str) -> Result<Turn> {
    Ok(match value {
        "error" => Turn::Error,
        "abort" => Turn::Abort,
        "close" => Turn::Close,
        "replace" => Turn::Replace,
        "close-range" => Turn::CloseRange,
        "kill" => Turn::Kill,
        "garbage" => Turn::Garbage,
        "half-json" => Turn::HalfJson,
        "long-line" => Turn::LongLine,
        "bad-utf8" => Turn::BadUtf8,
        "lying-chunk" => Turn::LyingChunk,
        _ => bail!("turn is error, abort, close, kill, garbage, half-json, long-line, bad-utf8 or lying-chunk"),
    })
}
