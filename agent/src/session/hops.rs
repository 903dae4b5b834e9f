//! Hops: connections that a service has with itself. A server that hands requests on to a child of its own, such as
//! Ollama to its runner, is seen to answer each of them twice, and to ask once; it is one request all the same.

use inferscope_abi::{FAMILY_INET6, FAMILY_UNIX, PayloadHeader};
use rustc_hash::FxHashMap;

/// `::ffff:0:0/96`, under which a socket of IPv6 sees peers of IPv4.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// Where a TCP connection's ends are, seen from one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    local_port: u16,
    remote_port: u16,
    remote_address: [u8; 16],
}

impl Ends {
    /// None for what has no ports.
    pub fn of(head: &PayloadHeader) -> Option<Self> {
        if head.family == FAMILY_UNIX || head.local_port == 0 {
            return None;
        }
        let mut remote_address = head.remote_address;
        if head.family == FAMILY_INET6 && remote_address.starts_with(&MAPPED) {
            remote_address.rotate_left(MAPPED.len());
            remote_address[4..].fill(0);
        }
        Some(Ends { local_port: head.local_port, remote_port: head.remote_port, remote_address })
    }

    /// Seen from the other end. A host that connects to itself does so from the address that it connects to.
    fn mirrored(self) -> Self {
        Ends { local_port: self.remote_port, remote_port: self.local_port, ..self }
    }
}

/// Whose end each followed connection is, by the kernel side's index of the service.
#[derive(Default)]
pub(super) struct Hops(FxHashMap<Ends, u32>);

impl Hops {
    /// A request moved on this connection.
    pub fn saw(&mut self, ends: Ends, service: u32) {
        self.0.insert(ends, service);
    }

    /// Whether the other end was seen, and is the same service's.
    pub fn lead_home(&self, ends: Ends, service: u32) -> bool {
        self.0.get(&ends.mirrored()) == Some(&service)
    }

    /// Forgets all other connections. Not at once when one closes: what its other end did may come later.
    pub fn keep(&mut self, open: impl Iterator<Item = Ends>) {
        let kept = open.filter_map(|ends| Some((ends, *self.0.get(&ends)?))).collect();
        self.0 = kept;
    }
}
