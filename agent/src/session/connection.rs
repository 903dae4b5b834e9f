//! One connection: where each direction stands and the requests in flight in their order. `request.rs` and
//! `response.rs` follow the two directions, `closing.rs` ends what is left. A place in the stream that is not certain
//! any more gives up what is in flight: no record at all rather than a wrong one.

use std::collections::VecDeque;

use inferscope_abi::{DIR_RX, FAMILY_UNIX, Network, PAYLOAD_FIRST, PayloadHeader, Snapshot};

use super::Limits;
use super::closing::Gone;
use super::crowd::Crowds;
use super::exchange::{Ending, Exchange, Mark, Role};
use super::hops::{Ends, Hops};
use super::http1::{self, Begins};
use super::open::Open;
use super::request::RequestSide;
use super::response::{ResponseSide, ResponseState};
use super::stats::{Fault, Stats};
use crate::decode::Payload;
use crate::privacy::Guard;

/// A connection that fails to read as HTTP so often without one complete exchange speaks something else.
const BARREN: u8 = 8;

/// What a connection needs from its owner while it takes an event.
pub(super) struct Context<'a> {
    pub limits: &'a Limits,
    pub stats: &'a mut Stats,
    /// Sockets whose payload is of no more use.
    pub useless: &'a mut Useless,
    pub crowds: &'a mut Crowds,
    pub hops: &'a mut Hops,
    /// What may be kept of texts.
    pub guard: &'a Guard,
    pub out: &'a mut dyn FnMut(Exchange),
}

/// Sockets to leave out of the capture, until the owner asks for them.
#[derive(Default)]
pub(super) struct Useless(pub Vec<u64>);

impl Useless {
    const MOST: usize = 1024;

    /// What finds no room is ignored here all the same; it only costs its capture.
    pub fn add(&mut self, socket: u64) {
        if self.0.len() < Self::MOST {
            self.0.push(socket);
        }
    }
}

/// When and by whom the bytes of one record were moved.
pub(super) struct Moment<'a> {
    /// Bytes that are written exist when the call begins, bytes that are read when it returns.
    pub begin_ns: u64,
    pub end_ns: u64,
    pub tgid: u32,
    pub service: u32,
    pub network: &'a Network,
    snapshot: &'a Snapshot,
}

impl<'a> Moment<'a> {
    fn of(head: &'a PayloadHeader) -> Self {
        let end_ns = head.header.at_ns;
        let begin_ns = if head.direction == DIR_RX { end_ns } else { head.enter_ns };
        let (network, snapshot) = (&head.network, &head.snapshot);
        Moment { begin_ns, end_ns, tgid: head.header.tgid, service: head.service, network, snapshot }
    }

    pub fn begin(&self) -> Mark {
        Mark { at_ns: self.begin_ns, service: self.service, snapshot: *self.snapshot }
    }

    pub fn end(&self) -> Mark {
        Mark { at_ns: self.end_ns, service: self.service, snapshot: *self.snapshot }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The place in both directions is known.
    In,
    /// It is not; the next record that begins with a request takes the connection up again.
    Out,
    /// Not HTTP/1 any more, or over: nothing is parsed until the socket is closed.
    Ignored,
}

pub(super) struct Connection {
    socket: u64,
    pub role: Role,
    pub server_port: u16,
    pub ends: Option<Ends>,
    /// Who moved the last bytes.
    pub tgid: u32,
    pub last_ns: u64,
    step: Step,
    pub request: RequestSide,
    pub response: ResponseSide,
    /// Requests without their whole response, oldest first.
    pub in_flight: VecDeque<Box<Open>>,
    /// A request was seen to come before the response to the one before it was out.
    pub pipelined: bool,
    /// The last response bytes without a request in flight.
    pub unasked_ns: u64,
    /// Whether the response to a request that was given up may still come.
    doubted: bool,
    /// Times that what came was not HTTP, since the last complete exchange.
    pub barren: u8,
    /// Set when the peer was seen to be gone.
    pub gone: Option<Gone>,
}

impl Connection {
    /// A connection that begins with this record, if the record begins with a request.
    pub fn begin(p: &Payload<'_>) -> Option<Self> {
        let first = p.head.flags & PAYLOAD_FIRST != 0;
        match http1::request_begins(p.data) {
            Begins::Yes => {}
            Begins::Perhaps if first && !p.data.is_empty() => {}
            _ => return None,
        }
        let role = if p.head.direction == DIR_RX { Role::Server } else { Role::Client };
        let port = if role == Role::Server { p.head.local_port } else { p.head.remote_port };
        Some(Connection {
            socket: p.head.socket,
            role,
            server_port: if p.head.family == FAMILY_UNIX { 0 } else { port },
            ends: Ends::of(&p.head),
            tgid: p.head.header.tgid,
            last_ns: p.head.header.at_ns,
            step: Step::In,
            request: RequestSide::new(p.head.offset),
            response: ResponseSide::new(first),
            in_flight: VecDeque::new(),
            pipelined: false,
            unasked_ns: 0,
            doubted: false,
            barren: 0,
            gone: None,
        })
    }

    pub fn payload(&mut self, p: &Payload<'_>, cx: &mut Context<'_>) {
        self.last_ns = p.head.header.at_ns;
        self.tgid = p.head.header.tgid;
        if self.step == Step::Ignored {
            return;
        }
        if p.head.direction == DIR_RX {
            self.gone = self.gone.filter(|gone| gone.reset);
        }
        let is_request = (p.head.direction == DIR_RX) == (self.role == Role::Server);
        let moment = Moment::of(&p.head);
        let jump = self.advance(p, is_request);
        if is_request {
            self.doubt(cx);
        } else if self.doubted_answer_came(jump, &moment) {
            cx.stats.fault(Fault::Pipelined);
            return self.give_up(cx);
        }
        if self.step == Step::In
            && let Err(fault) = jump.and_then(|jump| self.bridge(jump, is_request, cx))
        {
            self.lose(fault, is_request, cx);
        }
        if self.step == Step::Out && !(is_request && self.rejoin(p.data)) {
            cx.stats.bytes_skipped += p.data.len() as u64;
            if !is_request {
                self.unasked_ns = moment.begin_ns;
            }
            return;
        }
        self.note_sending(p, is_request);
        if let Err(fault) = self.follow(p, is_request, &moment, cx) {
            self.lose(fault, is_request, cx);
        }
    }

    fn note_sending(&mut self, p: &Payload<'_>, is_request: bool) {
        if is_request || self.role != Role::Server {
            return;
        }
        if let Some(open) = self.in_flight.front_mut() {
            open.sent(&p.head);
        }
    }

    pub fn is_followed(&self) -> bool {
        self.step == Step::In
    }

    /// Moves a direction's position to the end of a record; gives the bytes before it that never came.
    fn advance(&mut self, p: &Payload<'_>, is_request: bool) -> Result<u64, Fault> {
        let next = if is_request { &mut self.request.next } else { &mut self.response.next };
        match next.replace(p.head.offset.saturating_add(u64::from(p.head.length))) {
            Some(expected) => p.head.offset.checked_sub(expected).ok_or(Fault::OffsetBack),
            // How much went before is not known, a response to what is in flight perhaps.
            None => Err(Fault::MidConnection),
        }
    }

    /// The stream of a direction is known to reach as far as `moved`; what was not seen of it was lost.
    pub fn missed_until(&mut self, moved: u64, is_request: bool, cx: &mut Context<'_>) {
        let next = if is_request { &mut self.request.next } else { &mut self.response.next };
        let seen = next.unwrap_or(0);
        if moved <= seen {
            return;
        }
        *next = Some(moved);
        if self.step == Step::In
            && let Err(fault) = self.bridge(moved - seen, is_request, cx)
        {
            self.lose(fault, is_request, cx);
        }
    }

    fn bridge(&mut self, jump: u64, is_request: bool, cx: &mut Context<'_>) -> Result<(), Fault> {
        if jump == 0 {
            return Ok(());
        }
        cx.stats.bytes_left_out += jump;
        if is_request { self.request_gap(jump, None) } else { self.response_gap(jump, None, cx) }
    }

    /// A request comes, and what was passed over before it may have been the response to the one in flight.
    fn doubt(&mut self, cx: &mut Context<'_>) {
        if self.step != Step::In || self.in_flight.is_empty() || !self.request.between_messages() {
            return;
        }
        if let ResponseState::Seek { doubtful: true } = self.response.state {
            self.lose(Fault::ResponseHead, true, cx);
            self.doubted = true;
        }
    }

    /// The next response bytes decide: if none are missing before them, the doubted request may be what they answer.
    fn doubted_answer_came(&mut self, jump: Result<u64, Fault>, moment: &Moment<'_>) -> bool {
        std::mem::take(&mut self.doubted)
            && jump == Ok(0)
            && self.in_flight.front().is_some_and(|open| moment.begin_ns >= open.exchange.start.at_ns)
    }

    /// The bytes of a record, then those that it stands for and does not hold.
    fn follow(
        &mut self,
        p: &Payload<'_>,
        is_request: bool,
        moment: &Moment<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        if is_request {
            self.request_bytes(p.data, moment, cx)?;
        } else {
            self.response_bytes(p.data, moment, cx)?;
        }
        let left_out = u64::from(p.head.length).saturating_sub(p.data.len() as u64);
        if left_out == 0 || self.step != Step::In {
            return Ok(());
        }
        cx.stats.bytes_left_out += left_out;
        if is_request {
            self.request_gap(left_out, Some(moment))
        } else {
            self.response_gap(left_out, Some(moment), cx)
        }
    }

    fn rejoin(&mut self, data: &[u8]) -> bool {
        if http1::request_begins(data) != Begins::Yes {
            return false;
        }
        self.step = Step::In;
        true
    }

    /// Gives up what is in flight and waits for the next request.
    fn lose(&mut self, fault: Fault, is_request: bool, cx: &mut Context<'_>) {
        cx.stats.fault(fault);
        cx.stats.resyncs += 1;
        // A request whose head is too long, or for which there is no room, is in flight nowhere; servers answer it.
        cx.stats.exchanges_lost += u64::from(is_request && matches!(fault, Fault::HeadTooLong | Fault::InFlight));
        if !fault.is_loss() {
            self.barren = self.barren.saturating_add(1);
        }
        // Requests that were really sent ahead leave an unknown number of responses to come. More than two in flight
        // are no sign of it where responses were lost.
        let unpaired = self.pipelined || fault == Fault::InFlight || is_request && self.in_flight.len() > 2;
        self.step = Step::Out;
        self.drop_in_flight(cx);
        if unpaired {
            cx.stats.fault(Fault::Pipelined);
        }
        if unpaired || self.barren >= BARREN {
            self.give_up(cx);
        }
    }

    pub fn drop_in_flight(&mut self, cx: &mut Context<'_>) {
        cx.stats.exchanges_lost += self.in_flight.len() as u64;
        self.in_flight = VecDeque::new();
        self.request.reset();
        self.response.reset();
    }

    /// Parses nothing more on this connection.
    pub fn ignore(&mut self, cx: &mut Context<'_>) {
        self.drop_in_flight(cx);
        self.step = Step::Ignored;
    }

    /// Nothing that comes on this connection can be used.
    pub fn give_up(&mut self, cx: &mut Context<'_>) {
        self.ignore(cx);
        cx.useless.add(self.socket);
    }

    /// Ends a request, at an instant of its own if it was cut off. A hop was part of another request, and is only counted.
    pub fn hand_on(&self, open: Box<Open>, ending: Ending, cut_off_ns: Option<u64>, cx: &mut Context<'_>) {
        if open.is_hop || open.within && self.leads_home(open.exchange.service, cx) {
            cx.stats.hops += 1;
            return;
        }
        (cx.out)(match cut_off_ns {
            Some(at_ns) => open.cut_off(ending, at_ns),
            None => open.finish(ending),
        });
    }

    pub fn leads_home(&self, service: u32, cx: &Context<'_>) -> bool {
        self.ends.is_some_and(|ends| cx.hops.lead_home(ends, service))
    }

    /// Takes the oldest request off; a request body that still comes belongs to nobody then.
    pub fn pop_front(&mut self) -> Option<Box<Open>> {
        let open = self.in_flight.pop_front();
        if self.in_flight.is_empty() {
            self.request.detach();
            if self.in_flight.capacity() > 4 {
                self.in_flight = VecDeque::new();
            }
        }
        open
    }
}
