//! Thread states: each transition is two additions per sum, for the process and for its service.

use core::arch::asm;

use inferscope_abi::{LOG_NONE, Lost, NO_SYSCALL, STATE_UNKNOWN, STATES, StateSum, Thread, WAIT_NONE, Wait};

use crate::{
    config,
    emit::lost,
    kernel::opaque,
    maps::{RAN, SERVICE, THREAD},
    watch::Sums,
};

/// Atomic addition without a result: the one form that every kernel since 4.x has.
///
/// # Safety
/// `at` points into a map value.
#[inline(always)]
pub unsafe fn add(at: *mut u64, value: u64) {
    // SAFETY: by contract.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) at, in(reg) value) };
}

/// The entry of a watched thread, made on first sight.
#[inline(always)]
pub fn thread(tid: u32, tgid: u32) -> Option<*mut Thread> {
    if let Some(thread) = THREAD.get_ptr_mut(tid) {
        return Some(thread);
    }
    let new = Thread {
        tgid,
        state: STATE_UNKNOWN,
        since_ns: 0,
        syscall: NO_SYSCALL,
        flags: 0,
        syscall_since_ns: 0,
        args: [0; 4],
        socket: 0,
        reclaim_ns: 0,
        wait: Wait { state: WAIT_NONE, ..Wait::default() },
        ran_ns: 0,
        queue_cpu: 0,
        waking: 0,
        waking_cpu: 0,
        log: LOG_NONE,
        awaited: 0,
        timeouts: 0,
        service: 0,
    };
    if THREAD.insert(tid, new, 0).is_err() {
        lost(Lost::MapThread);
        return None;
    }
    THREAD.get_ptr_mut(tid)
}

#[inline(always)]
unsafe fn leave(sum: *mut StateSum, now: u64) {
    // SAFETY: a map value.
    unsafe {
        add(&raw mut (*sum).packed, StateSum::leaving(now));
        add(&raw mut (*sum).n, u64::MAX);
    }
}

#[inline(always)]
unsafe fn enter(sum: *mut StateSum, now: u64) {
    // SAFETY: a map value.
    unsafe {
        add(&raw mut (*sum).packed, StateSum::entering(now));
        add(&raw mut (*sum).n, 1);
    }
}

/// Ends the state that a thread is in.
///
/// # Safety
/// `thread` and `sums` point to map values.
#[inline(always)]
pub unsafe fn close(thread: *mut Thread, sums: Sums, now: u64) {
    // SAFETY: by contract.
    unsafe {
        let from = (*thread).state as usize;
        if from >= STATES {
            return;
        }
        leave((&raw mut (*sums.process).counters.states).cast::<StateSum>().add(from), now);
        close_late(thread, now);
    }
}

/// Ends the state that a thread is in for its service alone, which may have been another one than its process's is now, or
/// have gone and left its place to another: its process may have ended before it, and its sums be another's by now.
///
/// # Safety
/// As for [`close`].
#[inline(always)]
pub unsafe fn close_late(thread: *mut Thread, now: u64) {
    // SAFETY: by contract.
    unsafe {
        let from = opaque((*thread).state as usize);
        if from >= STATES {
            return;
        }
        (*thread).state = STATE_UNKNOWN;
        let Some(service) = SERVICE.get_ptr_mut((*thread).service) else { return };
        if (*thread).since_ns >= (*service).since_ns {
            leave((&raw mut (*service).states).cast::<StateSum>().add(from), now);
        }
    }
}

/// Puts a thread into the state `to`.
///
/// # Safety
/// As for [`close`]; `to` is below STATES.
#[inline(always)]
pub unsafe fn open(thread: *mut Thread, sums: Sums, to: usize, now: u64) {
    // SAFETY: by contract.
    unsafe {
        // The compiler knows the bound and would drop the check that the verifier needs.
        let to = opaque(to);
        if to >= STATES {
            return;
        }
        (*thread).state = to as u32;
        (*thread).since_ns = now;
        (*thread).service = sums.service_index;
        enter((&raw mut (*sums.process).counters.states).cast::<StateSum>().add(to), now);
        enter((&raw mut (*sums.service).states).cast::<StateSum>().add(to), now);
    }
}

/// A thread whose state is that it is on the CPU begins, or goes on, to make room in memory.
///
/// # Safety
/// As for [`close`].
#[inline(always)]
pub unsafe fn reclaim_begins(thread: *const Thread, sums: Sums, now: u64) {
    // SAFETY: by contract.
    unsafe {
        enter(&raw mut (*sums.process).counters.reclaim, now);
        let Some(service) = SERVICE.get_ptr_mut((*thread).service) else { return };
        enter(&raw mut (*service).reclaim, now);
    }
}

/// It has made room, or leaves the CPU meanwhile: before its state changes.
///
/// # Safety
/// As for [`reclaim_begins`], which it follows.
#[inline(always)]
pub unsafe fn reclaim_ends(thread: *const Thread, sums: Sums, now: u64) {
    // SAFETY: by contract.
    unsafe {
        leave(&raw mut (*sums.process).counters.reclaim, now);
        let Some(service) = SERVICE.get_ptr_mut((*thread).service) else { return };
        leave(&raw mut (*service).reclaim, now);
    }
}

/// How long a service has run on a CPU; null if there is no room for that.
#[inline(always)]
pub fn ran(service: u32, cpu: u32) -> *mut u64 {
    match RAN.get_ptr_mut(cpu * config!(services) + service) {
        Some(ran) => ran,
        None => core::ptr::null_mut(),
    }
}

/// A thread joins the queue of a CPU.
///
/// # Safety
/// `thread` is a map value.
#[inline(always)]
pub unsafe fn queued(thread: *mut Thread, service: u32, cpu: u32) {
    let ran = ran(service, cpu);
    // SAFETY: by contract, and a map value.
    unsafe {
        (*thread).queue_cpu = cpu;
        (*thread).ran_ns = if ran.is_null() { 0 } else { *ran };
    }
}

/// For how long of a wait that is over threads of its own service had the CPU that a thread waited for: before its state
/// changes.
///
/// # Safety
/// As for [`queued`].
#[inline(always)]
pub unsafe fn own_wait(thread: *const Thread, delay_ns: u64) -> u64 {
    // SAFETY: by contract, and a map value.
    unsafe {
        let ran = ran((*thread).service, (*thread).queue_cpu);
        if ran.is_null() {
            return 0;
        }
        // Its own last run is in both; one that had begun before the wait is not all of it.
        let own = (*ran).wrapping_sub((*thread).ran_ns);
        if own < delay_ns { own } else { delay_ns }
    }
}
