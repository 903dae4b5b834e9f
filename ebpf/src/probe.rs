//! One file per subsystem; the agent's `probe/` has the same names.

/// Makes both hooks of a body: tp_btf where the verifier knows the types, else a raw tracepoint.
macro_rules! tracepoint {
    ($btf:ident, $raw:ident, $tracepoint:literal, |$ctx:ident, $read:ident| $body:expr) => {
        #[aya_ebpf::macros::btf_tracepoint(function = $tracepoint)]
        pub fn $btf($ctx: aya_ebpf::programs::BtfTracePointContext) -> i32 {
            type $read = $crate::kernel::Typed;
            $body;
            0
        }
        #[aya_ebpf::macros::raw_tracepoint(tracepoint = $tracepoint)]
        pub fn $raw($ctx: aya_ebpf::programs::RawTracePointContext) -> i32 {
            type $read = $crate::kernel::Untyped;
            $body;
            0
        }
    };
}

mod block;
mod fault;
mod process;
mod sched;
mod socket;
mod syscall;

pub use socket::{Call, Walk};
