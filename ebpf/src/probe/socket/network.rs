//! How a connection's way to its peer stands, as the kernel's TCP knows it: read with the payload that goes out, at most
//! once a millisecond, for these are helper calls on the path of every chunk.

use inferscope_abi::{Connection, NETWORK_AGE_NS, Network};

use super::{Call, walk};
use crate::{config, kernel::read, maps::CONNECTION};

/// A write found no room.
#[inline(always)]
pub fn refused(inode: u64, at_ns: u64) {
    let Some(connection) = CONNECTION.get_ptr_mut(inode) else { return };
    // SAFETY: a map value.
    unsafe {
        if (*connection).full_since_ns == 0 {
            (*connection).full_since_ns = at_ns;
        }
    }
}

/// A call has written bytes.
///
/// # Safety
/// `connection` is a map value.
#[inline(always)]
pub unsafe fn sent(connection: *mut Connection, call: &Call) -> Network {
    let (enter_ns, at_ns) = (call.enter_ns, call.at_ns);
    // SAFETY: by contract.
    unsafe {
        let mut network = (*connection).network;
        network.full_ns = 0;
        let full_since = (*connection).full_since_ns;
        let sock = (*connection).sock;
        if sock == 0 || full_since == 0 && at_ns - (*connection).network_at_ns < NETWORK_AGE_NS {
            return network;
        }
        (*connection).network_at_ns = at_ns;
        network.send_queue = read(sock, config!(offsets.sock_wmem_queued)).unwrap_or(0);
        network.window = read(sock, config!(offsets.tcp_window)).unwrap_or(0);
        network.rtt_us = read(sock, config!(offsets.tcp_rtt_us)).unwrap_or(0);
        let again: u32 = read(sock, config!(offsets.tcp_total_retrans)).unwrap_or(0);
        let in_vain: u32 = read(sock, config!(offsets.tcp_dsack_dups)).unwrap_or(0);
        network.retransmits = again.saturating_sub(in_vain);
        (*connection).network = network;
        let room: u32 = read(sock, config!(offsets.sock_sndbuf)).unwrap_or(0);
        let queue = u64::from(network.send_queue);
        // Where most of the buffer had become free the call could have come earlier: the program was late then, and not
        // the peer. What lies in the buffer takes up to twice its bytes.
        let stayed = queue > 2 * call.moved + u64::from(room >> 2);
        if full_since != 0 && full_since < enter_ns && stayed {
            network.full_ns = enter_ns - full_since;
        }
        // As sk_stream_is_writeable() has it: a third of the buffer must be free before poll(2) says so. A call that wrote
        // all that it had does not wait for that.
        let full = queue + (queue >> 1) > u64::from(room) && walk::asked_bytes(call) > call.moved;
        (*connection).full_since_ns = if full { at_ns } else { 0 };
        network
    }
}
