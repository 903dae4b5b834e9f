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

/// The same hooks twice over. Kernels from 7.0 on run tracepoints with preemption on and leave a program out that is
/// running on that CPU already; the second program is another to the kernel, and takes what the first was left out of.
/// Bodies must see for themselves that the first has done the work. `$again` is true in the second.
macro_rules! tracepoint_twice {
    ($btf:ident, $raw:ident, $btf_2:ident, $raw_2:ident, $tracepoint:literal, |$ctx:ident, $read:ident, $again:ident| $body:expr) => {
        tracepoint!($btf, $raw, $tracepoint, |$ctx, $read| {
            const $again: bool = false;
            $body
        });
        tracepoint!($btf_2, $raw_2, $tracepoint, |$ctx, $read| {
            const $again: bool = true;
            $body
        });
    };
}

mod block;
mod fault;
mod process;
mod sched;
mod socket;
mod syscall;

pub use socket::{Call, Walk};
