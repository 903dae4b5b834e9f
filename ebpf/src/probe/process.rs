//! Exec of any process (discovery wants it), fork and exit of watched ones. Children are watched from their first
//! instruction on.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_probe_read_kernel_str};
use inferscope_abi::{ExecEvent, ExitEvent, FILENAME_BYTES, ForkEvent, Kind, Lost, Process, THREAD_EXITED};

use crate::{
    config,
    emit::{self, header},
    kernel::{Read, now_ns, read},
    maps::{LIVE, THREAD},
    state, watch,
};

// TP_PROTO(struct task_struct *parent, struct task_struct *child)
tracepoint_twice!(
    process_fork_btf,
    process_fork_raw,
    process_fork_btf_2,
    process_fork_raw_2,
    "sched_process_fork",
    |ctx, R, _AGAIN| forked::<R>(ctx.arg(0), ctx.arg(1))
);

// TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
tracepoint!(process_exec_btf, process_exec_raw, "sched_process_exec", |ctx, R| {
    let task: *const u8 = ctx.arg(0);
    let binprm: *const u8 = ctx.arg(2);
    executed::<R>(task, ctx.arg::<u64>(1) as u32, binprm)
});

// TP_PROTO(struct task_struct *p [, bool group_dead since 6.16])
tracepoint_twice!(
    process_exit_btf,
    process_exit_raw,
    process_exit_btf_2,
    process_exit_raw_2,
    "sched_process_exit",
    |ctx, R, _AGAIN| exited::<R>(ctx.arg(0))
);

#[inline(always)]
fn forked<R: Read>(parent: *const u8, child: *const u8) {
    // SAFETY: the hook's tasks, map values.
    unsafe {
        let parent_tgid = R::u32(parent, config!(offsets.task_tgid));
        let mark = watch::mark(parent_tgid);
        if mark == 0 {
            return;
        }
        let child_tgid = R::u32(child, config!(offsets.task_tgid));
        // The second of the two programs finds the child watched.
        if child_tgid == parent_tgid || watch::mark(child_tgid) != 0 {
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
        // A thread that is not the leader takes over the leader's id: its old entry has no owner any more.
        if let (Some(sums), Some(thread)) = (watch::sums(mark), THREAD.get_ptr_mut(old_tid))
            && old_tid != tgid
        {
            state::close(thread, sums, now_ns());
            let _ = THREAD.remove(old_tid);
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

#[inline(always)]
fn exited<R: Read>(task: *const u8) {
    // SAFETY: the hook's task, map values.
    unsafe {
        let tgid = R::u32(task, config!(offsets.task_tgid));
        let mark = watch::mark(tgid);
        if mark == 0 {
            return;
        }
        let Some(sums) = watch::sums(mark) else { return };
        let tid = R::u32(task, config!(offsets.task_pid));
        let now = now_ns();
        // The entry stays until the thread's last switch: without it that switch would make a new one for good.
        if let Some(thread) = THREAD.get_ptr_mut(tid) {
            state::close(thread, sums, now);
            (*thread).flags = THREAD_EXITED;
        }
        // The count of live threads is brought down just before this hook; 0 means that the process ends here.
        let signal = R::u64(task, config!(offsets.task_signal));
        if read::<u32>(signal, config!(offsets.signal_live)).unwrap_or(1) != 0 {
            return;
        }
        let _ = THREAD.remove(tid);
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
        watch::end(tgid, mark);
    }
}
