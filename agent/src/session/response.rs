//! The response direction of a connection: what comes belongs to the oldest request in flight.

use super::body::Body;
use super::connection::{Connection, Context, Moment};
use super::exchange::{Ending, Role};
use super::head::{self, Partial, Shape};
use super::http1::{self, Begins, ResponseHead};
use super::llm::Piece;
use super::stats::Fault;

pub(super) struct ResponseSide {
    /// Stream offset of the next byte; unknown until the first record.
    pub next: Option<u64>,
    partial: Option<Box<Partial>>,
    pub state: ResponseState,
}

#[derive(Debug)]
pub(super) enum ResponseState {
    /// Whether a response is under way is not known; a record that begins with one is waited for.
    Seek {
        /// Bytes were passed over while a request was in flight.
        doubtful: bool,
    },
    Head,
    Body(Body),
}

impl ResponseSide {
    /// `from_start`: offsets of this direction count from 0 here.
    pub fn new(from_start: bool) -> Self {
        ResponseSide { next: from_start.then_some(0), partial: None, state: ResponseState::Seek { doubtful: false } }
    }

    pub fn reset(&mut self) {
        (self.partial, self.state) = (None, ResponseState::Seek { doubtful: false });
    }
}

/// What follows a response's head.
enum After {
    /// The head of the final response.
    Head,
    Body(Body),
    Nothing,
    /// Not HTTP any more.
    Tunnel,
}

impl Connection {
    pub(super) fn response_bytes(
        &mut self,
        mut data: &[u8],
        moment: &Moment<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        if matches!(self.response.state, ResponseState::Seek { .. }) && !self.response_found(data, moment) {
            return self.unasked(data, moment, cx);
        }
        self.watch_order(data, moment, cx)?;
        while !data.is_empty() && self.is_followed() {
            data = match self.response.state {
                ResponseState::Body(_) => self.response_body(data, moment, cx)?,
                _ if self.in_flight.is_empty() => return self.unasked(data, moment, cx),
                _ => self.response_head(data, moment, cx)?,
            };
        }
        Ok(())
    }

    /// The tail of a response to a request that was not seen does not begin like one, or was written too early.
    fn response_found(&mut self, data: &[u8], moment: &Moment<'_>) -> bool {
        let Some(open) = self.in_flight.front() else { return false };
        let found = http1::response_begins(data) != Begins::No && moment.begin_ns >= open.exchange.start.at_ns;
        if found {
            self.response.state = ResponseState::Head;
        }
        found
    }

    /// Response bytes that no request in flight can have caused. Harmless, unless they answer one that is half read.
    fn unasked(&mut self, data: &[u8], moment: &Moment<'_>, cx: &mut Context<'_>) -> Result<(), Fault> {
        let data = head::after_empty_lines(data);
        if data.is_empty() {
            return Ok(());
        }
        if self.request.has_partial_head() {
            return Err(Fault::ResponseUnasked);
        }
        cx.stats.fault(Fault::ResponseUnasked);
        cx.stats.bytes_skipped += data.len() as u64;
        self.response.state = ResponseState::Seek { doubtful: !self.in_flight.is_empty() };
        if self.in_flight.is_empty() {
            self.unasked_ns = moment.begin_ns;
        }
        Ok(())
    }

    /// Notices pipelining, and a response that begins where the body before it went out unseen (sendfile).
    fn watch_order(&mut self, data: &[u8], moment: &Moment<'_>, cx: &mut Context<'_>) -> Result<(), Fault> {
        if self.pipelined || self.in_flight.get(1).is_none_or(|next| moment.begin_ns <= next.exchange.start.at_ns) {
            return Ok(());
        }
        let in_body = matches!(self.response.state, ResponseState::Body(_));
        if in_body && http1::response_begins(data) == Begins::Yes {
            return self.body_unseen(cx);
        }
        self.pipelined = true;
        Ok(())
    }

    /// The next response begins before the present one's body has. It went out by a call whose bytes are not seen.
    fn body_unseen(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if self.in_flight.front().is_none_or(|open| open.body_seen) {
            return Err(Fault::ResponseInBody);
        }
        if let Some(mut open) = self.pop_front() {
            open.exchange.gap = true;
            self.hand_on(open, Ending::Complete, None, cx);
        }
        self.response.state = ResponseState::Head;
        Ok(())
    }

    fn response_head<'d>(
        &mut self,
        data: &'d [u8],
        moment: &Moment<'_>,
        cx: &mut Context<'_>,
    ) -> Result<&'d [u8], Fault> {
        let shape = Shape { begins: http1::response_begins, fault: Fault::ResponseHead, limit: cx.limits.head_bytes };
        let (found, rest) = head::take(&mut self.response.partial, data, moment.begin(), shape)?;
        let (Some(found), Some(open)) = (found, self.in_flight.front_mut()) else { return Ok(rest) };
        let after = http1::response(found.bytes(), |head| {
            let after = after_head(&open.exchange.method, &head);
            if !matches!(after, After::Head) {
                open.response_head(&head, found.start());
            }
            after
        })?;
        open.exchange.response_bytes += found.bytes().len() as u64;
        open.exchange.end = moment.end();
        if self.role == Role::Server {
            (open.exchange.tgid, open.exchange.service) = (moment.tgid, moment.service);
        }
        match after {
            After::Head => {}
            After::Body(body) => self.response.state = ResponseState::Body(body),
            After::Nothing => self.response_complete(moment, cx),
            After::Tunnel => {
                cx.stats.upgraded += 1;
                self.response_complete(moment, cx);
                self.give_up(cx);
            }
        }
        Ok(rest)
    }

    fn response_body<'d>(
        &mut self,
        data: &'d [u8],
        moment: &Moment<'_>,
        cx: &mut Context<'_>,
    ) -> Result<&'d [u8], Fault> {
        let (ResponseState::Body(body), Some(open)) = (&mut self.response.state, self.in_flight.front_mut()) else {
            return Ok(&[]);
        };
        let mut chunks = 0;
        let fed = body.feed(data, &mut |piece| chunks += open.response_piece(piece))?;
        open.body_seen = true;
        open.exchange.response_bytes += fed.used;
        open.exchange.end = moment.end();
        open.content(chunks, moment.begin(), cx.limits.chunk_times);
        if fed.done {
            self.response_complete(moment, cx);
        }
        Ok(&data[fed.used as usize..])
    }

    fn response_complete(&mut self, moment: &Moment<'_>, cx: &mut Context<'_>) {
        self.response.state = ResponseState::Head;
        if let Some(mut open) = self.pop_front() {
            self.barren = 0;
            open.response_end(moment.begin(), cx.limits.chunk_times);
            self.hand_on(open, Ending::Complete, None, cx);
        }
    }

    /// `moment`: of the record that ends with these bytes; none if no record stands for them.
    pub(super) fn response_gap(
        &mut self,
        bytes: u64,
        moment: Option<&Moment<'_>>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let (ResponseState::Body(body), Some(open)) = (&mut self.response.state, self.in_flight.front_mut()) else {
            // What is left of a record that was passed over, or bytes that nobody waits for.
            let passed_over = matches!(self.response.state, ResponseState::Seek { .. }) && moment.is_some();
            let idle = self.in_flight.is_empty() && !self.request.has_partial_head();
            return if passed_over || idle { Ok(()) } else { Err(Fault::GapInHead) };
        };
        let mut chunks = 0;
        let fed = body.gap(bytes, &mut |piece: Piece<'_>| chunks += open.response_piece(piece))?;
        open.exchange.response_bytes += fed.used;
        match moment {
            Some(moment) => {
                open.content(chunks, moment.begin(), cx.limits.chunk_times);
                if fed.done {
                    self.response_complete(moment, cx);
                }
            }
            // When its last byte went out is not known.
            None if fed.done => {
                self.response.state = ResponseState::Head;
                cx.stats.exchanges_lost += u64::from(self.pop_front().is_some());
            }
            None => {}
        }
        if fed.used < bytes { Err(Fault::GapInHead) } else { Ok(()) }
    }
}

/// RFC 9112, section 6.3: some responses have no body whatever their headers say.
fn after_head(method: &str, head: &ResponseHead<'_, '_>) -> After {
    match head.status {
        101 => After::Tunnel,
        200..=299 if method == "CONNECT" => After::Tunnel,
        100..=199 => After::Head,
        204 | 304 => After::Nothing,
        _ if method == "HEAD" => After::Nothing,
        _ => head.body.clone().map_or(After::Nothing, After::Body),
    }
}
