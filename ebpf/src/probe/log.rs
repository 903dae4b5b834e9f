//! What watched processes write to standard output, standard error and log files: handed over up to a limit per service.
//!
//! Whether a file is a log is the agent's to say, once for each file; here it is a look-up when a write begins.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use inferscope_abi::{
    CANDIDATES, FileKey, Kind, LOG_APPENDED, LOG_ASKING, LOG_ASKING_BYTES, LOG_ASKS, LOG_BURST_NS, LOG_BYTES, LOG_FILE,
    LOG_MARK_FILE, LOG_MARK_OTHER, LOG_NONE, LOG_OUTPUT, LOG_RECORD_COST, LOG_VECTORS, LogEvent, LogRow, Lost,
    SYS_PWRITE, SYS_PWRITEV, SYS_WRITE, SYS_WRITEV, Thread,
};

use crate::{
    config,
    emit::{self, header, lost},
    kernel::{Read, Untyped, opaque, read},
    maps::{CONNECTION, LOG_MARK, LOG_ROW, SCRATCH, Scratch, THREAD},
    probe::socket,
    state, watch,
};

/// S_IFREG of inode(7).
const MODE_REGULAR: u16 = 0o100_000;
/// Of asm-generic/fcntl.h.
const O_APPEND: u32 = 0o2000;
const DATA: u64 = LOG_BYTES as u64;

/// The record as it is put together in the scratch: the room is that of a payload's, which the same call has not.
#[repr(C)]
struct LogScratch {
    head: LogEvent,
    data: [u8; 2 * LOG_BYTES],
}

const _: () = assert!(size_of::<LogScratch>() <= core::mem::offset_of!(Scratch, walk));

#[inline(always)]
pub fn writes(class: u8) -> bool {
    matches!(class, SYS_WRITE | SYS_WRITEV | SYS_PWRITE | SYS_PWRITEV)
}

#[inline(always)]
pub fn is_output(fd: u64) -> bool {
    fd == 1 || fd == 2
}

/// Address of the inode behind a descriptor of the current task, or 0.
#[inline(always)]
fn inode_behind<R: Read>(fd: u64) -> u64 {
    let Some(file) = socket::current_file::<R>(fd) else { return 0 };
    read(file, config!(offsets.file_inode)).unwrap_or(0)
}

/// Which log a write on a descriptor that is no socket is for: a `LOG_*`. `file`, `inode` and `mode` are those behind it.
#[inline(always)]
pub fn kind<R: Read>(fd: u64, file: u64, inode: u64, mode: u16, mark: u16) -> u32 {
    if is_output(fd) {
        return LOG_OUTPUT;
    }
    if mode & socket::MODE_TYPE == MODE_REGULAR {
        return kind_of_file(file, inode, mark);
    }
    // Duplicated, or opened once more as /dev/stderr.
    if inode == inode_behind::<R>(2) || inode == inode_behind::<R>(1) {
        return LOG_OUTPUT;
    }
    LOG_NONE
}

#[inline(always)]
fn kind_of_file(file: u64, inode: u64, mark: u16) -> u32 {
    let key = key_of(inode);
    let asked = match LOG_MARK.get_ptr_mut(key) {
        // SAFETY: a map value.
        Some(mark) => unsafe { *mark },
        None => 0,
    };
    if asked == LOG_MARK_FILE {
        return LOG_FILE;
    }
    if asked == LOG_MARK_OTHER || watch::is_candidate(mark) {
        return LOG_NONE;
    }
    if read::<u32>(file, config!(offsets.file_flags)).unwrap_or(0) & O_APPEND != 0 {
        return LOG_APPENDED;
    }
    if asked >= LOG_ASKS || LOG_MARK.insert(key, asked + 1, 0).is_err() {
        return LOG_NONE;
    }
    LOG_ASKING
}

#[inline(always)]
fn key_of(inode: u64) -> FileKey {
    let superblock: u64 = read(inode, config!(offsets.inode_sb)).unwrap_or(0);
    FileKey {
        inode: read(inode, config!(offsets.inode_ino)).unwrap_or(0),
        device: read(superblock, config!(offsets.super_dev)).unwrap_or(0),
        generation: read(inode, config!(offsets.inode_generation)).unwrap_or(0),
    }
}

/// A call that writes has written `result` bytes.
///
/// # Safety
/// `thread` is a map value.
#[inline(always)]
pub unsafe fn returned(pid_tgid: u64, mark: u16, thread: *const Thread, class: u8, result: u64, at_ns: u64) {
    // SAFETY: by contract.
    let (log, socket, fd) = unsafe { ((*thread).log, (*thread).socket, (*thread).args[0]) };
    if config!(logs) == 0 || log == LOG_NONE && (socket == 0 || !is_output(fd) || log_socket(fd, socket) == 0) {
        return;
    }
    if log_begin(pid_tgid, u64::from(mark), u64::from(class), result, at_ns) == 0 {
        return;
    }
    if log == LOG_APPENDED || log == LOG_ASKING {
        log_file(fd);
    }
    log_copy(result);
    log_end(result);
}

/// 1 if an output that is a socket leads to a process of this host, as that of the journal does, and carries no requests.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn log_socket(fd: u64, socket: u64) -> u64 {
    u64::from(CONNECTION.get_ptr(socket).is_none() && socket::address::is_unix::<Untyped>(fd, socket))
}

/// Which file it is goes to the record.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn log_file(fd: u64) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's scratch.
    unsafe { (*scratch.cast::<LogScratch>()).head.file = key_of(inode_behind::<Untyped>(fd)) };
    0
}

/// Takes all buffers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn log_copy(result: u64) -> u64 {
    for step in 0..LOG_VECTORS {
        if log_step(u64::from(step)) == 0 {
            break;
        }
    }
    result
}

/// Whether there is something to hand over; then the head of the record stands in the scratch, and so does the way through
/// the buffers. These are functions of their own to the verifier too, as `payload_step` is, and small ones: 5.10 gives all
/// frames on a way together 512 bytes, of which the program itself has 448.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn log_begin(pid_tgid: u64, mark: u64, class: u64, result: u64, at_ns: u64) -> u64 {
    let Some(thread) = THREAD.get_ptr(pid_tgid as u32) else { return 0 };
    let Some(sums) = watch::sums(mark as u16) else { return 0 };
    let service = sums.service_index;
    let Some(row) = LOG_ROW.get_ptr_mut(service) else { return 0 };
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: map values.
    unsafe {
        let head = &raw mut (*scratch.cast::<LogScratch>()).head;
        let kind = if (*thread).socket != 0 { LOG_OUTPUT } else { (*thread).log };
        (*head).header = header(Kind::Log, (pid_tgid >> 32) as u32, pid_tgid as u32, at_ns);
        (*head).written = result;
        (*head).service = service;
        (*head).fd = (*thread).args[0] as u32;
        (*head).kind = kind;
        // By words: one memset would be one more frame on the stack.
        core::ptr::write_volatile(&raw mut (*head).file.inode, 0);
        core::ptr::write_volatile((&raw mut (*head).file.device).cast::<u64>(), 0);
        if service == CANDIDATES {
            return 0;
        }
        let most = if kind == LOG_ASKING { LOG_ASKING_BYTES as u64 } else { DATA };
        let wanted = if result < most { result } else { most };
        // Of a file that may be no log, the agent counts what was written once it knows.
        if is_counted(kind) {
            state::add(&raw mut (*row).bytes, result);
        }
        if !pay(row, wanted, at_ns) {
            // Of a file that is hardly a log nothing is missing yet.
            if kind != LOG_ASKING {
                lost(Lost::LogRate);
            }
            skipped(row, kind, result);
            return 0;
        }
        begin(scratch, thread, class, wanted);
    }
    1
}

#[inline(always)]
fn is_counted(kind: u32) -> bool {
    kind == LOG_OUTPUT || kind == LOG_FILE
}

/// Of a write there will be no record.
///
/// # Safety
/// `row` is a map value.
#[inline(always)]
unsafe fn skipped(row: *mut LogRow, kind: u32, bytes: u64) {
    // SAFETY: by contract.
    unsafe {
        state::add(&raw mut (*row).skipped, 1);
        if is_counted(kind) {
            state::add(&raw mut (*row).unread_bytes, bytes);
        }
    }
}

/// Takes the bytes off the service's limit; false if it is used up. Writers on other CPUs can come between the load and
/// the store: the limit is then exceeded by what they write at that instant.
///
/// # Safety
/// `row` is a map value.
#[inline(always)]
unsafe fn pay(row: *mut LogRow, bytes: u64, now: u64) -> bool {
    // SAFETY: by contract.
    unsafe {
        let paid_at = core::ptr::read_volatile(&raw const (*row).paid_at_ns);
        let from = if paid_at > now { paid_at } else { now };
        if from - now > LOG_BURST_NS {
            return false;
        }
        let cost = (bytes + LOG_RECORD_COST) * u64::from(config!(log_byte_ns));
        core::ptr::write_volatile(&raw mut (*row).paid_at_ns, from + cost);
    }
    true
}

/// The way through the buffers begins. It stands in map memory, for the reasons that `Walk` gives.
///
/// # Safety
/// `scratch` is this CPU's, `thread` a map value.
#[inline(always)]
unsafe fn begin(scratch: *mut Scratch, thread: *const Thread, class: u64, wanted: u64) {
    let vectors = class as u8 == SYS_WRITEV || class as u8 == SYS_PWRITEV;
    // SAFETY: by contract.
    unsafe {
        let walk = &mut (*scratch).walk;
        walk.filled = 0;
        walk.total_left = wanted;
        walk.base = (*thread).args[1];
        walk.left = if vectors { 0 } else { wanted };
        walk.iov = (*thread).args[1];
        walk.iovs = if vectors { (*thread).args[2] } else { 0 };
    }
}

/// Takes one buffer; 0 at the end. The number is looked at so that the compiler passes it: the verifier refuses a call
/// with a register of any other kind in its place ("R1 is not a scalar").
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn log_step(step: u64) -> u64 {
    if opaque(step as usize) >= LOG_VECTORS as usize {
        return 0;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's scratch.
    unsafe {
        let walk = &mut (*scratch).walk;
        if walk.left == 0 {
            if walk.iovs == 0 {
                return 0;
            }
            // struct iovec is as base and left are.
            if bpf_probe_read_user((&raw mut walk.base).cast(), 16, walk.iov as *const core::ffi::c_void) != 0 {
                lost(Lost::UserRead);
                return 0;
            }
            let len = core::ptr::read_volatile(&raw const walk.left);
            walk.iov += 16;
            walk.iovs -= 1;
            walk.left = if len < walk.total_left { len } else { walk.total_left };
            if walk.left == 0 {
                return u64::from(walk.total_left != 0);
            }
        }
        let at = walk.filled & (DATA - 1);
        let bytes = opaque(walk.left as usize) as u64;
        let to = (&raw mut (*scratch.cast::<LogScratch>()).data).cast::<u8>().add(at as usize);
        if bytes == 0 || bytes > DATA {
            return 0;
        }
        if bpf_probe_read_user(to.cast(), bytes as u32, walk.base as *const core::ffi::c_void) != 0 {
            lost(Lost::UserRead);
            return 0;
        }
        let walk = &mut (*scratch).walk;
        walk.filled += bytes;
        walk.total_left = walk.total_left.saturating_sub(bytes);
        walk.left = 0;
        u64::from(walk.total_left != 0)
    }
}

/// Submits what is gathered of a call that wrote `written` bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn log_end(written: u64) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
    let log = scratch.cast::<LogScratch>();
    // SAFETY: map values; the verifier needs the bound in the register that it is used from.
    unsafe {
        let Some(row) = LOG_ROW.get_ptr_mut((*log).head.service) else { return 0 };
        let filled = opaque((*scratch).walk.filled as usize) as u64;
        let filled = if filled > DATA { DATA } else { filled };
        (*log).head.captured = filled as u32;
        (*log).head.skipped = (*row).skipped;
        let kind = (*log).head.kind;
        if !emit::bytes(log.cast(), size_of::<LogEvent>() as u64 + filled, Lost::RingLog) {
            skipped(row, kind, written);
        } else if is_counted(kind) {
            state::add(&raw mut (*row).unread_bytes, written.saturating_sub(filled));
        }
    }
    0
}
