//! The only user of the ring: fill, submit, count what was lost and where.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::bpf_ringbuf_output,
};
use inferscope_abi::{Header, Kind, Lost};

use crate::{
    config,
    maps::{LOST, RING},
    state,
};

/// Counts one loss.
#[inline(always)]
pub fn lost(place: Lost) {
    if let Some(count) = LOST.get_ptr_mut(place as u32) {
        // SAFETY: a map value; this CPU's own, but of programs that can come between one another.
        unsafe { state::add(count, 1) };
    }
}

#[inline(always)]
pub fn header(kind: Kind, tgid: u32, tid: u32, at_ns: u64) -> Header {
    Header { kind: kind as u32, tgid, tid, reserved: 0, at_ns }
}

/// Records that find the ring this much fuller than the mark still wake.
const WAKE_WINDOW: u64 = 64 << 10;

/// No wake-up per event: the agent looks at the ring by itself, and is woken only when much has gathered. Then not by
/// every record either: while the agent works or waits for a CPU, each would cost the writer a microsecond for nothing.
#[inline(always)]
fn wake_flag() -> u64 {
    let mark = u64::from(config!(wake_bytes));
    let gathered = RING.query(u64::from(BPF_RB_AVAIL_DATA));
    if gathered >= mark && gathered < mark + WAKE_WINDOW {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}

/// Copies a whole record into the ring.
#[inline(always)]
pub fn record<T>(value: &T, place: Lost) {
    // SAFETY: `value` is readable for its size.
    unsafe { bytes(core::ptr::from_ref(value).cast(), size_of::<T>() as u64, place) };
}

/// Copies `len` bytes into the ring as one record; false if it had no room.
///
/// # Safety
/// `data` is readable for `len` bytes, in the verifier's eyes too.
#[inline(always)]
pub unsafe fn bytes(data: *const u8, len: u64, place: Lost) -> bool {
    // SAFETY: by contract.
    let failed =
        unsafe { bpf_ringbuf_output((&raw const RING).cast_mut().cast(), data.cast_mut().cast(), len, wake_flag()) };
    if failed != 0 {
        lost(place);
    }
    failed == 0
}

/// Reserves a record too large for the stack, lets `fill` write it, submits it.
#[inline(always)]
pub fn filled<T: 'static>(place: Lost, fill: impl FnOnce(*mut T)) {
    match RING.reserve::<T>(0) {
        Some(mut record) => {
            fill(record.as_mut_ptr());
            record.submit(wake_flag());
        }
        None => lost(place),
    }
}
