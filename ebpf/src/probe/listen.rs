//! Sockets that begin to listen, of any process: discovery looks at that process then, and need not look at all of them
//! time and again.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use inferscope_abi::{Kind, ListenEvent, Lost};

use crate::{
    config,
    emit::{self, header},
    kernel::{now_ns, read},
    probe::socket,
};

/// include/net/tcp_states.h
const TCP_LISTEN: u32 = 10;

// TP_PROTO(const struct sock *sk, const int oldstate, const int newstate), since 4.16. It fires some six times for each
// connection of the host, so the state comes first. To LISTEN a socket goes in listen(2), or in io_uring's: the current
// task is the one that listens.
tracepoint!(listen_state_btf, listen_state_raw, "inet_sock_set_state", |ctx| {
    if ctx.arg::<u64>(2) as u32 == TCP_LISTEN {
        begins(ctx.arg::<*const u8>(0) as u64);
    }
});

/// What can't be read is left at 0: the agent then looks for itself.
#[inline(always)]
fn begins(sock: u64) {
    let current = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((current >> 32) as u32, current as u32);
    if tgid == config!(agent_tgid) {
        return;
    }
    // A socket of the kernel's own has no file.
    let owner: u64 = read(sock, config!(offsets.sock_socket)).unwrap_or(0);
    let file: u64 = read(owner, config!(offsets.socket_file)).unwrap_or(0);
    let network: u64 = read(sock, config!(offsets.sock_net)).unwrap_or(0);
    let event = ListenEvent {
        header: header(Kind::Listen, tgid, tid, now_ns()),
        socket: socket::socket_inode(file).unwrap_or(0),
        network: read(network, config!(offsets.net_inum)).unwrap_or(0),
        port: read(sock, config!(offsets.sock_num)).unwrap_or(0),
        family: read(sock, config!(offsets.sock_family)).unwrap_or(0),
    };
    emit::record(&event, Lost::RingListen);
}
