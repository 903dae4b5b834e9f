//! What the kernel side keeps of each connection of a watched process.

use crate::Network;

/// A connection whose payload is captured: value of the map CONNECTION, key the socket's inode.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Bytes so far in each direction, indexed by `DIR_*`.
    pub moved: [u64; 2],
    /// [`CONNECTION_NEW`], [`CONNECTION_CAPTURED`] or [`CONNECTION_IGNORED`].
    pub state: u32,
    pub family: u8,
    /// In which direction its requests go.
    pub requests: u8,
    /// Direction of the last bytes.
    pub last: u8,
    /// A `PROTOCOL_*`.
    pub protocol: u8,
    pub local_port: u16,
    pub remote_port: u16,
    pub remote_address: [u8; 16],
    pub reserved_end: u32,
    /// Bytes of requests since the last byte of a response: the request so far.
    pub request_bytes: u64,
    /// Address of the kernel's `struct sock` of a TCP connection; 0 for others.
    pub sock: u64,
    /// Since when the socket has had no room, or 0.
    pub full_since_ns: u64,
    /// When `network` was read last.
    pub network_at_ns: u64,
    pub network: Network,
}

/// A connection's [`Network`] is read again when it is so old.
pub const NETWORK_AGE_NS: u64 = 1_000_000;
/// Seen, and nothing captured of it yet.
pub const CONNECTION_NEW: u32 = 0;
/// It began as HTTP: its payload goes to the ring.
pub const CONNECTION_CAPTURED: u32 = 1;
/// The agent has no use for it (HTTP/2, an upgraded connection).
pub const CONNECTION_IGNORED: u32 = 2;

/// Both directions of it are captured.
pub const PROTOCOL_HTTP: u8 = 0;
/// Only one direction of it is captured, that of [`Connection::requests`].
pub const PROTOCOL_ZMTP: u8 = 1;

const _: () = assert!(size_of::<Connection>() == 104);
