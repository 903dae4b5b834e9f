//! Exec of any process (discovery wants it), fork and exit of watched ones. Children are watched from their first
//! instruction on.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_task, bpf_probe_read_kernel_str},
};
use inferscope_abi::{
    ExecEvent, ExitEvent, FILENAME_BYTES, ForkEvent, Kind, Lost, NEXT_ENDED, Process, STATE_ONCPU, THREAD_EXITED,
    THREAD_RECLAIMS,
};

use crate::{
    config,
    emit::{self, header},
    kernel::{Read, Untyped, now_ns, read},
    maps::{LIVE, THREAD},
    probe::{reclaim, sched::told, syscall},
    state, watch,
};

/// Fields of task:task_newtask.
const NEWTASK_PID: usize = 8;
const NEWTASK_FLAGS: usize = 32;
/// The new task is a thread of its maker's process.
const CLONE_THREAD: u64 = 0x0001_0000;

// TP_PROTO(struct task_struct *parent, struct task_struct *child)
tracepoint!(process_fork_btf, process_fork_raw, "sched_process_fork", |ctx, R| {
    let (parent, child): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    // SAFETY: the hook's tasks.
    unsafe { forked(R::u32(parent, config!(offsets.task_tgid)), R::u32(child, config!(offsets.task_tgid))) }
});
// task:task_newtask, in copy_process() of the parent: pid (pid_t) and clone_flags (unsigned long).
classic_tracepoint!(process_fork_tp, |record| {
    // SAFETY: fields of the record.
    let (child, flags): (u32, u64) = unsafe {
        (
            core::ptr::read_volatile(record.add(NEWTASK_PID).cast()),
            core::ptr::read_volatile(record.add(NEWTASK_FLAGS).cast()),
        )
    };
    if flags & CLONE_THREAD == 0 {
        forked((bpf_get_current_pid_tgid() >> 32) as u32, child);
    }
});

// TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
tracepoint!(process_exec_btf, process_exec_raw, "sched_process_exec", |ctx, R| {
    let task: *const u8 = ctx.arg(0);
    let binprm: *const u8 = ctx.arg(2);
    executed::<R>(task, ctx.arg::<u64>(1) as u32, binprm)
});

// TP_PROTO(struct task_struct *p [, bool group_dead since 6.16])
tracepoint!(process_exit_btf, process_exit_raw, "sched_process_exit", |ctx, R| exited::<R>(ctx.arg(0)));
// sched:sched_process_exit; the task that ends is the current one.
classic_tracepoint!(process_exit_tp, |_record| {
    // SAFETY: no arguments.
    exited::<Untyped>(unsafe { bpf_get_current_task() } as *const u8)
});

#[inline(always)]
fn forked(parent_tgid: u32, child_tgid: u32) {
    let mark = watch::mark(parent_tgid);
    if mark == 0 || child_tgid == parent_tgid {
        return;
    }
    let Some(sums) = watch::sums(mark) else { return };
    if watch::begin(child_tgid, sums.service_index) {
        let tid = bpf_get_current_pid_tgid() as u32;
        let event = ForkEvent {
            header: header(Kind::Fork, parent_tgid, tid, now_ns()),
            child_tgid,
            service: sums.service_index,
        };
        emit::record(&event, Lost::RingFork);
    }
}

/// A thread that is not the leader takes over the leader's id, and is on the CPU now: its old entry has no owner any more.
/// Nor has the leader's, whose last switch came under the other's id, or is still to come under it.
#[inline(always)]
fn taken_over(tgid: u32, old_tid: u32, sums: watch::Sums) {
    let now = now_ns();
    // SAFETY: map values.
    unsafe {
        if let Some(thread) = THREAD.get_ptr_mut(old_tid) {
            told::left(thread, tgid, old_tid, NEXT_ENDED, now);
            state::close(thread, sums, now);
            let _ = THREAD.remove(old_tid);
        }
        if let Some(leader) = THREAD.get_ptr_mut(tgid) {
            state::close(leader, sums, now);
            let _ = THREAD.remove(tgid);
        }
        if let Some(thread) = state::thread(tgid, tgid) {
            // A switch may have come between (7.0 and later).
            state::close(thread, sums, now);
            state::open(thread, sums, STATE_ONCPU, now);
        }
    }
}

#[inline(always)]
fn executed<R: Read>(task: *const u8, old_tid: u32, binprm: *const u8) {
    // SAFETY: the hook's pointers, map values.
    unsafe {
        let tgid = R::u32(task, config!(offsets.task_tgid));
        if tgid == config!(agent_tgid) {
            return;
        }
        let mark = watch::mark(tgid);
        if let Some(sums) = watch::sums(mark)
            && old_tid != tgid
        {
            taken_over(tgid, old_tid, sums);
        }
        let mut event = ExecEvent {
            header: header(Kind::Exec, tgid, tgid, now_ns()),
            watched: u32::from(mark != 0),
            filename_len: 0,
            filename: [0; FILENAME_BYTES],
        };
        let filename = R::u64(binprm, config!(offsets.binprm_filename));
        let len = bpf_probe_read_kernel_str(
            event.filename.as_mut_ptr().cast(),
            FILENAME_BYTES as u32,
            filename as *const core::ffi::c_void,
        );
        event.filename_len = if len > 0 { len as u32 - 1 } else { 0 };
        emit::record(&event, Lost::RingExec);
    }
}

/// A thread of a process that is not watched ends. The last one to be counted as live may have come here, and ended its
/// process's watch, before another that was not: that one's state is open still.
#[inline(always)]
fn late(tid: u32, tgid: u32) {
    let Some(thread) = THREAD.get_ptr_mut(tid) else { return };
    // SAFETY: a map value.
    unsafe {
        if (*thread).tgid == tgid {
            state::close_late(thread, now_ns());
            let _ = THREAD.remove(tid);
        }
    }
}

#[inline(always)]
fn exited<R: Read>(task: *const u8) {
    // SAFETY: the hook's task, map values.
    unsafe {
        let tgid = R::u32(task, config!(offsets.task_tgid));
        let mark = watch::mark(tgid);
        let tid = R::u32(task, config!(offsets.task_pid));
        if mark == 0 {
            return late(tid, tgid);
        }
        let Some(sums) = watch::sums(mark) else { return };
        let now = now_ns();
        // The entry stays until the thread's last switch: without it that switch would make a new one for good.
        if let Some(thread) = THREAD.get_ptr_mut(tid) {
            told::left(thread, tgid, tid, NEXT_ENDED, now);
            if (*thread).flags & THREAD_RECLAIMS != 0 {
                reclaim::forgotten(thread, mark);
            }
            // First: a switch that comes between opens no state then.
            (*thread).flags = THREAD_EXITED;
            state::close(thread, sums, now);
        }
        // The count of live threads is brought down just before this hook; 0 means that the process ends here.
        let signal = R::u64(task, config!(offsets.task_signal));
        if read::<u32>(signal, config!(offsets.signal_live)).unwrap_or(1) != 0 {
            return;
        }
        if LIVE.remove(tgid).is_err() {
            return;
        }
        let exit_code = R::u32(task, config!(offsets.task_exit_code));
        emit::filled(Lost::RingExit, |event: *mut ExitEvent| {
            (*event).header = header(Kind::Exit, tgid, tid, now);
            (*event).exit_code = exit_code;
            (*event).service = sums.service_index;
            let (from, to) = (sums.process.cast::<u64>(), (&raw mut (*event).process).cast::<u64>());
            for word in 0..size_of::<Process>() / 8 {
                core::ptr::write_volatile(to.add(word), core::ptr::read_volatile(from.add(word)));
            }
        });
        syscall::forget(tgid);
        watch::end(tgid, mark);
        // Not before: as long as the process is watched, a wake-up on another CPU would make the thread a new entry, and
        // open a state that nothing ends.
        let _ = THREAD.remove(tid);
    }
}
