//! On-CPU, run-queue and off-CPU time by reason, at each switch and wake-up of a watched thread.

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use inferscope_abi::{
    NO_OFFSET, NO_SYSCALL, RUNQ_BUCKETS, STATE_BLOCK_IO, STATE_FAULT, STATE_FILE, STATE_LOCK, STATE_MEMORY,
    STATE_ONCPU, STATE_OTHER, STATE_RUNQUEUE, STATE_SEND, STATE_SOCKET, STATE_THROTTLED, SYS_FUTEX, SYS_IO_URING,
    SYS_READ, SYS_READV, SYS_WRITE, SYS_WRITEV, SYSCALL_NUMBERS, THREAD_EXITED, THREAD_RECLAIMS, Thread,
    blocking_state, runq_bucket,
};

use crate::{
    config,
    kernel::{Read, now_ns, opaque},
    maps::THREAD,
    probe::syscall::{FUTEX_COMMAND, FUTEX_WAIT, FUTEX_WAIT_BITSET, HELD_AND_AWAITED, class_of},
    state, watch,
};

pub mod told;

/// Runnable, in `task_struct::__state` and in the tracepoint's argument.
const TASK_RUNNING: u32 = 0;
/// What waits in a page fault is never so.
const TASK_INTERRUPTIBLE: u32 = 0x01;
/// __TASK_STOPPED | __TASK_TRACED: a signal or a debugger holds the thread.
const TASK_STOPPED: u32 = 0x0c;
/// The control group's freezer holds the thread (6.1 and later; before that nothing tells it from a page fault).
const TASK_FROZEN: u32 = 0x8000;
/// The thread's last switch (4.14 and later).
const TASK_DEAD: u32 = 0x80;

// TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next [, unsigned int prev_state since 5.18])
tracepoint!(sched_switch_btf, sched_switch_raw, "sched_switch", |ctx, R| {
    let at = config!(switch_prev_state_arg);
    let prev: *const u8 = ctx.arg(1);
    let prev_state = if at == NO_OFFSET {
        // SAFETY: the hook's task.
        unsafe { R::u32(prev, config!(offsets.task_state)) }
    } else {
        ctx.arg::<u64>(3) as u32
    };
    switched::<R>(ctx.arg::<u64>(0) as u8 != 0, prev, ctx.arg(2), prev_state)
});

// TP_PROTO(struct task_struct *p)
tracepoint!(sched_wakeup_btf, sched_wakeup_raw, "sched_wakeup", |ctx, R| woken::<R>(ctx.arg(0), false));
tracepoint!(sched_new_btf, sched_new_raw, "sched_wakeup_new", |ctx, R| woken::<R>(ctx.arg(0), true));

#[inline(always)]
fn switched<R: Read>(preempt: bool, prev: *const u8, next: *const u8, state: u32) {
    // SAFETY: `prev` and `next` are the hook's tasks, offsets are constants.
    unsafe {
        let prev_tgid = R::u32(prev, config!(offsets.task_tgid));
        let next_tgid = R::u32(next, config!(offsets.task_tgid));
        let prev_mark = watch::mark(prev_tgid);
        let next_mark = watch::mark(next_tgid);
        if prev_mark == 0 && next_mark == 0 {
            return;
        }
        let now = now_ns();
        if prev_mark != 0 {
            // A thread that is preempted may have set its state already; it is runnable all the same.
            let state = if preempt { TASK_RUNNING } else { state };
            leave_cpu::<R>(prev, prev_tgid, prev_mark, state, now);
        }
        if next_mark != 0 {
            let tid = R::u32(next, config!(offsets.task_pid));
            enter_cpu(tid, next_tgid, next_mark, now);
        }
    }
}

/// # Safety
/// `prev` is the hook's task.
#[inline(always)]
unsafe fn leave_cpu<R: Read>(prev: *const u8, tgid: u32, mark: u16, task_state: u32, now: u64) {
    // SAFETY: by contract; the rest are map values.
    unsafe {
        let tid = R::u32(prev, config!(offsets.task_pid));
        let Some(sums) = watch::sums(mark) else { return };
        if task_state & TASK_DEAD != 0 {
            // One that was first seen after its end has a state still.
            if let Some(thread) = THREAD.get_ptr_mut(tid) {
                state::close(thread, sums, now);
            }
            let _ = THREAD.remove(tid);
            return;
        }
        let Some(thread) = state::thread(tid, tgid) else { return };
        if (*thread).flags & THREAD_EXITED != 0 {
            return;
        }
        let to = if task_state == TASK_RUNNING {
            state::add(&raw mut (*sums.process).counters.involuntary_switches, 1);
            state::add(&raw mut (*sums.service).involuntary_switches, 1);
            runnable::<R>(prev)
        } else {
            state::add(&raw mut (*sums.process).counters.voluntary_switches, 1);
            state::add(&raw mut (*sums.service).voluntary_switches, 1);
            reason::<R>(prev, thread, task_state)
        };
        told::left(thread, tgid, tid, to as u32, now);
        let cpu = bpf_get_smp_processor_id();
        let ran = state::ran(sums.service_index, cpu);
        if !ran.is_null() && (*thread).state == STATE_ONCPU as u32 {
            *ran += now.wrapping_sub((*thread).since_ns);
        }
        if to == STATE_RUNQUEUE {
            state::queued(thread, sums.service_index, cpu);
        }
        if (*thread).flags & THREAD_RECLAIMS != 0 {
            state::reclaim_ends(thread, sums, now);
        }
        state::close(thread, sums, now);
        state::open(thread, sums, to, now);
    }
}

/// What keeps a runnable thread from its CPU: others that run there, or its control group's quota. Of threads that wait
/// already when the quota runs out only those of kernels from 6.18 on are seen to: the earlier ones take the whole queue
/// away without a switch.
///
/// # Safety
/// `task` is the hook's.
#[inline(always)]
unsafe fn runnable<R: Read>(task: *const u8) -> usize {
    if config!(offsets.task_cfs_rq) == NO_OFFSET {
        return STATE_RUNQUEUE;
    }
    // SAFETY: by contract, and a constant offset.
    unsafe {
        let queue = R::u64(task, config!(offsets.task_cfs_rq)) as *const u8;
        if R::u32(queue, config!(offsets.cfs_rq_throttle_count)) != 0 { STATE_THROTTLED } else { STATE_RUNQUEUE }
    }
}

/// Why a thread that leaves the CPU blocked does so.
#[inline(always)]
unsafe fn reason<R: Read>(prev: *const u8, thread: *const Thread, state: u32) -> usize {
    // SAFETY: the hook's task and a map value.
    unsafe {
        let number = (*thread).syscall;
        let class = class_of(number);
        // The bit of pressure stall information is set around all waits for memory, also for pages that were taken away
        // too early and are read again.
        let stalled = config!(offsets.task_in_memstall) != NO_OFFSET
            && R::u8(prev, config!(offsets.task_in_memstall)) & config!(offsets.task_in_memstall_mask) as u8 != 0;
        if stalled || (*thread).flags & THREAD_RECLAIMS != 0 {
            return STATE_MEMORY;
        }
        // The bit is set by io_schedule(); io_uring also sets it while it waits for sockets.
        if class != SYS_IO_URING
            && R::u8(prev, config!(offsets.task_in_iowait)) & config!(offsets.task_in_iowait_mask) as u8 != 0
        {
            return STATE_BLOCK_IO;
        }
        if number == NO_SYSCALL {
            // The kernel's own threads in the process, such as io_uring's, wait interruptibly.
            let idle = state & (TASK_INTERRUPTIBLE | TASK_STOPPED | TASK_FROZEN) != 0;
            return if idle { STATE_OTHER } else { STATE_FAULT };
        }
        match class {
            SYS_READ | SYS_WRITE | SYS_READV | SYS_WRITEV => {
                // The same call serves files and sockets.
                if (*thread).socket == 0 {
                    STATE_FILE
                } else if class == SYS_READ || class == SYS_READV {
                    STATE_SOCKET
                } else {
                    STATE_SEND
                }
            }
            SYS_FUTEX if waits_for_lock((*thread).args[1], (*thread).args[2]) => STATE_LOCK,
            class => blocking_state(class),
        }
    }
}

/// Whether futex(2) with this operation and value waits for a lock, and not for work: the mutexes of glibc, Go and Rust
/// all write 2 for "held, and somebody waits", which is what a waiter then expects there, and musl's EBUSY with the
/// highest bit.
#[inline(always)]
fn waits_for_lock(operation: u64, value: u64) -> bool {
    const LOCK_PI: u64 = 6;
    const LOCK_PI2: u64 = 13;
    const HELD_IN_MUSL: u32 = 0x8000_0010;
    match operation & FUTEX_COMMAND {
        FUTEX_WAIT | FUTEX_WAIT_BITSET => matches!(value as u32, HELD_AND_AWAITED | HELD_IN_MUSL),
        LOCK_PI | LOCK_PI2 => true,
        _ => false,
    }
}

#[inline(always)]
fn enter_cpu(tid: u32, tgid: u32, mark: u16, now: u64) {
    let Some(sums) = watch::sums(mark) else { return };
    let Some(thread) = state::thread(tid, tgid) else { return };
    // SAFETY: map values.
    unsafe {
        if (*thread).flags & THREAD_EXITED != 0 {
            return;
        }
        let waited = (*thread).state == STATE_RUNQUEUE as u32;
        let delay = now.wrapping_sub((*thread).since_ns);
        told::runs(thread);
        let own = if waited { state::own_wait(thread, delay) } else { 0 };
        state::close(thread, sums, now);
        state::open(thread, sums, STATE_ONCPU, now);
        if (*thread).flags & THREAD_RECLAIMS != 0 {
            state::reclaim_begins(thread, sums, now);
        }
        if waited {
            let bucket = opaque(runq_bucket(delay));
            if bucket < RUNQ_BUCKETS {
                state::add((&raw mut (*sums.process).runq_delay).cast::<u64>().add(bucket), 1);
            }
            state::add(&raw mut (*sums.process).counters.own_wait_ns, own);
            state::add(&raw mut (*sums.service).own_wait_ns, own);
        }
    }
}

#[inline(always)]
fn woken<R: Read>(task: *const u8, new: bool) {
    // SAFETY: the hook's task, and map values.
    unsafe {
        let tgid = R::u32(task, config!(offsets.task_tgid));
        let mark = watch::mark(tgid);
        if mark == 0 {
            return;
        }
        let tid = R::u32(task, config!(offsets.task_pid));
        let Some(sums) = watch::sums(mark) else { return };
        let Some(thread) = state::thread(tid, tgid) else { return };
        if new {
            // A thread id that was used before: its last switch may have come when nobody watched any more.
            if (*thread).tgid != tgid {
                state::close_late(thread, now_ns());
            }
            (*thread).flags = 0;
            (*thread).tgid = tgid;
            (*thread).syscall = NO_SYSCALL;
        }
        if (*thread).flags & THREAD_EXITED != 0 {
            return;
        }
        let from = (*thread).state;
        // A thread that had not left the CPU yet is woken without having waited.
        if from == STATE_ONCPU as u32 || from == STATE_RUNQUEUE as u32 || from == STATE_THROTTLED as u32 {
            return;
        }
        let to = runnable::<R>(task);
        let now = now_ns();
        told::woken(thread, new);
        if to == STATE_RUNQUEUE {
            let known = config!(offsets.task_cpu) != NO_OFFSET;
            let cpu = if known { R::u32(task, config!(offsets.task_cpu)) } else { bpf_get_smp_processor_id() };
            state::queued(thread, sums.service_index, cpu);
        }
        state::close(thread, sums, now);
        state::open(thread, sums, to, now);
    }
}

const _: () = assert!(SYSCALL_NUMBERS.is_power_of_two());
