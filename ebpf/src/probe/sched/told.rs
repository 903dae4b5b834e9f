//! For a timeline: one record per run of a thread, made when it leaves the CPU; until then the thread's entry keeps what
//! came before. Each of these is called before the state sums move on, and is dead code while no timeline is recorded.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_get_smp_processor_id};
use inferscope_abi::{
    Kind, Lost, NO_SYSCALL, STATE_ONCPU, STATE_RUNQUEUE, STATE_THROTTLED, STATES, SchedEvent, Thread, WAIT_NEW,
    WAIT_NO_SYSCALL, WAIT_NONE,
};

use crate::{
    config,
    emit::{self, header},
    kernel::Read,
    maps::THREAD,
    watch,
};

/// A blocked thread, or a new one, becomes runnable.
///
/// # Safety
/// `thread` is a map value.
#[inline(always)]
pub unsafe fn woken(thread: *mut Thread, new: bool) {
    if config!(timeline) == 0 {
        return;
    }
    // SAFETY: by contract.
    unsafe {
        if new {
            (*thread).wait.flags = WAIT_NEW;
        }
        blocked(thread);
        // An idle CPU wakes up its threads itself, when it is asked to: `waking` was where that began.
        if (*thread).waking_cpu != 0 && !new {
            (*thread).wait.waker = (*thread).waking;
            (*thread).wait.waker_cpu = ((*thread).waking_cpu - 1) as u16;
        } else {
            (*thread).wait.waker = bpf_get_current_pid_tgid() as u32;
            (*thread).wait.waker_cpu = bpf_get_smp_processor_id() as u16;
        }
        (*thread).waking_cpu = 0;
    }
}

// TP_PROTO(struct task_struct *p)
tracepoint!(sched_waking_btf, sched_waking_raw, "sched_waking", |ctx, R| waking::<R>(ctx.arg(0)));

/// A wake-up begins, where its waker runs; the thread may still be on its way off the CPU.
#[inline(always)]
fn waking<R: Read>(task: *const u8) {
    // SAFETY: the hook's task, and a map value.
    unsafe {
        if watch::mark(R::u32(task, config!(offsets.task_tgid))) == 0 {
            return;
        }
        let tid = R::u32(task, config!(offsets.task_pid));
        if let Some(thread) = THREAD.get_ptr_mut(tid) {
            (*thread).waking = bpf_get_current_pid_tgid() as u32;
            (*thread).waking_cpu = bpf_get_smp_processor_id() + 1;
        }
    }
}

/// Keeps since when it was blocked, and why.
#[inline(always)]
unsafe fn blocked(thread: *mut Thread) {
    // SAFETY: as above.
    unsafe {
        let known = ((*thread).state as usize) < STATES;
        (*thread).wait.blocked_ns = if known { (*thread).since_ns } else { 0 };
        (*thread).wait.state = if known { (*thread).state as u16 } else { WAIT_NONE };
    }
}

/// A thread gets the CPU.
///
/// # Safety
/// As for [`woken`].
#[inline(always)]
pub unsafe fn runs(thread: *mut Thread) {
    if config!(timeline) == 0 {
        return;
    }
    // SAFETY: by contract.
    unsafe {
        if (*thread).state == STATE_RUNQUEUE as u32 || (*thread).state == STATE_THROTTLED as u32 {
            (*thread).wait.runnable_ns = (*thread).since_ns;
        } else {
            // Its wake-up was not seen.
            blocked(thread);
        }
        (*thread).wait.cpu = bpf_get_smp_processor_id() as u16;
    }
}

/// A thread leaves the CPU for `next`.
///
/// # Safety
/// As for [`woken`].
#[inline(always)]
pub unsafe fn left(thread: *mut Thread, tgid: u32, tid: u32, next: u32, now: u64) {
    if config!(timeline) == 0 {
        return;
    }
    // SAFETY: by contract.
    unsafe {
        (*thread).wait.cpu = bpf_get_smp_processor_id() as u16;
        let oncpu_ns = if (*thread).state == STATE_ONCPU as u32 { (*thread).since_ns } else { 0 };
        if (*thread).state == STATE_RUNQUEUE as u32 {
            // The switch to it was not seen.
            (*thread).wait.runnable_ns = (*thread).since_ns;
        }
        let event = SchedEvent {
            header: header(Kind::Sched, tgid, tid, now),
            oncpu_ns,
            wait: (*thread).wait,
            next,
            reserved: 0,
        };
        emit::record(&event, Lost::RingSched);
        let wait = &raw mut (*thread).wait;
        (*wait).blocked_ns = 0;
        (*wait).runnable_ns = 0;
        (*wait).waker = 0;
        (*wait).state = WAIT_NONE;
        (*wait).flags = if (*thread).syscall == NO_SYSCALL { WAIT_NO_SYSCALL } else { 0 };
    }
}
