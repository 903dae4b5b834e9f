//! Direct reclaim: a watched thread has to make room in memory, of the host or of its control group, before it gets what
//! it asked for. What it sleeps meanwhile is the state `memory` in `sched`.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use inferscope_abi::{Kind, Lost, STALL_CGROUP, STALL_HOST, STATE_ONCPU, StallEvent, THREAD_RECLAIMS, Thread};

use crate::{
    config,
    emit::{self, header},
    kernel::now_ns,
    state, watch,
};

// TP_PROTO(int order, gfp_t gfp_flags) and more behind it by version; nothing of it is needed
tracepoint!(reclaim_begin_btf, reclaim_begin_raw, "mm_vmscan_direct_reclaim_begin", |_ctx| begins());
tracepoint!(reclaim_mbegin_btf, reclaim_mbegin_raw, "mm_vmscan_memcg_reclaim_begin", |_ctx| begins());
// TP_PROTO(unsigned long nr_reclaimed) and more behind it by version
tracepoint!(reclaim_end_btf, reclaim_end_raw, "mm_vmscan_direct_reclaim_end", |ctx| ends(STALL_HOST, ctx.arg(0)));
tracepoint!(reclaim_mend_btf, reclaim_mend_raw, "mm_vmscan_memcg_reclaim_end", |ctx| ends(STALL_CGROUP, ctx.arg(0)));

#[inline(always)]
fn begins() {
    let current = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((current >> 32) as u32, current as u32);
    let Some(sums) = watch::sums(watch::mark(tgid)) else { return };
    let Some(thread) = state::thread(tid, tgid) else { return };
    // SAFETY: map values.
    unsafe {
        // A thread whose time on the CPU is not counted yet has none to be part of.
        if (*thread).state != STATE_ONCPU as u32 || (*thread).flags & THREAD_RECLAIMS != 0 {
            return;
        }
        let now = now_ns();
        (*thread).flags |= THREAD_RECLAIMS;
        (*thread).reclaim_ns = now;
        state::reclaim_begins(thread, sums, now);
        state::add(&raw mut (*sums.process).counters.reclaims, 1);
        state::add(&raw mut (*sums.service).reclaims, 1);
    }
}

/// A thread that is where none makes room in memory has come to the end of it: the kernel left out the run that would have
/// told so (7.0 and later can).
///
/// # Safety
/// `thread` is a map value.
#[inline(always)]
pub unsafe fn forgotten(thread: *mut Thread, mark: u16) {
    // SAFETY: by contract, and map values.
    unsafe {
        (*thread).flags &= !THREAD_RECLAIMS;
        if let Some(sums) = watch::sums(mark) {
            state::reclaim_ends(thread, sums, now_ns());
        }
    }
}

#[inline(always)]
fn ends(cause: u32, pages: u64) {
    let current = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((current >> 32) as u32, current as u32);
    let Some(sums) = watch::sums(watch::mark(tgid)) else { return };
    let Some(thread) = state::thread(tid, tgid) else { return };
    // SAFETY: map values.
    unsafe {
        if (*thread).flags & THREAD_RECLAIMS == 0 {
            return;
        }
        let now = now_ns();
        (*thread).flags &= !THREAD_RECLAIMS;
        state::reclaim_ends(thread, sums, now);
        // For a timeline; without one this is dead code.
        if config!(timeline) != 0 {
            let event = StallEvent {
                header: header(Kind::Stall, tgid, tid, now),
                begin_ns: (*thread).reclaim_ns,
                pages,
                cause,
                reserved: 0,
            };
            emit::record(&event, Lost::RingSched);
        }
    }
}
