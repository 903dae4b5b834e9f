//! What any observer of system calls costs at the least: a sys_enter and sys_exit pair that does nothing, on both kinds
//! of hook, and one that does one hash look-up. `cargo xtask bench syscall-tax` compares with it; the agent never loads it.
#![no_std]
#![no_main]

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::HashMap,
    programs::{BtfTracePointContext, RawTracePointContext},
};

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[map]
static NULL_WATCHED: HashMap<u32, u32> = HashMap::with_max_entries(1024, 0);

// TP_PROTO(struct pt_regs *regs, long id)
#[btf_tracepoint(function = "sys_enter")]
pub fn null_enter_btf(_ctx: BtfTracePointContext) -> i32 {
    0
}

// TP_PROTO(struct pt_regs *regs, long ret)
#[btf_tracepoint(function = "sys_exit")]
pub fn null_exit_btf(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn null_enter_raw(_ctx: RawTracePointContext) -> i32 {
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn null_exit_raw(_ctx: RawTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "sys_enter")]
pub fn look_enter_btf(_ctx: BtfTracePointContext) -> i32 {
    look_up()
}

#[btf_tracepoint(function = "sys_exit")]
pub fn look_exit_btf(_ctx: BtfTracePointContext) -> i32 {
    look_up()
}

#[inline(always)]
fn look_up() -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    match NULL_WATCHED.get_ptr(tgid) {
        // SAFETY: a map value.
        Some(value) => unsafe { core::ptr::read_volatile(value) as i32 & 1 },
        None => 0,
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
