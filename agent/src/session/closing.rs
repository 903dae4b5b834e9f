//! What becomes of the requests in flight when their connection, their peer or their process goes away.

use inferscope_abi::{CLOSE_CLOSED, CLOSE_EOF, CLOSE_RESET, CLOSE_SHUTDOWN_WRITE, CloseEvent, DIR_RX, DIR_TX};

use super::body::Body;
use super::connection::{Connection, Context};
use super::exchange::{Ending, Role};
use super::response::ResponseState;
use super::stats::Fault;

/// A caller that was told so closes its socket at once; if it does not, its requests end all the same.
const CALLER_GONE_NS: u64 = 30_000_000_000;

/// The peer was seen to be gone: a read gave no bytes, or a call failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    at_ns: u64,
    pub reset: bool,
}

impl Connection {
    /// True when the connection is over.
    pub fn close(&mut self, event: &CloseEvent, cx: &mut Context<'_>) -> bool {
        let at_ns = event.header.at_ns;
        self.catch_up(event, cx);
        match (self.role, event.reason) {
            // Not the end yet: the response may still be written, or be read out of the socket's buffer; and a read
            // that asked for no bytes looks the same.
            (Role::Server, CLOSE_EOF) => _ = self.gone.get_or_insert(Gone { at_ns, reset: false }),
            (Role::Client, CLOSE_EOF | CLOSE_RESET) => {
                self.gone.get_or_insert(Gone { at_ns, reset: event.reason == CLOSE_RESET });
            }
            (Role::Server, CLOSE_RESET) => {
                let first_ns = self.gone.map_or(at_ns, |gone| gone.at_ns);
                self.gone = Some(Gone { at_ns: first_ns, reset: true });
                self.end_all(at_ns, cx);
            }
            (Role::Server, CLOSE_SHUTDOWN_WRITE) | (_, CLOSE_CLOSED) => self.end_all(at_ns, cx),
            _ => {}
        }
        event.reason == CLOSE_CLOSED
    }

    /// Records that were lost before the end of the stream: a response that they completed was not cut off.
    fn catch_up(&mut self, event: &CloseEvent, cx: &mut Context<'_>) {
        for is_request in [true, false] {
            let receives = is_request == (self.role == Role::Server);
            let moved = event.moved[usize::from(if receives { DIR_RX } else { DIR_TX })];
            self.missed_until(moved, is_request, cx);
        }
    }

    /// Ends what a peer that is gone has left behind.
    pub fn tick(&mut self, now_ns: u64, cx: &mut Context<'_>) {
        if self.role == Role::Client
            && !self.in_flight.is_empty()
            && self.gone.is_some_and(|gone| now_ns.saturating_sub(gone.at_ns.max(self.last_ns)) > CALLER_GONE_NS)
        {
            self.end_all(now_ns, cx);
        }
    }

    /// The connection is forgotten for want of room or after a long silence.
    pub fn evict(&mut self, cx: &mut Context<'_>) {
        cx.stats.evictions += 1;
        if self.gone.is_some() {
            self.end_all(self.last_ns, cx);
        }
        self.drop_in_flight(cx);
    }

    /// It was closed, when is not known: the last byte that was seen is taken for the end.
    pub fn closed_unseen(&mut self, cx: &mut Context<'_>) {
        self.end_all(self.last_ns, cx);
    }

    /// The last thread of a process that used the connection has ended.
    pub fn process_exit(&mut self, tgid: u32, at_ns: u64, cx: &mut Context<'_>) {
        self.in_flight.retain(|open| {
            let theirs = open.exchange.tgid == tgid;
            cx.stats.exchanges_lost += u64::from(!theirs);
            theirs
        });
        // A child that answers one request may leave it to the kernel to close the connection.
        let whole = self.in_flight.front().is_some_and(|open| open.document_is_whole());
        if whole && self.ends_with_connection() {
            self.complete_front(cx);
        }
        self.cut_off_all(Ending::ProcessExit, at_ns, cx);
    }

    /// The kernel began anew on this socket without a close that was seen.
    pub fn replaced(&mut self, cx: &mut Context<'_>) {
        if self.ends_with_connection() && self.gone.is_none() {
            self.complete_front(cx);
        }
        self.drop_in_flight(cx);
    }

    /// Whether the front's response ends in order where the server's stream does.
    fn ends_with_connection(&self) -> bool {
        matches!(self.response.state, ResponseState::Body(Body::UntilClose))
    }

    /// Ends everything in flight at a close that was seen at `at_ns`, or when the peer was seen to be gone before it.
    fn end_all(&mut self, at_ns: u64, cx: &mut Context<'_>) {
        let (ending, server_closed) = match (self.role, self.gone) {
            (Role::Server, None) => (Ending::Reset, true),
            (Role::Server, Some(_)) | (Role::Client, None) => (Ending::Cancelled, false),
            (Role::Client, Some(gone)) => (Ending::Reset, !gone.reset),
        };
        if (server_closed || self.answered_after_the_end()) && self.ends_with_connection() {
            self.complete_front(cx);
        }
        self.cut_off_all(ending, self.gone.map_or(at_ns, |gone| gone.at_ns), cx);
    }

    /// The client only said that it sends no more (shutdown): the server went on answering, and was not told off.
    fn answered_after_the_end(&self) -> bool {
        let answered = |at_ns: u64| self.in_flight.front().is_some_and(|open| open.exchange.end.at_ns > at_ns);
        self.role == Role::Server && self.gone.is_some_and(|gone| !gone.reset && answered(gone.at_ns))
    }

    fn complete_front(&mut self, cx: &mut Context<'_>) {
        if let Some(mut open) = self.pop_front() {
            let last_byte = open.exchange.end;
            open.response_end(last_byte, cx.limits.chunk_times);
            self.hand_on(open, Ending::Complete, None, cx);
        }
    }

    fn cut_off_all(&mut self, ending: Ending, at_ns: u64, cx: &mut Context<'_>) {
        if self.is_followed() && self.request.has_partial_head() {
            cx.stats.fault(Fault::HeadCutShort);
        }
        while let Some(open) = self.pop_front() {
            self.hand_on(open, ending, Some(at_ns), cx);
        }
        self.ignore(cx);
    }
}
