//! Where watched threads are on a CPU, a sample per tick of a clock on every CPU: kernel and user stack as addresses.
//! Attached only when stacks are asked for.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_F_USER_STACK,
    helpers::bpf_get_current_pid_tgid,
    helpers::generated::{bpf_get_smp_processor_id, bpf_get_stack},
    macros::perf_event,
    programs::PerfEventContext,
};
use inferscope_abi::{Kind, Lost, SAMPLE_KERNEL_FRAMES, SAMPLE_USER_FRAMES, SampleHeader};

use crate::{
    emit::{self, header},
    kernel::{now_ns, opaque},
    maps::SAMPLE,
    watch,
};

const KERNEL_BYTES: usize = 8 * SAMPLE_KERNEL_FRAMES;
const USER_BYTES: usize = 8 * SAMPLE_USER_FRAMES;

// PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK: a timer of each CPU, in whose interrupt the program runs. No other run of
// it can come between on that CPU.
#[perf_event]
pub fn sample_clock(ctx: PerfEventContext) -> u32 {
    let ids = bpf_get_current_pid_tgid();
    let mark = watch::mark((ids >> 32) as u32);
    if mark != 0 {
        sampled(&ctx, ids, mark);
    }
    0
}

#[inline(always)]
fn sampled(ctx: &PerfEventContext, ids: u64, mark: u16) {
    let (Some(sums), Some(scratch)) = (watch::sums(mark), SAMPLE.get_ptr_mut(0)) else { return };
    // SAFETY: this CPU's own room, which holds both stacks at their longest; the helper writes no more than it is told.
    unsafe {
        let frames = (&raw mut (*scratch).frames).cast::<u8>();
        // A thread that was interrupted in user mode has no kernel stack: an error.
        let kernel = bpf_get_stack(ctx.as_ptr(), frames.cast(), KERNEL_BYTES as u32, 0);
        let kernel = opaque(if kernel < 0 { 0 } else { kernel as usize });
        if kernel > KERNEL_BYTES {
            return;
        }
        let user = bpf_get_stack(ctx.as_ptr(), frames.add(kernel).cast(), USER_BYTES as u32, BPF_F_USER_STACK.into());
        let user = opaque(if user < 0 { 0 } else { user as usize });
        if user > USER_BYTES {
            return;
        }
        (*scratch).head = SampleHeader {
            header: header(Kind::Sample, (ids >> 32) as u32, ids as u32, now_ns()),
            service: sums.service_index,
            cpu: bpf_get_smp_processor_id(),
            kernel_frames: (kernel / 8) as u32,
            user_frames: (user / 8) as u32,
        };
        let len = opaque(kernel + user);
        if len <= KERNEL_BYTES + USER_BYTES {
            emit::bytes(scratch.cast(), (size_of::<SampleHeader>() + len) as u64, Lost::RingSample);
        }
    }
}
