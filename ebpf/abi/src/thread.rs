//! What the kernel side keeps of each thread.

/// What one thread of a watched process is doing: value of the map THREAD, key tid. The kernel's own bookkeeping.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    pub tgid: u32,
    /// A `STATE_*`, or [`STATE_UNKNOWN`] before its first transition.
    pub state: u32,
    /// When it entered that state.
    pub since_ns: u64,
    /// The system call it is in, or [`NO_SYSCALL`].
    pub syscall: u32,
    /// `THREAD_*` bits.
    pub flags: u32,
    pub syscall_since_ns: u64,
    /// First four arguments of that call.
    pub args: [u64; 4],
    /// Inode of the socket that the call is on, 0 if it is on none: found when the call begins, for by its end another
    /// thread may have closed the descriptor, and its number may be another's.
    pub socket: u64,
    /// When it began to make room in memory, if it does.
    pub reclaim_ns: u64,
    /// Before its present run; only while a timeline is recorded.
    pub wait: Wait,
    /// What RAN said of its service on the CPU whose queue it is in, when it got there.
    pub ran_ns: u64,
    pub queue_cpu: u32,
    /// The thread that ran where its last wake-up came from; only while a timeline is recorded.
    pub waking: u32,
    /// That CPU's number and one more; 0: not known.
    pub waking_cpu: u32,
    /// Which log the call that it is in writes: a `LOG_*`.
    pub log: u32,
    /// The word that it last waited for with futex(2) for about as long as CPython waits for its interpreter's lock, in
    /// steps of eight bytes.
    pub awaited: u64,
    /// How many such waits in a row have ended by their timeout.
    pub timeouts: u32,
    /// The service that its state is counted for: that of its process when the state began.
    pub service: u32,
}

/// What a thread did between two runs on a CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// When it blocked; 0 if it did not (another thread took the CPU), or if that was not seen.
    pub blocked_ns: u64,
    /// When it became runnable; 0 if that was not seen.
    pub runnable_ns: u64,
    /// The thread that ran where the wake-up came from, be it the waker or what an interrupt interrupted.
    pub waker: u32,
    /// CPU of the wake-up.
    pub waker_cpu: u16,
    /// CPU of the run that follows.
    pub cpu: u16,
    /// The `STATE_*` that it was blocked in, or [`WAIT_NONE`].
    pub state: u16,
    /// `WAIT_*` bits.
    pub flags: u16,
    pub reserved: u32,
}
/// It was not blocked, or for what was not seen.
pub const WAIT_NONE: u16 = u16::MAX;
/// It blocked outside any system call.
pub const WAIT_NO_SYSCALL: u16 = 1;
/// It is a new thread.
pub const WAIT_NEW: u16 = 2;
/// The thread has gone through its exit: its time is closed, only its last switch is still to come.
pub const THREAD_EXITED: u32 = 1;
/// The thread makes room in memory: between the two tracepoints of direct reclaim.
pub const THREAD_RECLAIMS: u32 = 2;
/// The thread was there when the watch began, and none of its calls has begun since: what it is in, the kernel side has
/// not seen begin.
pub const THREAD_FOUND: u32 = 4;
/// The thread's last call was interrupted and will be gone on with (ERESTART_RESTARTBLOCK): its number is the fourth of the
/// arguments, which no such call has.
pub const THREAD_RESTARTS: u32 = 8;
/// Outside any system call.
pub const NO_SYSCALL: u32 = u32::MAX;
/// Not known yet.
pub const STATE_UNKNOWN: u32 = u32::MAX;

const _: () = assert!(size_of::<Wait>() == 32 && size_of::<Thread>() == 152);
