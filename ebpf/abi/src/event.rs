//! The records of the ring buffer. Each begins with a [`Header`]; `kind` says what follows.

use crate::Snapshot;

/// What a record of the ring is about.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A process ran a new program: [`ExecEvent`].
    Exec = 1,
    /// A watched process made a process (not a thread): [`ForkEvent`].
    Fork = 2,
    /// The last thread of a watched process ended: [`ExitEvent`].
    Exit = 3,
    /// Bytes that a watched process moved through an HTTP connection: [`PayloadHeader`] and the bytes.
    Payload = 4,
    /// A connection that carried payload was closed or shut down: [`CloseEvent`].
    Close = 5,
    /// A watched thread left a CPU; only while a timeline is recorded, as all that follow: [`SchedEvent`](crate::SchedEvent).
    Sched = 6,
    /// A system call that took long returned: [`SyscallEvent`](crate::SyscallEvent).
    Syscall = 7,
    /// A block device is done with a request of a watched process: [`BlockEvent`](crate::BlockEvent).
    Block = 8,
    /// A watched thread had to free memory itself: [`StallEvent`](crate::StallEvent).
    Stall = 9,
    /// Where a watched thread was when the clock ticked; only while stacks are recorded: [`SampleHeader`](crate::SampleHeader) and addresses.
    Sample = 10,
    /// A watched process wrote to its output or to a log file: [`LogEvent`](crate::LogEvent) and the bytes.
    Log = 11,
    /// A process began to listen on a port: [`ListenEvent`].
    Listen = 12,
}
/// Every kind with its label, in the order of their numbers.
pub const KINDS: [(Kind, &str); 12] = [
    (Kind::Exec, "exec"),
    (Kind::Fork, "fork"),
    (Kind::Exit, "exit"),
    (Kind::Payload, "payload"),
    (Kind::Close, "close"),
    (Kind::Sched, "sched"),
    (Kind::Syscall, "syscall"),
    (Kind::Block, "block"),
    (Kind::Stall, "stall"),
    (Kind::Sample, "sample"),
    (Kind::Log, "log"),
    (Kind::Listen, "listen"),
];

impl TryFrom<u32> for Kind {
    type Error = u32;
    fn try_from(n: u32) -> Result<Self, u32> {
        match n {
            1 => Ok(Kind::Exec),
            2 => Ok(Kind::Fork),
            3 => Ok(Kind::Exit),
            4 => Ok(Kind::Payload),
            5 => Ok(Kind::Close),
            6 => Ok(Kind::Sched),
            7 => Ok(Kind::Syscall),
            8 => Ok(Kind::Block),
            9 => Ok(Kind::Stall),
            10 => Ok(Kind::Sample),
            11 => Ok(Kind::Log),
            12 => Ok(Kind::Listen),
            other => Err(other),
        }
    }
}

/// The head of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub kind: u32,
    pub tgid: u32,
    pub tid: u32,
    pub reserved: u32,
    /// When the event was taken.
    pub at_ns: u64,
}

/// Bytes kept of the path of an exec.
pub const FILENAME_BYTES: usize = 104;

/// Record of [`Kind::Exec`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecEvent {
    pub header: Header,
    /// 1 when the process was watched already.
    pub watched: u32,
    pub filename_len: u32,
    /// The path given to execve(2), cut.
    pub filename: [u8; FILENAME_BYTES],
}

/// Record of [`Kind::Fork`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForkEvent {
    /// The parent is the header's process.
    pub header: Header,
    pub child_tgid: u32,
    pub service: u32,
}

/// Record of [`Kind::Exit`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitEvent {
    pub header: Header,
    /// As wait(2) has it: `code >> 8` is the exit code, `code & 0x7f` the signal.
    pub exit_code: u32,
    pub service: u32,
    /// The final sums; the map entry is gone.
    pub process: crate::Process,
}

/// Record of [`Kind::Listen`], of any process but the agent. What could not be read is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenEvent {
    pub header: Header,
    /// Inode of the socket.
    pub socket: u64,
    /// Inode of the socket's network namespace, the number in the link `/proc/PID/ns/net`.
    pub network: u32,
    /// In the host's byte order; 0 for a socket that was bound to none, which gets its port a moment later.
    pub port: u16,
    /// A `FAMILY_*`.
    pub family: u16,
}

/// The process read these bytes.
pub const DIR_RX: u8 = 0;
/// The process wrote these bytes.
pub const DIR_TX: u8 = 1;

/// Address families, with the numbers of socket.h.
pub const FAMILY_UNIX: u8 = 1;
/// IPv4; the address is the first four bytes.
pub const FAMILY_INET: u8 = 2;
/// IPv6.
pub const FAMILY_INET6: u8 = 10;

/// This record is the first of its connection that was captured; `offset` restarts at 0 at a message boundary.
pub const PAYLOAD_FIRST: u16 = 1;
/// More records of the same system call follow.
pub const PAYLOAD_MORE: u16 = 2;
/// The connection speaks ZMTP, between the front of an engine and its core.
pub const PAYLOAD_ZMTP: u16 = 4;

/// Data of one record; a call that moved more makes several.
pub const PAYLOAD_BYTES: usize = 8192;

/// Record of [`Kind::Payload`]; [`captured`](Self::captured) bytes follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadHeader {
    pub header: Header,
    /// When the system call began; `header.at_ns` is when it returned.
    pub enter_ns: u64,
    /// Inode of the socket: the connection's identity while it lives.
    pub socket: u64,
    /// Position in the stream of this direction of this record's first byte, counted from the first captured byte.
    pub offset: u64,
    /// Bytes that follow this header.
    pub captured: u32,
    /// Bytes of the stream that this record stands for: the captured ones and, after them, those left out.
    pub length: u32,
    pub service: u32,
    /// Descriptor that the call was made on.
    pub fd: u32,
    /// A `DIR_*`.
    pub direction: u8,
    pub family: u8,
    /// `PAYLOAD_*` bits.
    pub flags: u16,
    pub local_port: u16,
    pub remote_port: u16,
    pub remote_address: [u8; 16],
    pub network: Network,
    /// The service's counters when the call returned.
    pub snapshot: Snapshot,
}

/// How a connection's way to its peer stands; zeroes where it is not TCP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// For how long before this call the socket had no room for more, as far as calls showed it: from a write that was
    /// refused, or that left the buffer full, to this one. Of non-blocking sockets; a blocking call shows it by its time.
    pub full_ns: u64,
    /// Bytes in the send buffer that the peer has not acknowledged, with the kernel's own overhead.
    pub send_queue: u32,
    /// Bytes that the peer has room for.
    pub window: u32,
    /// Segments sent again since the connection began, without those of which the peer said that it had them.
    pub retransmits: u32,
    /// Round-trip time of the segment that was acknowledged last.
    pub rtt_us: u32,
}

/// Record of [`Kind::Close`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseEvent {
    pub header: Header,
    /// Inode of the socket.
    pub socket: u64,
    pub service: u32,
    /// A `CLOSE_*`.
    pub reason: u32,
    /// Bytes that were moved in each direction, indexed by `DIR_*`: more than the agent saw means lost records.
    pub moved: [u64; 2],
}

/// close(2) of the last descriptor.
pub const CLOSE_CLOSED: u32 = 0;
/// A read returned 0: the peer has finished sending.
pub const CLOSE_EOF: u32 = 1;
/// shutdown(2) of the sending side.
pub const CLOSE_SHUTDOWN_WRITE: u32 = 2;
/// A call failed with ECONNRESET, EPIPE or the like.
pub const CLOSE_RESET: u32 = 3;

const _: () = {
    assert!(size_of::<Header>() == 24 && align_of::<Header>() == 8);
    assert!(size_of::<ExecEvent>() == 136);
    assert!(size_of::<ForkEvent>() == 32);
    assert!(size_of::<ExitEvent>() == 32 + size_of::<crate::Process>());
    assert!(size_of::<PayloadHeader>() == 112 + size_of::<Snapshot>() && size_of::<PayloadHeader>().is_multiple_of(8));
    assert!(size_of::<CloseEvent>() == 56);
    assert!(size_of::<ListenEvent>() == 40);
};
