//! The request direction of a connection: heads open exchanges, bodies go to the newest one.

use inferscope_abi::CANDIDATES;

use super::body::Body;
use super::connection::{Connection, Context, Moment};
use super::exchange::Role;
use super::head::{self, Partial, Shape};
use super::http1::{self, Begins, Request, RequestHead};
use super::llm::Piece;
use super::open::Open;
use super::stats::Fault;

pub(super) struct RequestSide {
    /// Stream offset of the next byte.
    pub next: Option<u64>,
    partial: Option<Box<Partial>>,
    body: Option<RequestBody>,
}

struct RequestBody {
    framing: Body,
    /// Its exchange is the newest in flight; else the response was over first and the bytes are only counted off.
    attached: bool,
    /// Nothing of it has come and the client waits for leave to send it.
    awaited: bool,
}

impl RequestSide {
    pub fn new(offset: u64) -> Self {
        RequestSide { next: Some(offset), partial: None, body: None }
    }

    /// Back to where a head is expected.
    pub fn reset(&mut self) {
        (self.partial, self.body) = (None, None);
    }

    pub fn detach(&mut self) {
        if let Some(body) = &mut self.body {
            body.attached = false;
        }
    }

    pub fn between_messages(&self) -> bool {
        self.partial.is_none() && self.body.is_none()
    }

    pub fn has_partial_head(&self) -> bool {
        self.partial.is_some()
    }
}

impl Connection {
    pub(super) fn request_bytes(
        &mut self,
        mut data: &[u8],
        moment: &Moment<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        // A client that was refused before it sent the body goes on with its next request.
        if self.request.body.as_ref().is_some_and(|body| body.awaited && !body.attached)
            && http1::request_begins(data) != Begins::No
        {
            self.request.body = None;
        }
        while !data.is_empty() && self.is_followed() {
            data = match self.request.body {
                Some(_) => self.request_body(data, moment)?,
                None => self.request_head(data, moment, cx)?,
            };
        }
        Ok(())
    }

    fn request_head<'d>(
        &mut self,
        data: &'d [u8],
        moment: &Moment<'_>,
        cx: &mut Context<'_>,
    ) -> Result<&'d [u8], Fault> {
        let shape = Shape { begins: http1::request_begins, fault: Fault::RequestHead, limit: cx.limits.head_bytes };
        let (found, rest) = head::take(&mut self.request.partial, data, moment.begin(), shape)?;
        let Some(found) = found else { return Ok(rest) };
        match http1::request(found.bytes())? {
            Request::Http2 => {
                cx.stats.http2 += 1;
                self.give_up(cx);
            }
            Request::Http1(_) if self.in_flight.len() >= cx.limits.in_flight_per_connection => {
                return Err(Fault::InFlight);
            }
            Request::Http1(head) => {
                let bytes = found.bytes().len() as u64;
                self.open_exchange(head, bytes, &found, moment, cx);
                // Another thread's record of the response can come before that of the request.
                if found.start().at_ns <= self.unasked_ns {
                    return Err(Fault::ResponseUnasked);
                }
            }
        }
        Ok(rest)
    }

    fn open_exchange(
        &mut self,
        mut head: RequestHead,
        bytes: u64,
        found: &head::Head<'_>,
        moment: &Moment<'_>,
        cx: &mut Context<'_>,
    ) {
        let (body, awaited) = (head.body.take(), head.expect);
        let mut open = Box::new(Open::new(
            self.role,
            self.server_port,
            moment.tgid,
            moment.service,
            found.start(),
            head,
            cx.guard,
        ));
        self.look_for_hop(&mut open, cx);
        if self.role == Role::Server {
            open.began(moment.network, cx.crowds.of(moment.service), self.ends);
        }
        open.read(&cx.limits.wanted, found.bytes());
        open.exchange.request_bytes = bytes;
        open.exchange.end = moment.end();
        match body {
            Some(framing) => self.request.body = Some(RequestBody { framing, attached: true, awaited }),
            None => open.request_end(Some(moment.end())),
        }
        self.in_flight.push_back(open);
    }

    /// Whether an LLM request goes from its service to itself. The record of the other end may be still to come.
    fn look_for_hop(&self, open: &mut Open, cx: &mut Context<'_>) {
        let service = open.exchange.service;
        let Some(ends) = self.ends.filter(|_| open.is_llm() && service != CANDIDATES) else { return };
        cx.hops.saw(ends, service);
        open.within = cx.crowds.of(service).has_any(|from| !from.is_some_and(|from| cx.hops.lead_home(from, service)));
        open.is_hop = open.within && self.leads_home(service, cx);
    }

    fn request_body<'d>(&mut self, data: &'d [u8], moment: &Moment<'_>) -> Result<&'d [u8], Fault> {
        let Some(body) = &mut self.request.body else { return Ok(data) };
        body.awaited = false;
        let mut open = if body.attached { self.in_flight.back_mut() } else { None };
        let fed = body.framing.feed(data, &mut |piece| {
            if let Some(open) = &mut open {
                open.request_piece(piece);
            }
        })?;
        if let Some(open) = &mut open {
            open.exchange.request_bytes += fed.used;
            if open.exchange.first_byte.is_none() {
                open.exchange.end = moment.end();
            }
            if fed.done {
                open.request_end(Some(moment.end()));
            }
        }
        if fed.done {
            self.request.body = None;
        }
        Ok(&data[fed.used as usize..])
    }

    /// `moment`: of the record that ends with these bytes; none if no record stands for them.
    pub(super) fn request_gap(&mut self, bytes: u64, moment: Option<&Moment<'_>>) -> Result<(), Fault> {
        let body = self.request.body.as_mut().ok_or(Fault::GapInHead)?;
        body.awaited = false;
        let mut open = if body.attached { self.in_flight.back_mut() } else { None };
        let fed = body.framing.gap(bytes, &mut |piece: Piece<'_>| {
            if let Some(open) = &mut open {
                open.request_piece(piece);
            }
        })?;
        if let Some(open) = &mut open {
            open.exchange.request_bytes += fed.used;
            if fed.done {
                open.request_end(moment.map(Moment::end));
            }
        }
        if fed.done {
            self.request.body = None;
        }
        if fed.used < bytes { Err(Fault::GapInHead) } else { Ok(()) }
    }
}
