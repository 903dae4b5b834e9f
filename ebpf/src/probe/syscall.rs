//! Count, time and errors of the system calls of watched processes, and the way to `socket` for those that move bytes.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use inferscope_abi::{
    Lost, NO_SYSCALL, SYS_CLOSE, SYS_OTHER, SYS_READ, SYS_SENDMMSG, SYS_SHUTDOWN, SYSCALL_NUMBERS, SyscallKey,
    SyscallStats,
};

use crate::{
    config,
    emit::lost,
    kernel::{Read, now_ns},
    maps::{CONFIG, SYSCALL},
    probe::socket,
    state, watch,
};

/// The highest error number that a system call returns, negated.
const MAX_ERRNO: i64 = 4095;

// TP_PROTO(struct pt_regs *regs, long id)
tracepoint_twice!(sys_enter_btf, sys_enter_raw, sys_enter_btf_2, sys_enter_raw_2, "sys_enter", |ctx, R, AGAIN| {
    let current = bpf_get_current_pid_tgid();
    let mark = watch::mark((current >> 32) as u32);
    if mark != 0 {
        entered::<R>(current, mark, ctx.arg(0), ctx.arg::<u64>(1) as u32, AGAIN);
    }
});

// TP_PROTO(struct pt_regs *regs, long ret)
tracepoint_twice!(sys_exit_btf, sys_exit_raw, sys_exit_btf_2, sys_exit_raw_2, "sys_exit", |ctx, R, AGAIN| {
    let current = bpf_get_current_pid_tgid();
    let mark = watch::mark((current >> 32) as u32);
    if mark != 0 {
        returned(current, mark, ctx.arg::<u64>(1) as i64, AGAIN);
    }
    core::marker::PhantomData::<R>
});

/// The class of a system call number.
#[inline(always)]
pub fn class_of(number: u32) -> u8 {
    if number as usize >= SYSCALL_NUMBERS {
        return SYS_OTHER;
    }
    // SAFETY: the index was checked; volatile as in `config!`.
    unsafe { core::ptr::read_volatile((&raw const CONFIG.syscall_class).cast::<u8>().add(number as usize)) }
}

#[inline(always)]
fn entered<R: Read>(current: u64, mark: u16, regs: *const u8, number: u32, again: bool) {
    let (tgid, tid) = ((current >> 32) as u32, current as u32);
    let Some(thread) = state::thread(tid, tgid) else { return };
    let class = class_of(number);
    // SAFETY: a map value, and the hook's registers at constant offsets.
    unsafe {
        // The first program was here: the call before this one has returned, or had another number.
        if again && (*thread).syscall == number {
            return;
        }
        (*thread).syscall = number;
        (*thread).syscall_since_ns = now_ns();
        if (SYS_READ..=SYS_SHUTDOWN).contains(&class) {
            (*thread).args[0] = R::u64(regs, config!(offsets.regs_args[0]));
            (*thread).args[1] = R::u64(regs, config!(offsets.regs_args[1]));
            (*thread).args[2] = R::u64(regs, config!(offsets.regs_args[2]));
            (*thread).args[3] = R::u64(regs, config!(offsets.regs_args[3]));
        }
        if class == SYS_CLOSE {
            socket::closing(current, mark, (*thread).args[0]);
        }
    }
}

#[inline(always)]
fn returned(current: u64, mark: u16, result: i64, again: bool) {
    let (tgid, tid) = ((current >> 32) as u32, current as u32);
    let Some(thread) = state::thread(tid, tgid) else { return };
    // SAFETY: a map value.
    unsafe {
        let number = (*thread).syscall;
        if number == NO_SYSCALL {
            return;
        }
        (*thread).syscall = NO_SYSCALL;
        let now = now_ns();
        let failed = (-MAX_ERRNO..0).contains(&result);
        count(tgid, number, now.wrapping_sub((*thread).syscall_since_ns), failed);
        let class = class_of(number);
        if (SYS_READ..=SYS_SENDMMSG).contains(&class) || class == SYS_SHUTDOWN {
            socket::returned(current, mark, thread, class, result, now, again);
        }
    }
}

#[inline(always)]
fn count(tgid: u32, number: u32, time_ns: u64, failed: bool) {
    let number = if number as usize >= SYSCALL_NUMBERS { SYSCALL_NUMBERS as u32 - 1 } else { number };
    let key = SyscallKey { tgid, number };
    let Some(stats) = SYSCALL.get_ptr_mut(key) else {
        let first = SyscallStats { calls: 1, errors: u64::from(failed), time_ns };
        if SYSCALL.insert(key, first, 0).is_err() {
            lost(Lost::MapSyscall);
        }
        return;
    };
    // SAFETY: a map value.
    unsafe {
        state::add(&raw mut (*stats).calls, 1);
        state::add(&raw mut (*stats).time_ns, time_ns);
        if failed {
            state::add(&raw mut (*stats).errors, 1);
        }
    }
}
