//! Payload of the HTTP connections of watched processes, and of the ZMTP connections within an engine: which call moved
//! which bytes of which socket.
//!
//! A socket is known by its inode, read through the descriptor table when each call begins, so that a descriptor that is
//! closed, duplicated or passed on can't be taken for another. `capture` copies the bytes.

use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf};
use inferscope_abi::{
    CLOSE_CLOSED, CLOSE_EOF, CLOSE_RESET, CLOSE_SHUTDOWN_WRITE, CONNECTION_IGNORED, CloseEvent, Connection, DIR_RX,
    DIR_TX, Kind, LOG_NONE, Lost, PROTOCOL_HTTP, SYS_READ, SYS_READV, SYS_RECVFROM, SYS_RECVMMSG, SYS_RECVMSG,
    SYS_SHUTDOWN, Thread,
};

use crate::{
    config,
    emit::{self, header, lost},
    kernel::{Read, Typed, Untyped, now_ns, read},
    maps::{CONNECTION, SCRATCH, Scratch},
    probe::log,
    watch,
};

pub mod address;
mod capture;
mod network;
mod sniff;
mod walk;

pub use walk::Walk;

/// S_IFMT and S_IFSOCK of inode(7).
pub const MODE_TYPE: u16 = 0o170_000;
const MODE_SOCKET: u16 = 0o140_000;

const MSG_OOB: u64 = 0x1;
const MSG_PEEK: u64 = 0x2;
const MSG_TRUNC: u64 = 0x20;
const MSG_ERRQUEUE: u64 = 0x2000;

const EAGAIN: i64 = -11;
const EPIPE: i64 = -32;
const ECONNABORTED: i64 = -103;
const ECONNRESET: i64 = -104;
const ETIMEDOUT: i64 = -110;

const SHUT_WR: u64 = 1;
const SHUT_RDWR: u64 = 2;

/// A call that returned, as far as payload goes.
#[repr(C)]
pub struct Call {
    pub pid_tgid: u64,
    pub class: u8,
    pub fd: u32,
    /// Buffer, iovec array, msghdr or mmsghdr array, by class.
    pub buffer: u64,
    /// The third argument: bytes, or vectors, that the call was made with, by class.
    pub asked: u64,
    pub direction: u8,
    /// Bytes moved; messages for recvmmsg and sendmmsg.
    pub result: u64,
    /// The bytes were moved but not into the buffer (MSG_TRUNC).
    pub blind: u8,
    pub enter_ns: u64,
    pub at_ns: u64,
    /// Bytes, of all messages; 0 until the descriptor is known to be a socket.
    pub moved: u64,
}

/// `struct file *` of a descriptor of `task`: a table of pointers, the one thing here that has no type to the verifier.
#[inline(always)]
fn file_of<R: Read>(task: *const u8, fd: u64) -> Option<u64> {
    // SAFETY: the current task or the hook's, and what it points to, at constant offsets.
    let (fds, max) = unsafe {
        let files = R::u64(task, config!(offsets.task_files)) as *const u8;
        let table = R::u64(files, config!(offsets.files_fdt)) as *const u8;
        (R::u64(table, config!(offsets.fdt_fd)), R::u32(table, config!(offsets.fdt_max_fds)))
    };
    if fd >= u64::from(max) {
        return None;
    }
    let file: u64 = read(fds + fd * 8, 0)?;
    (file != 0).then_some(file)
}

/// The inode behind a file, if that is a socket.
#[inline(always)]
pub fn socket_inode(file: u64) -> Option<u64> {
    let inode: u64 = read(file, config!(offsets.file_inode))?;
    let mode: u16 = read(inode, config!(offsets.inode_mode))?;
    if mode & MODE_TYPE != MODE_SOCKET {
        return None;
    }
    read(inode, config!(offsets.inode_ino))
}

/// Plain loads where the hook and the kernel give the current task a type, a helper for each otherwise.
#[inline(always)]
pub fn current_file<R: Read>(fd: u64) -> Option<u64> {
    if R::TYPED && config!(typed_current_task) != 0 {
        // SAFETY: no arguments.
        file_of::<Typed>(unsafe { bpf_get_current_task_btf() } as *const u8, fd)
    } else {
        // SAFETY: no arguments.
        file_of::<Untyped>(unsafe { bpf_get_current_task() } as *const u8, fd)
    }
}

/// A call on a descriptor begins: finds the socket behind that, or whether it is a log that the call writes.
///
/// # Safety
/// `thread` is a map value.
#[inline(always)]
pub unsafe fn begins<R: Read>(thread: *mut Thread, class: u8, mark: u16) {
    // SAFETY: by contract.
    unsafe {
        (*thread).socket = 0;
        (*thread).log = LOG_NONE;
        let fd = (*thread).args[0];
        let Some(file) = current_file::<R>(fd) else { return };
        let Some(inode) = read::<u64>(file, config!(offsets.file_inode)) else { return };
        let Some(mode) = read::<u16>(inode, config!(offsets.inode_mode)) else { return };
        if mode & MODE_TYPE == MODE_SOCKET {
            (*thread).socket = read(inode, config!(offsets.inode_ino)).unwrap_or(0);
        } else if log::writes(class) && config!(logs) != 0 {
            (*thread).log = log::kind::<R>(fd, file, inode, mode, mark);
        }
    }
}

/// close(2) begins: the last descriptor of a captured connection ends it.
#[inline(always)]
pub fn closing<R: Read>(pid_tgid: u64, mark: u16, fd: u64) {
    let Some(file) = current_file::<R>(fd) else { return };
    let Some(inode) = socket_inode(file) else { return };
    let Some(connection) = CONNECTION.get_ptr(inode) else { return };
    let references: u64 = read(file, config!(offsets.file_count)).unwrap_or(0);
    if references != u64::from(config!(offsets.file_count_of_one)) {
        return;
    }
    closed(pid_tgid, mark, inode, connection, CLOSE_CLOSED, now_ns());
    let _ = CONNECTION.remove(inode);
}

/// dup2(2) or dup3(2) begins: it closes the descriptor that it makes, if that is open and `fd` is.
#[inline(always)]
pub fn replacing<R: Read>(pid_tgid: u64, mark: u16, fd: u64, new: u64) {
    if fd != new && current_file::<R>(fd).is_some() {
        closing::<R>(pid_tgid, mark, new);
    }
}

#[inline(always)]
fn closed(pid_tgid: u64, mark: u16, socket: u64, connection: *const Connection, reason: u32, at_ns: u64) {
    let Some(sums) = watch::sums(mark) else { return };
    let event = CloseEvent {
        header: header(Kind::Close, (pid_tgid >> 32) as u32, pid_tgid as u32, at_ns),
        socket,
        service: sums.service_index,
        reason,
        // SAFETY: a map value.
        moved: unsafe { (*connection).moved },
    };
    emit::record(&event, Lost::RingClose);
}

#[inline(always)]
fn reads(class: u8) -> bool {
    matches!(class, SYS_READ | SYS_READV | SYS_RECVFROM | SYS_RECVMSG | SYS_RECVMMSG)
}

#[inline(always)]
fn flags_of(class: u8, thread: &Thread) -> u64 {
    match class {
        SYS_RECVFROM | SYS_RECVMMSG => thread.args[3],
        SYS_RECVMSG => thread.args[2],
        _ => 0,
    }
}

/// A call on a descriptor returned; gives the bytes that it moved through a socket.
///
/// # Safety
/// `thread` is a map value.
#[inline(always)]
pub unsafe fn returned<R: Read>(
    pid_tgid: u64,
    mark: u16,
    thread: *const Thread,
    class: u8,
    result: i64,
    at_ns: u64,
) -> u64 {
    // SAFETY: by contract.
    let thread = unsafe { &*thread };
    if thread.socket == 0 {
        return 0;
    }
    if class == SYS_SHUTDOWN {
        if result == 0 && (thread.args[1] == SHUT_WR || thread.args[1] == SHUT_RDWR) {
            ended(pid_tgid, mark, thread.socket, CLOSE_SHUTDOWN_WRITE, at_ns);
        }
        return 0;
    }
    if result <= 0 {
        match result {
            // A read of no bytes is no end of the stream if none were asked for; that is rare enough to leave to
            // the agent, which keeps a connection on which more arrives.
            0 if reads(class) => ended(pid_tgid, mark, thread.socket, CLOSE_EOF, at_ns),
            EAGAIN if !reads(class) => network::refused(thread.socket, at_ns),
            EPIPE | ECONNABORTED | ECONNRESET | ETIMEDOUT => ended(pid_tgid, mark, thread.socket, CLOSE_RESET, at_ns),
            _ => {}
        }
        return 0;
    }
    let flags = flags_of(class, thread);
    if flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) != 0 {
        return 0;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
    let call = Call {
        pid_tgid,
        class,
        fd: thread.args[0] as u32,
        buffer: thread.args[1],
        asked: thread.args[2],
        direction: if reads(class) { DIR_RX } else { DIR_TX },
        result: result as u64,
        blind: u8::from(flags & MSG_TRUNC != 0),
        enter_ns: thread.syscall_since_ns,
        at_ns,
        moved: 0,
    };
    // SAFETY: this CPU's scratch. From here on the call is what memory says: the ten kinds of call are one path.
    unsafe { (*scratch).call = call };
    moved::<R>(capture::forget(scratch), mark, thread.socket);
    // SAFETY: as above.
    unsafe { (*capture::forget(scratch)).call.moved }
}

/// The stream of a captured connection ended in one way or another.
#[inline(always)]
fn ended(pid_tgid: u64, mark: u16, inode: u64, reason: u32, at_ns: u64) {
    if let Some(connection) = CONNECTION.get_ptr(inode) {
        closed(pid_tgid, mark, inode, connection, reason, at_ns);
    }
}

#[inline(always)]
fn moved<R: Read>(scratch: *mut Scratch, mark: u16, inode: u64) {
    // SAFETY: this CPU's scratch.
    unsafe { (*scratch).call.moved = walk::moved_bytes(&(*scratch).call) };
    let Some(connection) = followed::<R>(scratch, mark, inode) else { return };
    if let Some(sums) = watch::sums(mark) {
        capture::emit(scratch, sums, inode, connection);
    }
}

/// The connection to capture; made if the call's bytes begin one.
#[inline(always)]
fn followed<R: Read>(scratch: *mut Scratch, mark: u16, inode: u64) -> Option<*mut Connection> {
    // SAFETY: this CPU's scratch.
    let (direction, fd) = unsafe { ((*scratch).call.direction, (*scratch).call.fd) };
    if let Some(connection) = CONNECTION.get_ptr_mut(inode) {
        // SAFETY: a map value.
        let Connection { state, protocol, requests, .. } = unsafe { &*connection };
        let wanted = *protocol == PROTOCOL_HTTP || *requests == direction;
        return (*state != CONNECTION_IGNORED && wanted).then_some(connection);
    }
    // A server's output can be a socket, that of the journal say. What stands there of requests is no request.
    if direction == DIR_TX && log::is_output(u64::from(fd)) && address::is_unix::<R>(u64::from(fd), inode) {
        return None;
    }
    // What a process answers will show whether it is a server; what it asks, or its children do, is not looked at.
    if direction == DIR_TX && watch::is_candidate(mark) {
        return None;
    }
    // SAFETY: this CPU's scratch.
    let protocol = sniff::protocol(unsafe { &(*scratch).call }, mark);
    if protocol == sniff::NONE {
        return None;
    }
    let mut new = Connection { requests: direction, last: direction, protocol, ..Connection::default() };
    // Unless the descriptor is another's by now.
    if let Some(file) = current_file::<R>(u64::from(fd))
        && socket_inode(file) == Some(inode)
    {
        address::fill(&mut new, file);
    }
    if CONNECTION.insert(inode, new, 0).is_err() {
        lost(Lost::MapConnection);
        return None;
    }
    CONNECTION.get_ptr_mut(inode)
}
