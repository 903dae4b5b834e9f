//! What the front of an engine (its HTTP process) says to its core over ZeroMQ, and what comes back: requests and the
//! tokens made of them. [`Engines`] owns the streams; [`ledger`] knows each request until its HTTP exchange asks for it.
//! Ids, counts and instants are all that leaves this module; prompts and token ids are walked over.

mod frames;
mod ledger;
mod sglang;
#[cfg(test)]
mod tests;
mod vllm;

use inferscope_abi::{DIR_RX, DIR_TX, PAYLOAD_FIRST};
use rustc_hash::FxHashMap;

use self::frames::{Frame, Piece, Stream};
use self::ledger::Ledger;
use super::exchange::{Exchange, Role};
use super::stats::Stats;
use crate::decode::Payload;

/// Connections between fronts and cores; each has two, and there is one pair per front and core.
const STREAMS: usize = 1024;
/// Messages that mean nothing here, in a row, after which a connection is none of ours.
const BARREN: u32 = 64;

/// A request as the front hands it to the core.
#[derive(Debug, PartialEq, Eq)]
struct Added<'a> {
    id: &'a str,
    prompt_tokens: Option<u64>,
}

/// What a reply says of one request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Output<'a> {
    id: &'a str,
    /// Made since the last reply.
    tokens: u64,
    /// All made so far, by engines that say that.
    tokens_in_all: Option<u64>,
    finish: Option<&'static str>,
    /// Of the core's own clock, which is ours.
    queued_ns: Option<u64>,
    scheduled_ns: Option<u64>,
    preemptions: u32,
    prompt_tokens: Option<u64>,
    cached_tokens: Option<u64>,
}

/// One reply.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reply<'a> {
    outputs: Vec<Output<'a>>,
    running: Option<u64>,
    waiting: Option<u64>,
    /// Its end was not captured: it may tell of more requests.
    cut: bool,
    /// It is a core's reply even where it tells of no request, as its answers to the front's own calls do.
    sound: bool,
}

/// What the first frame of a message was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Opening {
    #[default]
    Other,
    Add,
    Abort,
}

struct Known {
    tgid: u32,
    stream: Stream,
    opening: Opening,
    barren: u32,
}

/// Every followed connection between a front and a core, by the inode of its socket, and the requests on them.
#[derive(Default)]
pub(super) struct Engines {
    streams: FxHashMap<u64, Known>,
    ledger: Ledger,
}

impl Engines {
    /// One record of such a connection. True if the connection turns out to be something else.
    pub fn payload(&mut self, p: &Payload<'_>, stats: &mut Stats) -> bool {
        if p.head.flags & PAYLOAD_FIRST != 0 {
            self.streams.remove(&p.head.socket);
        }
        if !self.streams.contains_key(&p.head.socket) {
            if self.streams.len() >= STREAMS {
                stats.engine_frames_lost += 1;
                return true;
            }
            let (tgid, stream) = (p.head.header.tgid, Stream::new(p.head.offset));
            let known = Known { tgid, stream, opening: Opening::Other, barren: 0 };
            self.streams.insert(p.head.socket, known);
            if p.head.flags & PAYLOAD_FIRST == 0 {
                stats.engine_frames_lost += 1;
                self.ledger.doubt(p.head.service);
            } else if p.head.direction == DIR_RX {
                self.ledger.begun(p.head.service);
            }
        }
        let Self { streams, ledger } = self;
        let Some(Known { stream, opening, barren, .. }) = streams.get_mut(&p.head.socket) else { return false };
        let (sent, service) = (p.head.direction == DIR_TX, p.head.service);
        let at_ns = if sent { p.head.enter_ns } else { p.head.header.at_ns };
        stream.record(p, &mut |piece| {
            let Piece::Frame(frame) = piece else {
                stats.engine_frames_lost += 1;
                return ledger.doubt(service);
            };
            let known = if sent {
                request(ledger, opening, &frame, service, at_ns)
            } else {
                replied(ledger, &frame, service, at_ns)
            };
            *barren = if known { 0 } else { barren.saturating_add(1) };
        });
        *barren > BARREN
    }

    /// A socket was closed.
    pub fn close(&mut self, socket: u64) {
        self.streams.remove(&socket);
    }

    /// A process ended; its sockets closed without a call.
    pub fn process_exit(&mut self, tgid: u32) {
        self.streams.retain(|_, known| known.tgid != tgid);
    }

    pub fn knows(&self, socket: u64) -> bool {
        self.streams.contains_key(&socket)
    }

    /// Gives a finished exchange what is known of its way through the engine.
    pub fn join(&mut self, exchange: &mut Exchange) {
        if self.ledger.is_empty() || exchange.role != Role::Server {
            return;
        }
        if let Some(id) = exchange.llm.as_ref().and_then(|llm| llm.id.as_deref()) {
            exchange.engine = self.ledger.take(exchange.service, id).map(Box::new);
        }
    }

    /// Forgets requests that no exchange asked for.
    pub fn tick(&mut self, now_ns: u64) {
        self.ledger.tick(now_ns);
    }

    /// Requests for which there was no room.
    pub fn refused(&self) -> u64 {
        self.ledger.refused
    }
}

/// One frame from front to core; true if it means something.
fn request(ledger: &mut Ledger, opening: &mut Opening, frame: &Frame<'_>, service: u32, at_ns: u64) -> bool {
    if frame.index == 0 {
        *opening = match frame.bytes {
            [0] => Opening::Add,
            [1] => Opening::Abort,
            _ => Opening::Other,
        };
        if let Some(added) = sglang::request(frame.bytes) {
            ledger.added(service, &added, at_ns);
            return true;
        }
        return frame.bytes.len() == 1;
    }
    match (*opening, frame.index) {
        (Opening::Add, 1) => {
            let added = vllm::request(frame.bytes);
            if let Some(added) = &added {
                ledger.added(service, added, at_ns);
            }
            added.is_some()
        }
        (Opening::Abort, 1) => vllm::aborted(frame.bytes, &mut |id| ledger.aborted(id)),
        _ => true,
    }
}

/// One frame from core to front; true if it means something.
fn replied(ledger: &mut Ledger, frame: &Frame<'_>, service: u32, at_ns: u64) -> bool {
    if frame.index != 0 {
        return true;
    }
    let Some(mut reply) = vllm::reply(frame.bytes).or_else(|| sglang::reply(frame.bytes)) else { return false };
    reply.cut |= !frame.whole;
    ledger.replied(service, &reply, at_ns);
    !reply.outputs.is_empty() || reply.running.is_some() || reply.sound
}

/// For fuzzing: any bytes as frames of both directions; how many requests and outputs were read.
#[doc(hidden)]
pub fn any_frame(bytes: &[u8]) -> usize {
    let requests = usize::from(vllm::request(bytes).is_some()) + usize::from(sglang::request(bytes).is_some());
    let mut aborted = 0;
    vllm::aborted(bytes, &mut |_| aborted += 1);
    let outputs = |reply: Option<Reply<'_>>| reply.map_or(0, |reply| reply.outputs.len());
    requests + aborted + outputs(vllm::reply(bytes)) + outputs(sglang::reply(bytes))
}
