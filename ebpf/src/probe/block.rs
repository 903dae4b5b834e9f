//! Requests that a watched process itself hands to a block device. The time spent waiting for them is the state
//! `block_io` in `sched`. While a timeline is recorded each is an event when the device is done with it.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use inferscope_abi::{BlockEvent, BlockIssue, Kind, Lost, NO_OFFSET};

use crate::{
    config,
    emit::{self, header, lost},
    kernel::{Read, now_ns, read},
    maps::BLOCK,
    state, watch,
};

/// REQ_OP_MASK
const OPERATION: u32 = 0xff;

// TP_PROTO(struct request *rq) since 5.11; TP_PROTO(struct request_queue *q, struct request *rq) before
tracepoint!(block_issue_btf, block_issue_raw, "block_rq_issue", |ctx, R| {
    let current = bpf_get_current_pid_tgid();
    let mark = watch::mark((current >> 32) as u32);
    if mark != 0 {
        let request: *const u8 = if config!(block_issue_request_arg) == 0 { ctx.arg(0) } else { ctx.arg(1) };
        issued::<R>(current, mark, request);
    }
});

// TP_PROTO(struct request *rq, int error (blk_status_t since 5.16), unsigned int nr_bytes)
tracepoint!(block_complete_btf, block_complete_raw, "block_rq_complete", |ctx| completed(ctx.arg(0)));

#[inline(always)]
fn issued<R: Read>(current: u64, mark: u16, request: *const u8) {
    let Some(sums) = watch::sums(mark) else { return };
    // SAFETY: the hook's request and map values.
    unsafe {
        let length = R::u32(request, config!(offsets.request_data_len));
        let bytes = u64::from(length);
        state::add(&raw mut (*sums.process).counters.block_ios, 1);
        state::add(&raw mut (*sums.process).counters.block_bytes, bytes);
        state::add(&raw mut (*sums.service).block_ios, 1);
        state::add(&raw mut (*sums.service).block_bytes, bytes);
        if config!(timeline) == 0 {
            return;
        }
        let disk = disk(request as u64);
        let issue = BlockIssue {
            at_ns: now_ns(),
            tgid: (current >> 32) as u32,
            tid: current as u32,
            bytes: length,
            major: read(disk, config!(offsets.disk_major)).unwrap_or(0),
            minor: read(disk, config!(offsets.disk_first_minor)).unwrap_or(0),
            operation: R::u32(request, config!(offsets.request_cmd_flags)) & OPERATION,
        };
        if BLOCK.insert(request as u64, issue, 0).is_err() {
            lost(Lost::MapBlock);
        }
    }
}

/// `struct gendisk *` of a request; 0 where it cannot be found.
#[inline(always)]
fn disk(request: u64) -> u64 {
    if config!(offsets.request_disk) != NO_OFFSET {
        return read(request, config!(offsets.request_disk)).unwrap_or(0);
    }
    let queue: u64 = read(request, config!(offsets.request_queue)).unwrap_or(0);
    read(queue, config!(offsets.queue_disk)).unwrap_or(0)
}

/// Only attached while a timeline is recorded.
#[inline(always)]
fn completed(request: *const u8) {
    let key = request as u64;
    let Some(issue) = BLOCK.get_ptr(key) else { return };
    // SAFETY: a map value; whoever gets the request's address next writes it only after this.
    let issue = unsafe { *issue };
    let event = BlockEvent { header: header(Kind::Block, issue.tgid, issue.tid, now_ns()), issue };
    let _ = BLOCK.remove(key);
    emit::record(&event, Lost::RingSched);
}
