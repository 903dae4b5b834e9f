//! Family, ports and peer of a socket, read once when its capture begins.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use inferscope_abi::{Connection, FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, Lost};

use super::{current_file, socket_inode};
use crate::{
    config,
    emit::lost,
    kernel::{Read, read},
};

const IPPROTO_TCP: u16 = 6;

/// Leaves what can't be read at 0.
#[inline(always)]
pub fn fill(connection: &mut Connection, file: u64) {
    if read_into(connection, file).is_none() {
        lost(Lost::KernelRead);
    }
}

/// Whether the socket of this inode is a Unix socket, and behind this descriptor of the current task still.
#[inline(always)]
pub fn is_unix<R: Read>(fd: u64, inode: u64) -> bool {
    let Some(file) = current_file::<R>(fd) else { return false };
    if socket_inode(file).unwrap_or(0) != inode {
        return false;
    }
    let socket: u64 = read(file, config!(offsets.file_private_data)).unwrap_or(0);
    let sock: u64 = read(socket, config!(offsets.socket_sk)).unwrap_or(0);
    read::<u16>(sock, config!(offsets.sock_family)).unwrap_or(0) == u16::from(FAMILY_UNIX)
}

#[inline(always)]
fn read_into(connection: &mut Connection, file: u64) -> Option<()> {
    let socket: u64 = read(file, config!(offsets.file_private_data))?;
    let sock: u64 = read(socket, config!(offsets.socket_sk))?;
    let family: u16 = read(sock, config!(offsets.sock_family))?;
    connection.family = family as u8;
    let (from, bytes) = match connection.family {
        FAMILY_INET => (config!(offsets.sock_daddr), 4),
        FAMILY_INET6 => (config!(offsets.sock_v6_daddr), 16),
        _ => return Some(()),
    };
    // 16 bits since 5.6. MPTCP is 262 and has another struct; peers that do not speak it get a socket of plain TCP.
    if read::<u16>(sock, config!(offsets.sock_protocol))? == IPPROTO_TCP {
        connection.sock = sock;
    }
    // skc_dport is in network order, skc_num in the host's.
    connection.remote_port = u16::from_be(read(sock, config!(offsets.sock_dport))?);
    connection.local_port = read(sock, config!(offsets.sock_num))?;
    let to = connection.remote_address.as_mut_ptr();
    // SAFETY: `bytes` is at most the array's length; the helper checks the address.
    let failed =
        unsafe { bpf_probe_read_kernel(to.cast(), bytes, (sock + u64::from(from)) as *const core::ffi::c_void) };
    (failed == 0).then_some(())
}
