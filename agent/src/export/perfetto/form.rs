//! What a timeline is made of, and what a file format must be able to write of it. All times are CLOCK_MONOTONIC.

use inferscope_abi::{STATE_NAMES, STATE_RUNQUEUE, STATE_THROTTLED};

use super::sink::Sink;

/// One run of a thread and the wait before it, as far as they were seen. What is still open has no end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub pid: u32,
    pub tid: u32,
    /// Since when it was blocked, and in which `STATE_*`.
    pub blocked: Option<(u64, usize)>,
    pub runnable_ns: Option<u64>,
    /// The thread that woke it and its CPU.
    pub waker: Option<(u32, u16)>,
    pub oncpu_ns: Option<u64>,
    pub cpu: u16,
    /// When it left the CPU, and for what.
    pub left: Option<(u64, Next)>,
}

/// What a thread leaves the CPU for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Ended,
    Preempted,
    /// A `STATE_*`.
    Blocked(usize),
}

impl Next {
    /// Of a `STATE_*`, or NEXT_ENDED.
    pub fn new(state: u32) -> Self {
        match state as usize {
            STATE_RUNQUEUE | STATE_THROTTLED => Self::Preempted,
            blocked if blocked < STATE_NAMES.len() => Self::Blocked(blocked),
            _ => Self::Ended,
        }
    }
}

/// Where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place<'a> {
    Thread {
        pid: u32,
        tid: u32,
    },
    /// Below a process, among others of this name that it may overlap.
    Among {
        pid: u32,
        name: &'a str,
    },
    /// Of no process.
    Host(&'a str),
}

/// What stands beside a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Count(u64),
    Signed(i64),
    Number(f64),
    Text(String),
}

/// Name and value.
pub type Note = (&'static str, Value);

/// Something that took time.
#[derive(Clone, Debug)]
pub struct Slice<'a> {
    pub place: Place<'a>,
    pub name: &'a str,
    pub begin_ns: u64,
    /// None: it had not ended when the recording did.
    pub end_ns: Option<u64>,
    pub notes: Vec<Note>,
    /// Parts of it, one after the other.
    pub phases: Vec<(&'static str, u64, Option<u64>)>,
    /// Instants in it, of one name.
    pub instants: (&'static str, &'a [u64]),
}

impl<'a> Slice<'a> {
    /// One without parts.
    pub fn new(place: Place<'a>, name: &'a str, begin_ns: u64, end_ns: Option<u64>, notes: Vec<Note>) -> Self {
        Self { place, name, begin_ns, end_ns, notes, phases: Vec::new(), instants: ("", &[]) }
    }
}

/// A value at an instant.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Process it is of; None for the host's.
    pub pid: Option<u32>,
    pub name: &'a str,
    pub unit: &'static str,
    pub at_ns: u64,
    pub value: f64,
}

/// A file format.
pub trait Form: Send {
    /// What every file begins with. `at_ns`: no thread's state is older.
    fn begin(&mut self, sink: &mut Sink, at_ns: u64);
    /// A thread that was blocked when the recording began.
    fn found(&mut self, sink: &mut Sink, pid: u32, tid: u32, began_ns: u64);
    /// A thread's run. `now_ns`: when that was told.
    fn run(&mut self, sink: &mut Sink, run: &Run, now_ns: u64);
    /// A process runs another program, whose name it has from now on, as has its only thread.
    fn renamed(&mut self, sink: &mut Sink, pid: u32, at_ns: u64);
    fn slice(&mut self, sink: &mut Sink, slice: &Slice<'_>);
    fn instant(&mut self, sink: &mut Sink, place: Place<'_>, name: &str, at_ns: u64);
    fn counter(&mut self, sink: &mut Sink, sample: &Sample<'_>);
    /// What every file ends with.
    fn finish(&mut self, sink: &mut Sink, at_ns: u64);
}

/// Why a thread is blocked, in a word.
pub fn reason(state: usize) -> &'static str {
    STATE_NAMES.get(state).copied().unwrap_or("unknown")
}

/// A thread's or a process' name, as the kernel has it.
pub fn comm(path: &str) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| printable(&bytes))
}

/// What any process may call itself, without what a viewer would choke on.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.trim_ascii_end()).chars().filter(|c| !c.is_control()).collect()
}
