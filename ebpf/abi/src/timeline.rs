//! Records that are made only while a timeline is recorded or stacks are taken.

use crate::{Header, Wait};

/// Record of [`Kind::Sched`](crate::Kind::Sched): one run of a thread on a CPU, and what it waited for before.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedEvent {
    /// The thread, and when it left the CPU.
    pub header: Header,
    /// When it got the CPU; 0 if that was not seen.
    pub oncpu_ns: u64,
    /// What was before.
    pub wait: Wait,
    /// What it left the CPU for: a `STATE_*`, or [`NEXT_ENDED`].
    pub next: u32,
    pub reserved: u32,
}
/// The thread has ended.
pub const NEXT_ENDED: u32 = u32::MAX;

/// Record of [`Kind::Syscall`](crate::Kind::Syscall).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyscallEvent {
    /// The thread, and when the call returned.
    pub header: Header,
    pub enter_ns: u64,
    /// What it returned: a count, a descriptor, or an error number negated.
    pub result: i64,
    pub number: u32,
    /// The descriptor that it was made on, [`NO_FD`] if on none or not known.
    pub fd: u32,
}
/// No descriptor.
pub const NO_FD: u32 = u32::MAX;

/// Record of [`Kind::Block`](crate::Kind::Block).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockEvent {
    /// The thread that handed the request over, and when the device was done with it.
    pub header: Header,
    pub issue: BlockIssue,
}

/// A request that a device is at: value of the map BLOCK, key the kernel's address of the request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockIssue {
    pub at_ns: u64,
    pub tgid: u32,
    pub tid: u32,
    pub bytes: u32,
    /// Numbers of the device; zeroes where they are not known.
    pub major: u32,
    pub minor: u32,
    /// The kernel's `REQ_OP_*`: 0 reads, 1 writes, 2 flushes.
    pub operation: u32,
}

/// Record of [`Kind::Stall`](crate::Kind::Stall).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StallEvent {
    /// The thread, and when it went on.
    pub header: Header,
    pub begin_ns: u64,
    /// Pages that it freed.
    pub pages: u64,
    /// A `STALL_*`.
    pub cause: u32,
    pub reserved: u32,
}
/// The host was short of memory.
pub const STALL_HOST: u32 = 0;
/// The thread's control group was at its limit.
pub const STALL_CGROUP: u32 = 1;

/// Frames of a sample at most; what lies further out is left out.
pub const SAMPLE_KERNEL_FRAMES: usize = 64;
/// As above, of the user's part.
pub const SAMPLE_USER_FRAMES: usize = 127;

/// Record of [`Kind::Sample`](crate::Kind::Sample). Addresses of eight bytes follow, innermost first: the kernel's, then the user's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleHeader {
    pub header: Header,
    pub service: u32,
    pub cpu: u32,
    /// 0 when the thread was interrupted in user mode.
    pub kernel_frames: u32,
    /// 0 when there is no user part, or it could not be read.
    pub user_frames: u32,
}

const _: () = {
    assert!(size_of::<SchedEvent>() == 72);
    assert!(size_of::<SyscallEvent>() == 48);
    assert!(size_of::<BlockIssue>() == 32 && size_of::<BlockEvent>() == 56);
    assert!(size_of::<StallEvent>() == 48);
    assert!(size_of::<SampleHeader>() == 40);
};
