//! Copies what a call moved into payload records: all buffers of all messages, in the order of the stream.
//!
//! One flat loop takes a piece, or the next buffer, or the next message at each step: nested loops would multiply
//! what the verifier of 5.10 has to walk, and bpf_loop() is only there since 5.17.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use inferscope_abi::{
    CONNECTION_CAPTURED, CONNECTION_NEW, Connection, Counters, DIR_RX, Kind, Lost, PAYLOAD_BYTES, PAYLOAD_FIRST,
    PAYLOAD_MORE, PayloadHeader, STATES, SYS_READ, SYS_READV, SYS_RECVFROM, SYS_RECVMMSG, SYS_RECVMSG, SYS_SENDMMSG,
    SYS_SENDMSG, SYS_SENDTO, SYS_WRITE, SYS_WRITEV,
};

use super::Call;
use crate::{
    config,
    emit::{self, header, lost},
    kernel::{opaque, read_user},
    maps::Scratch,
    watch,
};

/// Steps of the loop: buffers and messages and pieces of one call, taken together.
const STEPS: u32 = 96;
/// Messages of one recvmmsg or sendmmsg call that are added up.
const MESSAGES: u64 = 32;
const DATA: u64 = PAYLOAD_BYTES as u64;

/// struct iovec, msghdr and mmsghdr of the 64-bit system call interface.
const IOVEC_BYTES: u64 = 16;
const MSGHDR_IOV: u64 = 16;
const MMSGHDR_BYTES: u64 = 64;
const MMSGHDR_LEN: u64 = 56;

/// Where the loop stands. It lives in map memory: what the verifier reads from there it takes for any number, so that
/// each step looks to it like the one before, and it need not walk all the ways of getting there.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Walk {
    /// The rest of the present buffer.
    base: u64,
    left: u64,
    /// The next iovec, and how many there are still.
    iov: u64,
    iovs: u64,
    /// The next mmsghdr, and how many there are still.
    message: u64,
    messages: u64,
    /// Bytes of the present message that are not taken yet.
    message_left: u64,
    /// Bytes still to be captured before those left out, to be left out, and in all.
    head_left: u64,
    skip_left: u64,
    total_left: u64,
    /// Bytes left out so far that no record stands for yet.
    skipped: u64,
    /// Bytes in the record that is being put together.
    filled: u64,
}

impl Walk {
    #[inline(always)]
    fn new(call: &Call) -> Option<Self> {
        let mut at = Walk {
            base: 0,
            left: 0,
            iov: 0,
            iovs: 0,
            message: 0,
            messages: 0,
            message_left: call.result,
            head_left: 0,
            skip_left: 0,
            total_left: 0,
            skipped: 0,
            filled: 0,
        };
        match call.class {
            SYS_READ | SYS_WRITE | SYS_RECVFROM | SYS_SENDTO => (at.base, at.left) = (call.buffer, call.result),
            // The third argument, the number of vectors, bounds nothing here: the bytes moved do.
            SYS_READV | SYS_WRITEV => (at.iov, at.iovs) = (call.buffer, u64::MAX),
            SYS_RECVMSG | SYS_SENDMSG => at.header(call.buffer)?,
            SYS_RECVMMSG | SYS_SENDMMSG => {
                let messages = if call.result < MESSAGES { call.result } else { MESSAGES };
                (at.message, at.messages, at.message_left) = (call.buffer, messages, 0);
                at.next_message()?;
            }
            _ => return None,
        }
        Some(at)
    }

    #[inline(always)]
    fn header(&mut self, msghdr: u64) -> Option<()> {
        let [iov, iovs]: [u64; 2] = read_user(msghdr + MSGHDR_IOV)?;
        (self.iov, self.iovs) = (iov, iovs);
        Some(())
    }

    #[inline(always)]
    fn next_message(&mut self) -> Option<()> {
        self.header(self.message)?;
        self.message_left = message_bytes(self.message);
        self.left = 0;
        self.messages -= 1;
        self.message += MMSGHDR_BYTES;
        Some(())
    }

    #[inline(always)]
    fn next_buffer(&mut self) -> Option<()> {
        let [base, len]: [u64; 2] = read_user(self.iov)?;
        self.base = base;
        self.left = if len < self.message_left { len } else { self.message_left };
        self.iov += IOVEC_BYTES;
        self.iovs -= 1;
        Some(())
    }
}

/// The call's first buffer that holds anything; what `sniff` looks at.
#[inline(always)]
pub fn first_buffer(call: &Call) -> Option<(u64, u64)> {
    let mut at = Walk::new(call)?;
    for _ in 0..4 {
        if at.left != 0 {
            return Some((at.base, at.left));
        }
        if at.iovs == 0 {
            return None;
        }
        at.next_buffer()?;
    }
    None
}

/// Emits all records of the call in `scratch`.
#[inline(always)]
pub fn emit(scratch: *mut Scratch, mark: u16, inode: u64, connection: *mut Connection) {
    let Some(sums) = watch::sums(mark) else { return };
    // SAFETY: map values.
    unsafe {
        let call = &(*scratch).call;
        let total = moved_bytes(call);
        let first = (*connection).state == CONNECTION_NEW;
        (*connection).state = CONNECTION_CAPTURED;
        let moved =
            if call.direction == DIR_RX { &raw mut (*connection).moved[0] } else { &raw mut (*connection).moved[1] };
        let offset = *moved;
        *moved = offset + total;
        fill_head(&mut (*scratch).head, call, inode, &*connection);
        (*scratch).head.offset = offset;
        (*scratch).head.service = sums.service_index;
        (*scratch).head.flags = if first { PAYLOAD_FIRST } else { 0 };
        snapshot(&mut (*scratch).head, sums.service, call.at_ns);
        (*scratch).walk = match Walk::new(call) {
            Some(walk) => walk,
            None => return,
        };
        plan(&mut (*scratch).walk, call.blind != 0, total);
        copy(scratch);
    }
}

/// Bytes that the call moved.
#[inline(always)]
fn moved_bytes(call: &Call) -> u64 {
    if call.class != SYS_RECVMMSG && call.class != SYS_SENDMMSG {
        return call.result;
    }
    let mut total = 0;
    for message in 0..MESSAGES {
        if message >= call.result {
            break;
        }
        total += message_bytes(call.buffer + message * MMSGHDR_BYTES);
    }
    // How much the messages beyond these moved is not known. One byte that never comes stands for them, so that the
    // loss is counted and the agent sees a gap.
    if call.result > MESSAGES { total + 1 } else { total }
}

/// `msg_len` of a struct mmsghdr; 0 where it can't be read.
#[inline(always)]
fn message_bytes(mmsghdr: u64) -> u64 {
    let mut bytes = 0u32;
    let from = (mmsghdr + MMSGHDR_LEN) as *const core::ffi::c_void;
    // SAFETY: four bytes of stack, which the helper zeroes where it fails.
    unsafe { bpf_probe_read_user((&raw mut bytes).cast(), 4, from) };
    u64::from(bytes)
}

#[inline(always)]
fn fill_head(head: &mut PayloadHeader, call: &Call, inode: u64, connection: &Connection) {
    head.header = header(Kind::Payload, (call.pid_tgid >> 32) as u32, call.pid_tgid as u32, call.at_ns);
    head.enter_ns = call.enter_ns;
    head.socket = inode;
    head.fd = call.fd;
    head.direction = call.direction;
    head.family = connection.family;
    head.local_port = connection.local_port;
    head.remote_port = connection.remote_port;
    head.remote_address = connection.remote_address;
}

#[inline(always)]
unsafe fn snapshot(head: &mut PayloadHeader, service: *const Counters, now: u64) {
    head.snapshot.at_ns = now;
    // SAFETY: a map value.
    unsafe {
        for state in 0..STATES {
            head.snapshot.state_ns[state] = (*service).states[state].at(now);
        }
        head.snapshot.major_faults = (*service).major_faults;
        head.snapshot.block_bytes = (*service).block_bytes;
    }
}

/// How the call's bytes are divided: captured from the beginning, left out, captured from the end.
#[inline(always)]
fn plan(walk: &mut Walk, blind: bool, total: u64) {
    let head = u64::from(config!(capture_head_bytes));
    let tail = u64::from(config!(capture_tail_bytes));
    walk.total_left = total;
    if blind {
        walk.skip_left = total;
    } else if total <= head + tail {
        walk.head_left = total;
    } else {
        lost(Lost::CaptureCap);
        walk.head_left = head;
        walk.skip_left = total - head - tail;
    }
}

/// Submits a record of the bytes gathered, which stands for `length` bytes of the stream: what is not copied, for
/// whatever reason, still moves the stream on.
///
/// # Safety
/// `scratch` is this CPU's.
#[inline(always)]
unsafe fn flush(scratch: *mut Scratch, length: u64, more: bool) {
    // SAFETY: by contract; the verifier needs the bound in the register that it is used from.
    unsafe {
        let filled = (*scratch).walk.filled;
        (*scratch).walk.filled = 0;
        let head = &mut (*scratch).head;
        head.captured = filled as u32;
        head.length = length as u32;
        head.flags = (head.flags & PAYLOAD_FIRST) | if more { PAYLOAD_MORE } else { 0 };
        let filled = if filled > DATA { DATA } else { filled };
        emit::bytes(scratch.cast(), size_of::<PayloadHeader>() as u64 + filled, Lost::RingPayload);
        let head = &mut (*scratch).head;
        head.offset += length;
        head.flags = 0;
    }
}

/// # Safety
/// `scratch` is this CPU's.
#[inline(always)]
unsafe fn copy(scratch: *mut Scratch) {
    let mut scratch = scratch;
    // SAFETY: by contract.
    unsafe {
        for _ in 0..STEPS {
            scratch = forget(scratch);
            if !step(scratch) {
                break;
            }
        }
        scratch = forget(scratch);
        let Walk { filled, skipped, total_left, .. } = (*scratch).walk;
        if filled != 0 || skipped != 0 || total_left != 0 {
            if total_left != 0 {
                lost(Lost::IovecTail);
            }
            flush(scratch, filled + skipped + total_left, false);
        }
    }
}

/// Makes compiler and verifier forget what they know of the scratch: memory is all that one step hands on to the next.
#[inline(always)]
pub fn forget(scratch: *mut Scratch) -> *mut Scratch {
    let mut scratch = scratch;
    // SAFETY: one register to itself.
    unsafe { asm!("{0} = {0}", inlateout(reg) scratch) };
    scratch
}

/// One piece, buffer or message; false at the end.
#[inline(always)]
unsafe fn step(scratch: *mut Scratch) -> bool {
    // SAFETY: by contract.
    unsafe {
        let walk = &mut (*scratch).walk;
        if walk.total_left == 0 {
            return false;
        }
        if walk.message_left == 0 {
            return walk.messages != 0 && walk.next_message().is_some();
        }
        if walk.left == 0 {
            return walk.iovs != 0 && walk.next_buffer().is_some();
        }
        let (piece, copied) = if walk.head_left == 0 && walk.skip_left != 0 {
            let piece = if walk.left < walk.skip_left { walk.left } else { walk.skip_left };
            walk.skip_left -= piece;
            walk.skipped += piece;
            (piece, false)
        } else {
            let room = DATA - (walk.filled & (DATA - 1));
            let mut piece = if walk.left < room { walk.left } else { room };
            if walk.skip_left != 0 && walk.head_left < piece {
                piece = walk.head_left;
            }
            if !take(scratch, piece) {
                return false;
            }
            (piece, true)
        };
        let walk = &mut (*scratch).walk;
        walk.base += piece;
        walk.left -= piece;
        walk.message_left -= piece;
        walk.total_left -= piece;
        if copied {
            walk.filled += piece;
            walk.head_left = walk.head_left.saturating_sub(piece);
        }
        // A record ends when it is full, unless bytes left out follow, which it then stands for too.
        let skip_done = !copied && walk.skip_left == 0;
        let full = walk.filled >= DATA && (walk.skip_left == 0 || walk.head_left != 0);
        if skip_done || full {
            let length = walk.filled + walk.skipped;
            walk.skipped = 0;
            flush(scratch, length, (*scratch).walk.total_left != 0);
        }
        true
    }
}

/// Copies one piece behind what is gathered: at most DATA bytes behind at most DATA bytes.
#[inline(always)]
unsafe fn take(scratch: *mut Scratch, piece: u64) -> bool {
    // SAFETY: by contract.
    unsafe {
        let at = (*scratch).walk.filled & (DATA - 1);
        let to = (&raw mut (*scratch).data).cast::<u8>().add(at as usize);
        let from = (*scratch).walk.base as *const core::ffi::c_void;
        let bytes = opaque(piece as usize) as u64;
        if bytes == 0 || bytes > DATA || bpf_probe_read_user(to.cast(), bytes as u32, from) != 0 {
            lost(Lost::UserRead);
            return false;
        }
    }
    true
}
