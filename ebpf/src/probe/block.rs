//! Requests that a watched process itself hands to a block device. The time spent waiting for them is the state
//! `block_io` in `sched`.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::{config, kernel::Read, state, watch};

// TP_PROTO(struct request *rq) since 5.11; TP_PROTO(struct request_queue *q, struct request *rq) before
tracepoint!(block_issue_btf, block_issue_raw, "block_rq_issue", |ctx, R| {
    let mark = watch::mark((bpf_get_current_pid_tgid() >> 32) as u32);
    if mark != 0 {
        let request: *const u8 = if config!(block_issue_request_arg) == 0 { ctx.arg(0) } else { ctx.arg(1) };
        issued::<R>(mark, request);
    }
});

#[inline(always)]
fn issued<R: Read>(mark: u16, request: *const u8) {
    let Some(sums) = watch::sums(mark) else { return };
    // SAFETY: the hook's request and map values.
    unsafe {
        let bytes = u64::from(R::u32(request, config!(offsets.request_data_len)));
        state::add(&raw mut (*sums.process).counters.block_ios, 1);
        state::add(&raw mut (*sums.process).counters.block_bytes, bytes);
        state::add(&raw mut (*sums.service).block_ios, 1);
        state::add(&raw mut (*sums.service).block_bytes, bytes);
    }
}
