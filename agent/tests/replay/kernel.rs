//! The kernel side, played: calls on connections become the records that the ring would hold, with a clock and counters
//! that run evenly.

use inferscope_abi::{
    CloseEvent, DIR_RX, DIR_TX, ExitEvent, FAMILY_INET, Header, Kind, Network, PAYLOAD_BYTES, PAYLOAD_FIRST,
    PAYLOAD_MORE, PAYLOAD_ZMTP, PayloadHeader, Process, STATE_BLOCK_IO, STATE_FUTEX, STATE_ONCPU, STATE_RUNQUEUE,
    Snapshot,
};

pub const MS: u64 = 1_000_000;
/// Every call takes this long.
const CALL_NS: u64 = 20_000;
pub const PORT: u16 = 8000;

/// Integers and byte arrays without padding: every byte of it is a value.
///
/// # Safety
/// Implement only for such `#[repr(C)]` types.
unsafe trait Wire: Copy {}
// SAFETY: the ABI crate defines these as integers and byte arrays with explicit padding.
unsafe impl Wire for PayloadHeader {}
// SAFETY: as above.
unsafe impl Wire for CloseEvent {}
// SAFETY: as above.
unsafe impl Wire for ExitEvent {}

fn bytes_of<T: Wire>(value: &T) -> &[u8] {
    // SAFETY: a `Wire` type has no padding, so all of its bytes are initialised; they live as long as `value`.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// One side of a connection, as the watched process has it.
pub struct Connection {
    pub socket: u64,
    pub tgid: u32,
    server: bool,
    moved: [u64; 2],
    first: bool,
    /// It is within an engine.
    zmtp: bool,
    /// Most bytes captured of one call.
    pub cap: usize,
}

impl Connection {
    pub fn server(socket: u64) -> Self {
        Connection { socket, tgid: 100, server: true, moved: [0; 2], first: true, zmtp: false, cap: usize::MAX }
    }

    /// The front's end of a connection with the core of its engine.
    pub fn core(socket: u64) -> Self {
        Connection { zmtp: true, tgid: 100, ..Connection::client(socket) }
    }

    pub fn client(socket: u64) -> Self {
        Connection { server: false, tgid: 200, ..Connection::server(socket) }
    }

    fn service(&self) -> u32 {
        self.tgid / 100
    }
}

pub struct Ring {
    pub records: Vec<Vec<u8>>,
    pub now: u64,
}

impl Ring {
    pub fn new() -> Self {
        Ring { records: Vec::new(), now: 5_000 * MS }
    }

    pub fn wait(&mut self, ns: u64) -> &mut Self {
        self.now += ns;
        self
    }

    pub fn request(&mut self, connection: &mut Connection, bytes: impl AsRef<[u8]>) -> &mut Self {
        let direction = if connection.server { DIR_RX } else { DIR_TX };
        self.call(connection, direction, bytes.as_ref())
    }

    pub fn response(&mut self, connection: &mut Connection, bytes: impl AsRef<[u8]>) -> &mut Self {
        let direction = if connection.server { DIR_TX } else { DIR_RX };
        self.call(connection, direction, bytes.as_ref())
    }

    /// The records made since there were `from` of them find no room.
    pub fn lose_from(&mut self, from: usize) -> &mut Self {
        self.records.truncate(from);
        self
    }

    fn call(&mut self, connection: &mut Connection, direction: u8, bytes: &[u8]) -> &mut Self {
        let enter_ns = self.now;
        self.now += CALL_NS;
        let captured = &bytes[..bytes.len().min(connection.cap)];
        let mut left = bytes.len();
        let mut chunks = captured.chunks(PAYLOAD_BYTES).peekable();
        while let Some(chunk) = chunks.next() {
            let more = chunks.peek().is_some();
            // The last record stands for what was not captured, too.
            let length = if more { chunk.len() } else { left };
            left -= length;
            let first = if std::mem::take(&mut connection.first) { PAYLOAD_FIRST } else { 0 };
            let zmtp = if connection.zmtp { PAYLOAD_ZMTP } else { 0 };
            let flags = zmtp | first | if more { PAYLOAD_MORE } else { 0 };
            self.payload(connection, direction, enter_ns, flags, chunk, length as u64);
        }
        self
    }

    fn payload(&mut self, c: &mut Connection, direction: u8, enter_ns: u64, flags: u16, data: &[u8], length: u64) {
        let offset = &mut c.moved[usize::from(direction)];
        let head = PayloadHeader {
            header: self.header(Kind::Payload, c.tgid),
            enter_ns,
            socket: c.socket,
            offset: *offset,
            captured: data.len() as u32,
            length: length as u32,
            service: c.tgid / 100,
            fd: 5,
            direction,
            family: FAMILY_INET,
            flags,
            local_port: if c.server { PORT } else { 50_000 },
            remote_port: if c.server { 50_000 } else { PORT },
            remote_address: [0; 16],
            network: Network::default(),
            snapshot: counters(self.now),
        };
        *offset += length;
        self.records.push([bytes_of(&head), data].concat());
    }

    /// A `CLOSE_*`.
    pub fn close(&mut self, c: &Connection, reason: u32) -> &mut Self {
        let (header, socket, service) = (self.header(Kind::Close, c.tgid), c.socket, c.service());
        let event = CloseEvent { header, socket, service, reason, moved: c.moved };
        self.records.push(bytes_of(&event).to_vec());
        self
    }

    /// The connection's process ends by a signal.
    pub fn kill(&mut self, c: &Connection) -> &mut Self {
        let (header, service) = (self.header(Kind::Exit, c.tgid), c.service());
        let event = ExitEvent { header, exit_code: 9, service, process: Process::default() };
        self.records.push(bytes_of(&event).to_vec());
        self
    }

    fn header(&self, kind: Kind, tgid: u32) -> Header {
        Header { kind: kind as u32, tgid, tid: tgid + 1, reserved: 0, at_ns: self.now }
    }
}

/// A service with one thread that computes all the time and some that wait.
fn counters(now: u64) -> Snapshot {
    let mut snapshot = Snapshot { at_ns: now, ..Snapshot::default() };
    snapshot.state_ns[STATE_ONCPU] = now;
    snapshot.state_ns[STATE_RUNQUEUE] = now / 10;
    snapshot.state_ns[STATE_FUTEX] = now * 3;
    snapshot.state_ns[STATE_BLOCK_IO] = now / 100;
    snapshot.major_faults = now / (10 * MS);
    snapshot.block_bytes = snapshot.major_faults * 4096;
    snapshot
}
