//! The session layer driven by records made up here: [`Wire`] plays the kernel side of one connection.

mod any_bytes;
mod bounds;
mod endings;
mod hops;
mod instants;
mod loss;
mod messages;
mod never_wrong;
mod texts;

use inferscope_abi::{
    CloseEvent, DIR_RX, DIR_TX, FAMILY_INET, Header, Kind, Network, PAYLOAD_FIRST, PAYLOAD_MORE, PayloadHeader,
    Snapshot,
};

use super::exchange::{Exchange, Role};
use super::{Limits, Sessions};
use crate::decode::Payload;

pub(super) const TGID: u32 = 100;
pub(super) const SERVICE: u32 = 7;
pub(super) const PORT: u16 = 8000;
/// Every call takes this long, and begins this long after the one before it returned.
pub(super) const CALL_NS: u64 = 1000;

pub(super) struct Wire {
    pub sessions: Sessions,
    pub out: Vec<Exchange>,
    pub role: Role,
    pub socket: u64,
    pub tgid: u32,
    pub now: u64,
    /// Largest record; larger calls make several.
    pub record_bytes: usize,
    /// Most bytes captured of one call.
    pub call_bytes: usize,
    /// The client's port.
    pub client_port: u16,
    pub server_port: u16,
    offsets: [u64; 2],
    first: bool,
}

/// A connection that another one's [`Wire`] can go on with.
pub(super) struct Elsewhere {
    role: Role,
    socket: u64,
    client_port: u16,
    server_port: u16,
    offsets: [u64; 2],
    first: bool,
}

impl Elsewhere {
    pub fn new(role: Role, socket: u64, [client_port, server_port]: [u16; 2]) -> Self {
        Elsewhere { role, socket, client_port, server_port, offsets: [0, 0], first: true }
    }
}

impl Wire {
    pub fn new(role: Role) -> Self {
        Wire {
            sessions: Sessions::new(Limits::default()),
            out: Vec::new(),
            role,
            socket: 1,
            tgid: TGID,
            now: 1_000_000,
            record_bytes: 8192,
            call_bytes: usize::MAX,
            client_port: 50_000,
            server_port: PORT,
            offsets: [0, 0],
            first: true,
        }
    }

    pub fn server() -> Self {
        Wire::new(Role::Server)
    }

    pub fn client() -> Self {
        Wire::new(Role::Client)
    }

    /// A connection on the same agent; the one so far is left as it is.
    pub fn switch(&mut self, socket: u64) {
        (self.socket, self.offsets, self.first) = (socket, [0, 0], true);
    }

    /// Goes on with another connection of the same agent, and keeps where it was with this one in its place.
    pub fn swap(&mut self, other: &mut Elsewhere) {
        use std::mem::swap;
        swap(&mut self.role, &mut other.role);
        swap(&mut self.socket, &mut other.socket);
        swap(&mut self.client_port, &mut other.client_port);
        swap(&mut self.server_port, &mut other.server_port);
        swap(&mut self.offsets, &mut other.offsets);
        swap(&mut self.first, &mut other.first);
    }

    /// Forgets that the first record is still to come: capture began in mid-connection and that record was lost.
    pub fn in_the_middle(mut self) -> Self {
        self.first = false;
        self.offsets = [5000, 70_000];
        self
    }

    fn direction(&self, request: bool) -> u8 {
        if request == (self.role == Role::Server) { DIR_RX } else { DIR_TX }
    }

    pub fn request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.call(true, bytes.as_ref())
    }

    pub fn response(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.call(false, bytes.as_ref())
    }

    /// Bytes that were moved and of which no record came.
    pub fn lost(&mut self, request: bool, bytes: u64) -> &mut Self {
        self.offsets[usize::from(request)] += bytes;
        self
    }

    fn call(&mut self, request: bool, bytes: &[u8]) -> &mut Self {
        let enter_ns = self.now + CALL_NS;
        self.now = enter_ns + CALL_NS;
        let captured = bytes.len().min(self.call_bytes);
        let mut at = 0;
        while at < captured {
            let end = captured.min(at + self.record_bytes);
            let last = end == captured;
            let length = if last { bytes.len() - at } else { end - at };
            let flags = if last { 0 } else { PAYLOAD_MORE };
            self.record(request, &bytes[at..end], length as u64, enter_ns, flags);
            at = end;
        }
        self
    }

    fn record(&mut self, request: bool, data: &[u8], length: u64, enter_ns: u64, flags: u16) {
        let first = if std::mem::take(&mut self.first) { PAYLOAD_FIRST } else { 0 };
        let server = self.role == Role::Server;
        let head = PayloadHeader {
            header: Header {
                kind: Kind::Payload as u32,
                tgid: self.tgid,
                tid: self.tgid,
                reserved: 0,
                at_ns: self.now,
            },
            enter_ns,
            socket: self.socket,
            offset: self.offsets[usize::from(request)],
            captured: data.len() as u32,
            length: length as u32,
            service: SERVICE,
            fd: 5,
            direction: self.direction(request),
            family: FAMILY_INET,
            flags: flags | first,
            local_port: if server { self.server_port } else { self.client_port },
            remote_port: if server { self.client_port } else { self.server_port },
            remote_address: [0; 16],
            network: Network::default(),
            snapshot: Snapshot { at_ns: self.now, ..Snapshot::default() },
        };
        self.offsets[usize::from(request)] += length;
        let out = &mut self.out;
        self.sessions.payload(&Payload { head, data }, &mut |exchange| out.push(exchange));
    }

    /// A `CLOSE_*`.
    pub fn close(&mut self, reason: u32) -> &mut Self {
        self.now += CALL_NS;
        let header = Header { kind: Kind::Close as u32, tgid: self.tgid, tid: self.tgid, reserved: 0, at_ns: self.now };
        let event = CloseEvent { header, socket: self.socket, service: SERVICE, reason, moved: [0; 2] };
        let out = &mut self.out;
        self.sessions.close(&event, &mut |exchange| out.push(exchange));
        self
    }

    pub fn exit(&mut self, tgid: u32) -> &mut Self {
        self.now += CALL_NS;
        let out = &mut self.out;
        self.sessions.process_exit(tgid, self.now, &mut |exchange| out.push(exchange));
        self
    }

    /// What has ended so far, as `METHOD path status ending`.
    pub fn said(&self) -> Vec<String> {
        self.out.iter().map(|x| format!("{} {} {} {:?}", x.method, x.path, x.status, x.ending)).collect()
    }

    pub fn failures(&self) -> Vec<(&'static str, u64)> {
        self.sessions.stats().failures().filter(|(_, n)| *n > 0).collect()
    }
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")
}

pub(super) fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

pub(super) const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
pub(super) const STREAM_END: &str = "0\r\n\r\n";

pub(super) fn chat(stream: bool) -> String {
    let body =
        format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],\"stream\":{stream}}}");
    post("/v1/chat/completions", "content-type: application/json\r\n", &body)
}

/// One event as its own chunk.
pub(super) fn event(data: &str) -> String {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

pub(super) fn token(text: &str) -> String {
    let delta = format!(r#"{{"index":0,"delta":{{"content":"{text}"}}}}"#);
    event(&format!(r#"{{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{delta}]}}"#))
}
