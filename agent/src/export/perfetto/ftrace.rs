//! The messages of a Perfetto trace that say what threads do, in the form in which Perfetto records the kernel's own
//! scheduling events: see proto.rs. Viewers make of them the threads' states and what each CPU ran.

use prost::Message;

/// FtraceEventBundle: events of one CPU.
#[derive(Clone, PartialEq, Message)]
pub struct Bundle {
    #[prost(uint32, optional, tag = "1")]
    pub cpu: Option<u32>,
    #[prost(message, repeated, tag = "2")]
    pub event: Vec<Event>,
    #[prost(message, optional, tag = "4")]
    pub compact: Option<Switches>,
}

/// FtraceEvent
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    /// The thread in which it happened.
    #[prost(uint32, optional, tag = "2")]
    pub tid: Option<u32>,
    #[prost(message, optional, tag = "18")]
    pub blocked: Option<BlockedReason>,
    #[prost(message, optional, tag = "20")]
    pub waking: Option<Waking>,
    #[prost(message, optional, tag = "236")]
    pub renamed: Option<Renamed>,
}

/// TaskRenameFtraceEvent: a thread has another name, as has the process whose first thread it is. Of what a track's
/// descriptor says of a process again, viewers keep the first name.
#[derive(Clone, PartialEq, Message)]
pub struct Renamed {
    #[prost(int32, optional, tag = "1")]
    pub tid: Option<i32>,
    #[prost(string, optional, tag = "3")]
    pub name: Option<String>,
}

/// SchedBlockedReasonFtraceEvent: why a thread was blocked that is woken now.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct BlockedReason {
    #[prost(int32, optional, tag = "1")]
    pub tid: Option<i32>,
    /// Number of an interned kernel symbol.
    #[prost(uint64, optional, tag = "2")]
    pub caller: Option<u64>,
    #[prost(uint32, optional, tag = "3")]
    pub io_wait: Option<u32>,
}

/// SchedWakingFtraceEvent
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Waking {
    #[prost(int32, optional, tag = "2")]
    pub tid: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    pub priority: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    pub success: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    pub target_cpu: Option<i32>,
}

/// CompactSched: switches by column. The thread that leaves is the one that the switch before brought.
#[derive(Clone, PartialEq, Message)]
pub struct Switches {
    /// Each but the first from the one before it.
    #[prost(uint64, repeated, tag = "1")]
    pub timestamp: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub prev_state: Vec<i64>,
    #[prost(int32, repeated, tag = "3")]
    pub next_tid: Vec<i32>,
    #[prost(int32, repeated, tag = "4")]
    pub next_priority: Vec<i32>,
    #[prost(string, repeated, tag = "5")]
    pub names: Vec<String>,
    /// Into `names`.
    #[prost(uint32, repeated, tag = "6")]
    pub next_name: Vec<u32>,
}
