//! Copies what a call moved into payload records: all buffers of all messages, in the order of the stream.
//!
//! One flat loop takes a piece, or the next buffer, or the next message at each step: nested loops would multiply
//! what the verifier of 5.10 has to walk, and bpf_loop() is only there since 5.17.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use inferscope_abi::{
    CONNECTION_CAPTURED, CONNECTION_NEW, Connection, Counters, DIR_RX, Kind, Lost, PAYLOAD_BYTES, PAYLOAD_FIRST,
    PAYLOAD_MORE, PAYLOAD_ZMTP, PROTOCOL_ZMTP, PayloadHeader, STATES,
};

use super::{Call, network, walk::Walk};
use crate::{
    config,
    emit::{self, header, lost},
    kernel::opaque,
    maps::{SCRATCH, Scratch},
    watch::Sums,
};

/// Steps of the loop: buffers and messages and pieces of one call, taken together.
const STEPS: u32 = 2048;
const DATA: u64 = PAYLOAD_BYTES as u64;
/// Captured of one call on a ZMTP connection: any batch of frames (libzmq sends and reads at most 8 KiB of them at once) and
/// the tokens of some hundred requests in one frame; not the pictures and logits that go by.
const ZMTP_BYTES: u64 = 8 * DATA;

/// Emits all records of the call in `scratch`.
#[inline(always)]
pub fn emit(scratch: *mut Scratch, sums: Sums, inode: u64, connection: *mut Connection) {
    // SAFETY: map values.
    unsafe {
        let call = &(*scratch).call;
        let total = call.moved;
        let first = (*connection).state == CONNECTION_NEW;
        (*connection).state = CONNECTION_CAPTURED;
        let moved =
            if call.direction == DIR_RX { &raw mut (*connection).moved[0] } else { &raw mut (*connection).moved[1] };
        let offset = *moved;
        *moved = offset + total;
        fill_head(&mut (*scratch).head, call, inode, &*connection);
        (*scratch).head.offset = offset;
        (*scratch).head.network =
            if call.direction == DIR_RX { (*connection).network } else { network::sent(connection, call) };
        (*scratch).head.service = sums.service_index;
        let zmtp = (*connection).protocol == PROTOCOL_ZMTP;
        let kind = if zmtp { PAYLOAD_ZMTP } else { 0 };
        (*scratch).head.flags = if first { PAYLOAD_FIRST | kind } else { kind };
        snapshot(&mut (*scratch).head, sums.service, call.at_ns);
        (*scratch).walk = match Walk::new(call) {
            Some(walk) => walk,
            None => return,
        };
        if zmtp {
            plan(&mut (*scratch).walk, call.blind != 0, total, ZMTP_BYTES, 0);
        } else {
            let full = long_request(connection, call.direction, total);
            let head = if full { 0 } else { u64::from(config!(capture_head_bytes)) };
            plan(&mut (*scratch).walk, call.blind != 0, total, head, u64::from(config!(capture_tail_bytes)));
        }
        copy(scratch);
    }
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
        head.snapshot.reclaim_ns = (*service).reclaim.at(now);
        head.snapshot.reclaims = (*service).reclaims;
        head.snapshot.interpreter_wait_ns = (*service).interpreter_wait_ns;
        head.snapshot.own_wait_ns = (*service).own_wait_ns;
    }
}

/// Adds a call to the request that it may belong to; true if that was at its cap already: an upload must not push other
/// connections' records out of the ring. Responses have no cap, for a stream tells its usage at the end.
///
/// # Safety
/// `connection` is a map value.
#[inline(always)]
unsafe fn long_request(connection: *mut Connection, direction: u8, total: u64) -> bool {
    // SAFETY: by contract.
    unsafe {
        let begins = (*connection).last != direction;
        (*connection).last = direction;
        if direction != (*connection).requests {
            return false;
        }
        let before = if begins { 0 } else { (*connection).request_bytes };
        (*connection).request_bytes = before + total;
        before >= u64::from(config!(capture_request_bytes))
    }
}

/// How the call's bytes are divided: captured from the beginning, left out, captured from the end.
#[inline(always)]
fn plan(walk: &mut Walk, blind: bool, total: u64, head: u64, tail: u64) {
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
        head.flags = (head.flags & (PAYLOAD_FIRST | PAYLOAD_ZMTP)) | if more { PAYLOAD_MORE } else { 0 };
        let filled = if filled > DATA { DATA } else { filled };
        emit::bytes(scratch.cast(), size_of::<PayloadHeader>() as u64 + filled, Lost::RingPayload);
        let head = &mut (*scratch).head;
        head.offset += length;
        head.flags &= PAYLOAD_ZMTP;
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
            if payload_step(0) == 0 {
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

/// A function of its own to the verifier too (global functions, 5.6), which looks at it once and not at every step.
/// Such a function takes numbers only. 0 at the end.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn payload_step(_: u64) -> u64 {
    match SCRATCH.get_ptr_mut(0) {
        // SAFETY: this CPU's scratch.
        Some(scratch) => u64::from(unsafe { step(scratch) }),
        None => 0,
    }
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
        // A buffer and its first piece are one step: there can be many small ones.
        if walk.left == 0 {
            if walk.iovs == 0 || walk.next_buffer().is_none() {
                return false;
            }
            if walk.left == 0 {
                return true;
            }
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
