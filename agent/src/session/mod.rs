//! Connections to messages to LLM exchanges. [`Sessions`] owns every connection's state and turns the payload records
//! of the kernel into finished [`Exchange`]s. It reads no clock, and keeps no text unless the guard says so; what it
//! gives up on, it counts.
#![forbid(unsafe_code)]

mod body;
mod closing;
mod connection;
mod crowd;
pub mod exchange;
mod head;
mod hops;
mod http1;
pub mod llm;
pub mod ndjson;
mod open;
mod request;
mod response;
pub mod sse;
mod stats;
#[cfg(test)]
mod tests;
pub mod wanted;
pub mod zmtp;

use std::sync::Arc;

use inferscope_abi::{CLOSE_CLOSED, CloseEvent, PAYLOAD_FIRST, PAYLOAD_ZMTP};
use rustc_hash::FxHashMap;

use crate::decode::Payload;
use crate::privacy::Guard;
use connection::{Connection, Context, Useless};
use crowd::Crowds;
use exchange::{Exchange, Role};
use hops::Hops;
pub use stats::{FAULTS, Fault, Stats};
use wanted::Wanted;
use zmtp::Engines;

/// What the session layer may hold at most.
#[derive(Clone, Debug)]
pub struct Limits {
    pub connections: usize,
    pub in_flight_per_connection: usize,
    /// Longest head of a message.
    pub head_bytes: usize,
    /// A connection that moved no bytes for so long is forgotten.
    pub idle_ns: u64,
    /// Instants of content chunks that are kept per request.
    pub chunk_times: usize,
    /// Fields that are read beside those of the dialects.
    pub wanted: Arc<Wanted>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 8192,
            in_flight_per_connection: 32,
            head_bytes: 64 * 1024,
            idle_ns: 60 * 60 * 1_000_000_000,
            chunk_times: 0,
            wanted: Arc::default(),
        }
    }
}

/// A request without its whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    pub service: u32,
    pub tgid: u32,
    pub role: Role,
    pub server_port: u16,
    pub is_llm: bool,
    /// Its response is streamed; before there is one: it is to be.
    pub streams: bool,
    pub start_ns: u64,
    /// First chunk with content, if it came.
    pub first_content_ns: Option<u64>,
    /// The last one.
    pub last_content_ns: Option<u64>,
}

/// What every connection needs of its owner.
struct Shared {
    limits: Limits,
    stats: Stats,
    useless: Useless,
    crowds: Crowds,
    hops: Hops,
    guard: Arc<Guard>,
}

impl Shared {
    fn context<'a>(&'a mut self, out: &'a mut dyn FnMut(Exchange)) -> Context<'a> {
        let Self { limits, stats, useless, crowds, hops, guard } = self;
        Context { limits, stats, useless, crowds, hops, guard, out }
    }
}

/// Every followed connection, by the inode of its socket.
pub struct Sessions {
    shared: Shared,
    connections: FxHashMap<u64, Connection>,
    /// What goes on behind those connections, within engines of several processes.
    engines: Engines,
}

/// Hands finished exchanges on with what is known of them behind the HTTP front.
fn joined<'a>(engines: &'a mut Engines, out: &'a mut impl FnMut(Exchange)) -> impl FnMut(Exchange) + 'a {
    |mut exchange| {
        engines.join(&mut exchange);
        out(exchange);
    }
}

impl Sessions {
    /// Nothing open yet.
    pub fn new(limits: Limits) -> Self {
        Sessions {
            shared: Shared {
                limits,
                stats: Stats::default(),
                useless: Useless::default(),
                crowds: Crowds::default(),
                hops: Hops::default(),
                guard: Arc::default(),
            },
            connections: FxHashMap::default(),
            engines: Engines::default(),
        }
    }

    /// Keeps texts as the guard says; without one none are kept.
    pub fn guarded(mut self, guard: Arc<Guard>) -> Self {
        self.shared.guard = guard;
        self
    }

    /// One record of the ring; exchanges that it ends go to `out`.
    pub fn payload(&mut self, p: &Payload<'_>, out: &mut impl FnMut(Exchange)) {
        if p.head.flags & PAYLOAD_ZMTP != 0 {
            if self.engines.payload(p, &mut self.shared.stats) {
                self.shared.useless.add(p.head.socket);
            }
            return;
        }
        let Some(new) = self.http(p, out) else { return };
        if self.connections.len() >= self.shared.limits.connections {
            self.make_room(out);
        }
        self.connections.insert(p.head.socket, new);
    }

    /// A record of HTTP; gives the connection if that is a new one.
    fn http(&mut self, p: &Payload<'_>, out: &mut impl FnMut(Exchange)) -> Option<Connection> {
        let out = &mut joined(&mut self.engines, out);
        let mut cx = self.shared.context(out);
        if let Some(known) = self.connections.get_mut(&p.head.socket) {
            if p.head.flags & PAYLOAD_FIRST == 0 {
                known.payload(p, &mut cx);
                return None;
            }
            known.replaced(&mut cx);
            self.connections.remove(&p.head.socket);
        }
        let Some(mut new) = Connection::begin(p) else {
            cx.stats.bytes_skipped += p.data.len() as u64;
            return None;
        };
        cx.stats.connections += 1;
        new.payload(p, &mut cx);
        Some(new)
    }

    /// A connection ended or was shut down; exchanges that this ends go to `out`.
    pub fn close(&mut self, event: &CloseEvent, out: &mut impl FnMut(Exchange)) {
        if event.reason == CLOSE_CLOSED {
            self.engines.close(event.socket);
        }
        let out = &mut joined(&mut self.engines, out);
        let mut cx = self.shared.context(out);
        let over = self.connections.get_mut(&event.socket).is_some_and(|known| known.close(event, &mut cx));
        if over {
            self.connections.remove(&event.socket);
        }
    }

    /// A watched process ended at `at_ns`: what it had not answered goes to `out`.
    pub fn process_exit(&mut self, tgid: u32, at_ns: u64, out: &mut impl FnMut(Exchange)) {
        self.engines.process_exit(tgid);
        let out = &mut joined(&mut self.engines, out);
        let mut cx = self.shared.context(out);
        self.connections.retain(|_, connection| {
            let theirs = connection.tgid == tgid || connection.in_flight.iter().any(|open| open.exchange.tgid == tgid);
            if theirs {
                connection.process_exit(tgid, at_ns, &mut cx);
            }
            !theirs
        });
    }

    /// These processes are not watched any more, though they run: what they have not answered is given up.
    pub fn forget(&mut self, tgids: &[u32]) {
        let out = &mut |_| {};
        let mut cx = self.shared.context(out);
        self.connections.retain(|_, connection| {
            let theirs = |tgid: u32| tgids.contains(&tgid);
            let over = theirs(connection.tgid) || connection.in_flight.iter().any(|open| theirs(open.exchange.tgid));
            if over {
                connection.drop_in_flight(&mut cx);
            }
            !over
        });
    }

    /// Forgets connections that have been idle for too long. A request on one of them later is taken up again.
    pub fn tick(&mut self, now_ns: u64, out: &mut impl FnMut(Exchange)) {
        self.engines.tick(now_ns);
        self.shared.stats.engine_requests_lost = self.engines.refused();
        let out = &mut joined(&mut self.engines, out);
        let mut cx = self.shared.context(out);
        self.connections.retain(|_, connection| {
            connection.tick(now_ns, &mut cx);
            let keep = now_ns.saturating_sub(connection.last_ns) <= cx.limits.idle_ns;
            if !keep {
                connection.evict(&mut cx);
            }
            keep
        });
        self.shared.hops.keep(self.connections.values().filter_map(|connection| connection.ends));
        if self.connections.capacity() > 1024 && self.connections.len() * 8 < self.connections.capacity() {
            self.connections.shrink_to(self.connections.len() * 2);
        }
    }

    /// Forgets a sixteenth of the connections: first those without a request in flight, the longest idle first.
    fn make_room(&mut self, out: &mut impl FnMut(Exchange)) {
        let mut order: Vec<(bool, u64, u64)> = self
            .connections
            .iter()
            .map(|(socket, connection)| (!connection.in_flight.is_empty(), connection.last_ns, *socket))
            .collect();
        if order.is_empty() {
            return;
        }
        let out = &mut joined(&mut self.engines, out);
        let count = (order.len() / 16).max(1);
        order.select_nth_unstable(count - 1);
        let mut cx = self.shared.context(out);
        for (_, _, socket) in &order[..count] {
            if let Some(mut connection) = self.connections.remove(socket) {
                connection.evict(&mut cx);
            }
        }
    }

    /// Sockets found since the last call whose payload is of no more use (HTTP/2, upgraded, or lost for good): the
    /// kernel side may stop its capture until they are closed.
    pub fn take_useless(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.shared.useless.0)
    }

    /// Socket and service of connections that have a request in flight and moved no byte for so long.
    pub fn still(&self, now_ns: u64, for_ns: u64) -> Vec<(u64, u32)> {
        let still = |known: &Connection| now_ns.saturating_sub(known.last_ns) >= for_ns;
        let open = self.connections.iter().filter(|(_, known)| still(known));
        open.filter_map(|(socket, known)| Some((*socket, known.in_flight.front()?.exchange.service))).collect()
    }

    /// Nobody has this connection open any more, and its close was not seen: it ended with its last byte.
    pub fn closed_unseen(&mut self, socket: u64, out: &mut impl FnMut(Exchange)) {
        let out = &mut joined(&mut self.engines, out);
        let mut cx = self.shared.context(out);
        if let Some(mut known) = self.connections.remove(&socket) {
            known.closed_unseen(&mut cx);
        }
    }

    /// The requests in flight now.
    pub fn in_flight(&self) -> impl Iterator<Item = InFlight> {
        self.connections.values().flat_map(|connection| {
            connection.in_flight.iter().map(|open| InFlight {
                service: open.exchange.service,
                tgid: open.exchange.tgid,
                role: open.exchange.role,
                server_port: open.exchange.server_port,
                is_llm: open.is_llm() && !open.is_hop,
                streams: open.streams(),
                start_ns: open.exchange.start.at_ns,
                first_content_ns: open.exchange.first_content.map(|mark| mark.at_ns),
                last_content_ns: open.exchange.last_content.map(|mark| mark.at_ns),
            })
        })
    }

    /// The LLM requests in flight of a service, server role: when each began, and its `x-request-id`.
    pub fn flying(&self, service: u32) -> impl Iterator<Item = (u64, Option<&str>)> {
        let open = self.connections.values().flat_map(|connection| &connection.in_flight);
        let theirs = open.filter(move |open| {
            open.exchange.service == service && open.exchange.role == Role::Server && open.is_llm() && !open.is_hop
        });
        theirs.map(|open| (open.exchange.start.at_ns, open.exchange.request_id.as_deref()))
    }

    /// Whether this connection is followed.
    pub fn knows(&self, socket: u64) -> bool {
        self.connections.contains_key(&socket) || self.engines.knows(socket)
    }

    /// Counts since the start.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Connections held now.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }
}
