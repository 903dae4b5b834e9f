//! Every map and the read-only configuration. Sizes given here are defaults; the agent sets them at load.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, Queue, RingBuf},
};
use inferscope_abi::{
    BlockIssue, CUSTOM_SLOTS, Config, Connection, Counters, CustomCount, CustomKey, CustomRule, CustomSums, FileKey,
    LOSS_PLACES, LogRow, PAYLOAD_BYTES, PayloadHeader, Process, SAMPLE_KERNEL_FRAMES, SAMPLE_USER_FRAMES, SampleHeader,
    SyscallKey, SyscallStats, Thread, WatchRow,
};

use crate::probe::{Call, Walk};

/// Set by the agent before the programs load; constant for the verifier.
#[unsafe(no_mangle)]
pub static CONFIG: Config = {
    // SAFETY: Config is integers and arrays of integers.
    unsafe { core::mem::zeroed() }
};

/// Reads one field of [`CONFIG`]; volatile, so that the compiler does not fold the zeroes above into the programs.
#[macro_export]
macro_rules! config {
    ($($field:ident).+ $([$index:literal])?) => {
        $crate::maps::field(&$crate::maps::CONFIG.$($field).+ $([$index])?)
    };
}

#[inline(always)]
pub fn field<T: Copy>(field: &'static T) -> T {
    // SAFETY: a reference to a static.
    unsafe { core::ptr::read_volatile(field) }
}

#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

#[map]
pub static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(LOSS_PLACES as u32, 0);

/// The agent maps WATCHED, PROCESS and SERVICE: it marks a process with one store, and a scrape costs no system call.
#[map]
pub static WATCHED: Array<WatchRow> = Array::with_max_entries(131_072, BPF_F_MMAPABLE);

#[map]
pub static PROCESS: Array<Process> = Array::with_max_entries(4096, BPF_F_MMAPABLE);

/// Slots of PROCESS that are free. The longest free one goes first: a program on another CPU may be about to write to one
/// whose process has just ended.
#[map]
pub static FREE_SLOTS: Queue<u32> = Queue::with_max_entries(4096, 0);

/// Watched processes that have not ended. Two last threads can both see that none is left: the one that takes the entry
/// out ends the watch.
#[map]
pub static LIVE: HashMap<u32, u32> = HashMap::with_max_entries(4096, 0);

#[map]
pub static SERVICE: Array<Counters> = Array::with_max_entries(256, BPF_F_MMAPABLE);

/// How long threads of each service have run on each CPU, until their last switch; index `cpu * services + service`.
/// Written by that CPU only.
#[map]
pub static RAN: Array<u64> = Array::with_max_entries(256, 0);

/// What to expect of a service: `TRAIT_*` bits; index as in SERVICE.
#[map]
pub static TRAITS: Array<u32> = Array::with_max_entries(256, 0);

#[map]
pub static THREAD: HashMap<u32, Thread> = HashMap::with_max_entries(32_768, 0);

#[map]
pub static SYSCALL: PerCpuHashMap<SyscallKey, SyscallStats> =
    PerCpuHashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

#[map]
pub static CONNECTION: HashMap<u64, Connection> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// What each service has written to logs; index as in SERVICE.
#[map]
pub static LOG_ROW: Array<LogRow> = Array::with_max_entries(256, BPF_F_MMAPABLE);

/// Which files are logs, as the agent says, and of which it was asked; who was not written to for the longest time goes.
#[map]
pub static LOG_MARK: LruHashMap<FileKey, u32> = LruHashMap::with_max_entries(8192, 0);

/// Block requests under way; only used while a timeline is recorded.
#[map]
pub static BLOCK: HashMap<u64, BlockIssue> = HashMap::with_max_entries(8192, 0);

/// What each program of a metric of the configuration takes of its events.
#[map]
pub static CUSTOM_RULE: Array<CustomRule> = Array::with_max_entries(CUSTOM_SLOTS as u32, 0);

/// The series of those metrics. Made before they are needed: a tracepoint may lie within the kernel's allocator.
#[map]
pub static CUSTOM: PerCpuHashMap<CustomKey, CustomSums> = PerCpuHashMap::with_max_entries(1, 0);

#[map]
pub static CUSTOM_COUNT: Array<CustomCount> = Array::with_max_entries(CUSTOM_SLOTS as u32, BPF_F_MMAPABLE);

/// Which of those metrics are made of a service, a bit each; index as in SERVICE. Whole words, for the kernel keeps
/// elements of an array at multiples of eight bytes.
#[map]
pub static CUSTOM_OF: Array<u64> = Array::with_max_entries(256, BPF_F_MMAPABLE);

/// Room to put a payload record together: twice the data, so that the verifier can see that any piece fits behind
/// any other.
#[repr(C)]
pub struct Scratch {
    pub head: PayloadHeader,
    pub data: [u8; 2 * PAYLOAD_BYTES],
    pub walk: Walk,
    pub call: Call,
}

/// Of the one sys_exit program that is attached: the kernel does not run a program twice at a time on one CPU.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Room to put a stack sample together.
#[repr(C)]
pub struct SampleScratch {
    pub head: SampleHeader,
    pub frames: [u64; SAMPLE_KERNEL_FRAMES + SAMPLE_USER_FRAMES],
}

/// Of the program of the clock's interrupt alone.
#[map]
pub static SAMPLE: PerCpuArray<SampleScratch> = PerCpuArray::with_max_entries(1, 0);
