//! Threads that have to free memory themselves before they get some; only attached while a timeline is recorded.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use inferscope_abi::{Kind, Lost, STALL_CGROUP, STALL_HOST, StallEvent};

use crate::{
    emit::{self, header},
    kernel::now_ns,
    state, watch,
};

// TP_PROTO(int order, gfp_t gfp_flags), more arguments on some; since 2.6.36
tracepoint!(reclaim_begin_btf, reclaim_begin_raw, "mm_vmscan_direct_reclaim_begin", |_ctx| begins());
// TP_PROTO(unsigned long nr_reclaimed), more arguments on some
tracepoint!(reclaim_end_btf, reclaim_end_raw, "mm_vmscan_direct_reclaim_end", |ctx| ends(STALL_HOST, ctx.arg(0)));
// The same of a control group at its limit.
tracepoint!(memcg_begin_btf, memcg_begin_raw, "mm_vmscan_memcg_reclaim_begin", |_ctx| begins());
tracepoint!(memcg_end_btf, memcg_end_raw, "mm_vmscan_memcg_reclaim_end", |ctx| ends(STALL_CGROUP, ctx.arg(0)));

#[inline(always)]
fn begins() {
    let current = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((current >> 32) as u32, current as u32);
    if watch::mark(tgid) == 0 {
        return;
    }
    let Some(thread) = state::thread(tid, tgid) else { return };
    // SAFETY: a map value.
    unsafe { (*thread).reclaim_ns = now_ns() };
}

#[inline(always)]
fn ends(cause: u32, pages: u64) {
    let current = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((current >> 32) as u32, current as u32);
    if watch::mark(tgid) == 0 {
        return;
    }
    let Some(thread) = state::thread(tid, tgid) else { return };
    // SAFETY: a map value.
    let begin_ns = unsafe { core::mem::replace(&mut (*thread).reclaim_ns, 0) };
    if begin_ns != 0 {
        let header = header(Kind::Stall, tgid, tid, now_ns());
        emit::record(&StallEvent { header, begin_ns, pages, cause, reserved: 0 }, Lost::RingSched);
    }
}
