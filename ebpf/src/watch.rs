//! Who is watched: tgid to slot, and slots handed out and taken back.

use aya_ebpf::bindings::BPF_NOEXIST;
use inferscope_abi::{CANDIDATES, Counters, Lost, Process, WATCH_ROW};

use crate::{
    emit::lost,
    kernel::now_ns,
    maps::{FREE_SLOTS, LIVE, PROCESS, SERVICE, TRAITS, WATCHED},
};

/// Slot + 1 of a process, 0 if it is not watched.
#[inline(always)]
pub fn mark(tgid: u32) -> u16 {
    match WATCHED.get_ptr(tgid / WATCH_ROW as u32) {
        // SAFETY: the index is below the row's length.
        Some(row) => unsafe { (*row)[tgid as usize % WATCH_ROW] },
        None => 0,
    }
}

#[inline(always)]
fn set_mark(tgid: u32, mark: u16) -> bool {
    match WATCHED.get_ptr_mut(tgid / WATCH_ROW as u32) {
        Some(row) => {
            // SAFETY: the index is below the row's length; a two-byte store does not disturb its neighbours.
            unsafe { (*row)[tgid as usize % WATCH_ROW] = mark };
            true
        }
        None => false,
    }
}

/// The sums of a watched process and of its service.
#[derive(Clone, Copy)]
pub struct Sums {
    pub process: *mut Process,
    pub service: *mut Counters,
    pub service_index: u32,
}

#[inline(always)]
pub fn sums(mark: u16) -> Option<Sums> {
    if mark == 0 {
        return None;
    }
    let process = PROCESS.get_ptr_mut(u32::from(mark) - 1)?;
    // SAFETY: a map value.
    let service_index = unsafe { (*process).service };
    Some(Sums { process, service: SERVICE.get_ptr_mut(service_index)?, service_index })
}

/// Whether a watched process is of no service (yet). Nobody asked for what it says and whom it asks.
#[inline(always)]
pub fn is_candidate(mark: u16) -> bool {
    match PROCESS.get_ptr(u32::from(mark) - 1) {
        // SAFETY: a map value.
        Some(process) => unsafe { (*process).service == CANDIDATES },
        None => true,
    }
}

/// Whether a watched process is of a service with this `TRAIT_*`.
#[inline(always)]
pub fn expects(mark: u16, which: u32) -> bool {
    let Some(process) = PROCESS.get_ptr(u32::from(mark) - 1) else { return false };
    // SAFETY: a map value.
    match TRAITS.get_ptr(unsafe { (*process).service }) {
        // SAFETY: as above.
        Some(traits) => unsafe { *traits & which != 0 },
        None => false,
    }
}

/// Watches a new process of a service.
#[inline(always)]
pub fn begin(tgid: u32, service: u32) -> bool {
    // The limit of process ids was raised since the start: there is no place for its mark.
    if WATCHED.get_ptr(tgid / WATCH_ROW as u32).is_none() {
        lost(Lost::MapProcess);
        return false;
    }
    let Ok(Some(slot)) = FREE_SLOTS.pop() else {
        lost(Lost::MapProcess);
        return false;
    };
    let Some(process) = PROCESS.get_ptr_mut(slot) else {
        return false;
    };
    // SAFETY: a map value that no process has.
    unsafe {
        // In words: a memset of this size would become a call that the oldest kernels refuse.
        let words = process.cast::<u64>();
        for word in 0..size_of::<Process>() / 8 {
            core::ptr::write_volatile(words.add(word), 0);
        }
        (*process).tgid = tgid;
        (*process).service = service;
        (*process).since_ns = now_ns();
    }
    if LIVE.insert(tgid, slot, u64::from(BPF_NOEXIST)).is_err() {
        // Or the agent watches it already: it found the child before this hook came.
        if LIVE.get_ptr(tgid).is_none() {
            lost(Lost::MapProcess);
        }
        let _ = FREE_SLOTS.push(slot, 0);
        return false;
    }
    set_mark(tgid, slot as u16 + 1)
}

/// Ends the watch of a process; its slot is free from then on.
#[inline(always)]
pub fn end(tgid: u32, mark: u16) {
    set_mark(tgid, 0);
    if FREE_SLOTS.push(u32::from(mark) - 1, 0).is_err() {
        lost(Lost::SlotReturn);
    }
}
