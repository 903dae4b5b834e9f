//! One file per subsystem; the agent's `probe/` has the same names.

/// Makes both hooks of a body: tp_btf where the verifier knows the types, else a raw tracepoint.
macro_rules! tracepoint {
    ($btf:ident, $raw:ident, $tracepoint:literal, |$ctx:ident $(, $read:ident)?| $body:expr) => {
        #[aya_ebpf::macros::btf_tracepoint(function = $tracepoint)]
        pub fn $btf($ctx: aya_ebpf::programs::BtfTracePointContext) -> i32 {
            $(type $read = $crate::kernel::Typed;)?
            $body;
            0
        }
        #[aya_ebpf::macros::raw_tracepoint(tracepoint = $tracepoint)]
        pub fn $raw($ctx: aya_ebpf::programs::RawTracePointContext) -> i32 {
            $(type $read = $crate::kernel::Untyped;)?
            $body;
            0
        }
    };
}

/// Makes a classic tracepoint of a body, for kernels from 7.0 on: they run the two hooks above with preemption on and
/// leave a program out that is running on that CPU already. Behind a classic tracepoint preemption is off. `$ctx` is the
/// address of its record, whose fields the agent compares with the tracepoint's format before it attaches.
macro_rules! classic_tracepoint {
    ($name:ident, |$ctx:ident| $body:expr) => {
        #[aya_ebpf::macros::tracepoint]
        pub fn $name(ctx: aya_ebpf::programs::TracePointContext) -> u32 {
            let $ctx = aya_ebpf::EbpfContext::as_ptr(&ctx).cast::<u8>();
            $body;
            0
        }
    };
}

mod block;
mod custom;
mod fault;
mod listen;
mod log;
mod process;
mod reclaim;
mod sample;
mod sched;
mod socket;
mod syscall;

pub use socket::{Call, Walk};
