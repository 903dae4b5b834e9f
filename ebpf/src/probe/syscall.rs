//! Count, time and errors of the system calls of watched processes, and the way to `socket` for those that move bytes.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
};
use inferscope_abi::{
    INTERPRETER_TIMEOUTS, INTERPRETER_WAIT_NS, Kind, Lost, NO_FD, NO_SYSCALL, SYS_CLOSE, SYS_DUP, SYS_FUTEX, SYS_OTHER,
    SYS_READ, SYS_RESTART, SYS_SENDMMSG, SYS_SHUTDOWN, SYSCALL_NUMBERS, SyscallEvent, SyscallKey, SyscallStats,
    THREAD_FOUND, THREAD_RECLAIMS, THREAD_RESTARTS, TRAIT_PYTHON, Thread,
};

use crate::{
    config,
    emit::{self, header, lost},
    kernel::{Read, Typed, Untyped, now_ns},
    maps::{CONFIG, SYSCALL},
    probe::{log, reclaim, socket},
    state, watch,
};

/// The highest error number that a system call returns, negated.
const MAX_ERRNO: i64 = 4095;
/// Results that no program sees: the kernel makes the call begin anew, or go on, or fail with EINTR.
const RESTARTS: core::ops::RangeInclusive<i64> = -516..=-512;
/// It goes on by restart_syscall(2).
const ERESTART_RESTARTBLOCK: i64 = -516;
const EAGAIN: i64 = -11;
const ETIMEDOUT: i64 = -110;

/// Of futex(2): the operation without its flags, and two of them.
pub const FUTEX_COMMAND: u64 = 0x7f;
pub const FUTEX_WAIT: u64 = 0;
pub const FUTEX_WAIT_BITSET: u64 = 9;
/// What most mutexes hold while somebody waits for them, and a waiter therefore expects.
pub const HELD_AND_AWAITED: u32 = 2;
/// A word so near to the stack's end lies on the stack of the one who waits.
const STACK: u64 = 16 << 10;

/// Where a hook finds the arguments of the call that begins.
trait Arguments {
    fn get(&self, index: usize) -> u64;
    /// Its stack pointer; 0 if it can't be had.
    fn stack(&self) -> u64;
}

/// `struct pt_regs`.
struct Registers<R>(*const u8, core::marker::PhantomData<R>);

impl<R: Read> Arguments for Registers<R> {
    #[inline(always)]
    fn get(&self, index: usize) -> u64 {
        let at = match index {
            0 => config!(offsets.regs_args[0]),
            1 => config!(offsets.regs_args[1]),
            2 => config!(offsets.regs_args[2]),
            _ => config!(offsets.regs_args[3]),
        };
        // SAFETY: the hook's registers at constant offsets.
        unsafe { R::u64(self.0, at) }
    }

    #[inline(always)]
    fn stack(&self) -> u64 {
        // SAFETY: as above.
        unsafe { R::u64(self.0, config!(offsets.regs_stack)) }
    }
}

/// The record of raw_syscalls:sys_enter.
struct Record(*const u8);

impl Arguments for Record {
    #[inline(always)]
    fn get(&self, index: usize) -> u64 {
        // SAFETY: a field of the record; the programs are only attached where it lies there.
        unsafe { core::ptr::read_volatile(self.0.add(RECORD_ARGS + 8 * index).cast()) }
    }

    #[inline(always)]
    fn stack(&self) -> u64 {
        let registers = own_registers();
        // SAFETY: typed registers of the current task at a constant offset.
        if registers.is_null() { 0 } else { unsafe { Typed::u64(registers, config!(offsets.regs_stack)) } }
    }
}

/// `id` of both records (long), `args` of sys_enter (unsigned long[6]), `ret` of sys_exit (long).
const RECORD_ID: usize = 8;
const RECORD_ARGS: usize = 16;
const RECORD_RET: usize = 16;

// TP_PROTO(struct pt_regs *regs, long id)
tracepoint!(sys_enter_btf, sys_enter_raw, "sys_enter", |ctx, R| {
    let current = bpf_get_current_pid_tgid();
    let mark = watch::mark((current >> 32) as u32);
    if mark != 0 {
        let registers = Registers::<R>(ctx.arg(0), core::marker::PhantomData);
        entered::<R>(current, mark, ctx.arg::<u64>(1) as u32, registers);
    }
});
// raw_syscalls:sys_enter
classic_tracepoint!(sys_enter_tp, |record| {
    let current = bpf_get_current_pid_tgid();
    let mark = watch::mark((current >> 32) as u32);
    if mark != 0 {
        // SAFETY: a field of the record.
        let number = unsafe { core::ptr::read_volatile(record.add(RECORD_ID).cast::<u64>()) } as u32;
        entered::<Untyped>(current, mark, number, Record(record));
    }
});

/// `struct pt_regs` of the call that the current thread is in, where no hook gives it; null where it can't be had.
#[inline(always)]
fn own_registers() -> *const u8 {
    if config!(task_registers) == 0 {
        return core::ptr::null();
    }
    // SAFETY: the helper takes a task, typed as that of `bpf_get_current_task_btf` is.
    unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8 }
}

// TP_PROTO(struct pt_regs *regs, long ret)
tracepoint!(sys_exit_btf, sys_exit_raw, "sys_exit", |ctx, R| {
    let current = bpf_get_current_pid_tgid();
    let mark = watch::mark((current >> 32) as u32);
    if mark != 0 {
        returned::<R, R>(current, mark, ctx.arg::<u64>(1) as i64, || ctx.arg(0));
    }
});
// raw_syscalls:sys_exit
classic_tracepoint!(sys_exit_tp, |record| {
    let current = bpf_get_current_pid_tgid();
    let mark = watch::mark((current >> 32) as u32);
    if mark != 0 {
        // SAFETY: a field of the record.
        let result = unsafe { core::ptr::read_volatile(record.add(RECORD_RET).cast::<i64>()) };
        returned::<Untyped, Typed>(current, mark, result, own_registers);
    }
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
fn entered<R: Read>(current: u64, mark: u16, number: u32, arguments: impl Arguments) {
    let (tgid, tid) = ((current >> 32) as u32, current as u32);
    let Some(thread) = state::thread(tid, tgid) else { return };
    let class = class_of(number);
    // SAFETY: a map value.
    unsafe {
        let goes_on = class == SYS_RESTART && (*thread).flags & THREAD_RESTARTS != 0;
        if (*thread).flags & THREAD_RECLAIMS != 0 {
            reclaim::forgotten(thread, mark);
        }
        (*thread).flags &= !(THREAD_FOUND | THREAD_RESTARTS);
        (*thread).syscall_since_ns = now_ns();
        if goes_on {
            (*thread).syscall = (*thread).args[3] as u32;
            return;
        }
        began::<R>(thread, mark, number, class, &arguments);
        if class == SYS_CLOSE {
            socket::closing::<R>(current, mark, (*thread).args[0]);
        } else if class == SYS_DUP {
            socket::replacing::<R>(current, mark, arguments.get(0), arguments.get(1));
        }
    }
}

/// Keeps what the end of a call needs of its beginning.
///
/// # Safety
/// `thread` is a map value.
#[inline(always)]
unsafe fn began<R: Read>(thread: *mut Thread, mark: u16, number: u32, class: u8, arguments: &impl Arguments) {
    // SAFETY: by contract.
    unsafe {
        (*thread).syscall = number;
        if (SYS_READ..=SYS_SHUTDOWN).contains(&class) || log::writes(class) {
            (*thread).args[0] = arguments.get(0);
            (*thread).args[1] = arguments.get(1);
            (*thread).args[2] = arguments.get(2);
            (*thread).args[3] = arguments.get(3);
        }
        if class == SYS_FUTEX {
            (*thread).args[0] = arguments.get(0);
            (*thread).args[1] = arguments.get(1);
            (*thread).args[2] = arguments.get(2);
            // A word on the waiter's own stack is nobody's lock: a condition variable of musl waits for a 2 there.
            if (*thread).args[2] as u32 == HELD_AND_AWAITED && (*thread).args[0].wrapping_sub(arguments.stack()) < STACK
            {
                (*thread).args[2] = 0;
            }
        }
        // close(2) looks at the file itself.
        if (SYS_READ..=SYS_SENDMMSG).contains(&class) || class == SYS_SHUTDOWN || log::writes(class) {
            socket::begins::<R>(thread, class, mark);
        }
    }
}

/// A call that began before the watch has its number and its arguments from the registers still. What its descriptor
/// stands for is looked up only now.
///
/// # Safety
/// `thread` is a map value.
#[inline(always)]
unsafe fn began_before<R: Read, S: Read>(thread: *mut Thread, mark: u16, registers: *const u8) {
    // SAFETY: by contract, and the registers at constant offsets.
    unsafe {
        (*thread).flags &= !THREAD_FOUND;
        if !registers.is_null() {
            let number = S::u32(registers, config!(offsets.regs_number));
            let arguments = Registers::<S>(registers, core::marker::PhantomData);
            began::<R>(thread, mark, number, class_of(number), &arguments);
        }
    }
}

/// `registers` gives those of the call, read in the way `S`, or null.
#[inline(always)]
fn returned<R: Read, S: Read>(current: u64, mark: u16, result: i64, registers: impl Fn() -> *const u8) {
    let (tgid, tid) = ((current >> 32) as u32, current as u32);
    let Some(thread) = state::thread(tid, tgid) else { return };
    // SAFETY: a map value.
    unsafe {
        if (*thread).flags & THREAD_FOUND != 0 {
            began_before::<R, S>(thread, mark, registers());
        }
        let number = (*thread).syscall;
        if number == NO_SYSCALL {
            return;
        }
        (*thread).syscall = NO_SYSCALL;
        if result == ERESTART_RESTARTBLOCK {
            (*thread).args[3] = u64::from(number);
            (*thread).flags |= THREAD_RESTARTS;
        }
        let now = now_ns();
        let failed = (-MAX_ERRNO..0).contains(&result) && !RESTARTS.contains(&result);
        let took = now.wrapping_sub((*thread).syscall_since_ns);
        let stats = count(tgid, number, took, failed);
        let class = class_of(number);
        if class == SYS_FUTEX {
            waited(thread, mark, result, took);
        }
        slow(thread, current, class, result, now, number);
        if (SYS_READ..=SYS_SENDMMSG).contains(&class) || class == SYS_SHUTDOWN {
            let moved = socket::returned::<R>(current, mark, thread, class, result, now);
            if !stats.is_null() {
                (*stats).socket_bytes += moved;
            }
        }
        if result > 0 && log::writes(class) {
            log::returned(current, mark, thread, class, result as u64, now);
        }
    }
}

/// A futex call ended. If it was a wait that ended by the timeout of the interpreter, its lock is what was waited for: as
/// long as such waits end otherwise too.
///
/// # Safety
/// `thread` is a map value.
#[inline(always)]
unsafe fn waited(thread: *mut Thread, mark: u16, result: i64, took_ns: u64) {
    // SAFETY: by contract.
    let (operation, at) = unsafe { ((*thread).args[1] & FUTEX_COMMAND, (*thread).args[0] / 8) };
    if operation != FUTEX_WAIT && operation != FUTEX_WAIT_BITSET {
        return;
    }
    // SAFETY: by contract.
    unsafe {
        if result == 0 || result == EAGAIN {
            if (*thread).awaited == at {
                (*thread).timeouts = 0;
            }
            return;
        }
        let like_it = result == ETIMEDOUT && INTERPRETER_WAIT_NS.contains(&took_ns);
        if !like_it || !watch::expects(mark, TRAIT_PYTHON) {
            return;
        }
        if (*thread).awaited != at {
            (*thread).awaited = at;
            (*thread).timeouts = 0;
        }
        if (*thread).timeouts >= INTERPRETER_TIMEOUTS {
            return;
        }
        (*thread).timeouts += 1;
    }
    let Some(sums) = watch::sums(mark) else { return };
    // SAFETY: map values.
    unsafe {
        state::add(&raw mut (*sums.process).counters.interpreter_wait_ns, took_ns);
        state::add(&raw mut (*sums.service).interpreter_wait_ns, took_ns);
    }
}

/// For a timeline: a call that took long. Without one this is dead code.
#[inline(always)]
unsafe fn slow(thread: *const Thread, current: u64, class: u8, result: i64, now: u64, number: u32) {
    if config!(timeline) == 0 {
        return;
    }
    // SAFETY: a map value.
    unsafe {
        let enter_ns = (*thread).syscall_since_ns;
        if now.wrapping_sub(enter_ns) < u64::from(config!(timeline_syscall_us)) * 1000 {
            return;
        }
        let has_fd = (SYS_READ..=SYS_SHUTDOWN).contains(&class);
        let event = SyscallEvent {
            header: header(Kind::Syscall, (current >> 32) as u32, current as u32, now),
            enter_ns,
            result,
            number,
            fd: if has_fd { (*thread).args[0] as u32 } else { NO_FD },
        };
        emit::record(&event, Lost::RingSched);
    }
}

/// Counts a call; gives this CPU's row, or null. No other program writes it, and this one is not run twice at a time on a
/// CPU. An Option of a pointer would be two registers, and the one that None leaves unset is refused (`!read_ok`).
#[inline(always)]
fn count(tgid: u32, number: u32, time_ns: u64, failed: bool) -> *mut SyscallStats {
    let number = if number as usize >= SYSCALL_NUMBERS { SYSCALL_NUMBERS as u32 - 1 } else { number };
    let key = SyscallKey { tgid, number };
    let stats = match SYSCALL.get_ptr_mut(key) {
        Some(stats) => stats,
        None => {
            if SYSCALL.insert(key, SyscallStats::default(), 0).is_err() {
                lost(Lost::MapSyscall);
                return core::ptr::null_mut();
            }
            let Some(stats) = SYSCALL.get_ptr_mut(key) else { return core::ptr::null_mut() };
            stats
        }
    };
    // SAFETY: a map value of this CPU.
    unsafe {
        (*stats).calls += 1;
        (*stats).time_ns += time_ns;
        (*stats).errors += u64::from(failed);
    }
    stats
}

/// Drops the rows of a process that ends: whoever gets its id next begins at zero.
#[inline(always)]
pub fn forget(tgid: u32) {
    for number in 0..SYSCALL_NUMBERS as u32 {
        let _ = SYSCALL.remove(SyscallKey { tgid, number });
    }
}
