//! One slice for each state of each thread, from one change to the next. Slices follow one another without a gap as
//! long as no event is lost; after a loss the next change begins anew.

use inferscope_abi::{STATE_ONCPU, STATE_RUNQUEUE, SchedEvent};
use rustc_hash::FxHashMap;

use super::{
    proto::{Annotation, SLICE_BEGIN, SLICE_END},
    sink::Sink,
    tracks::{self, Tracks},
};

/// Names of the states in the order of their numbers: the words of a timeline, and why a thread is blocked.
pub const STATES: [&str; inferscope_abi::STATES] = [
    "running",
    "runnable",
    "blocked: futex",
    "blocked: poll",
    "blocked: socket",
    "blocked: file",
    "blocked: block I/O",
    "asleep",
    "blocked: page fault",
    "blocked",
];
/// Names of what stands beside a slice.
pub const ANNOTATIONS: [&str; 3] = ["cpu", "woken by", "woken on cpu"];
const CPU: u64 = 1;
const WAKER: u64 = 2;
const WAKER_CPU: u64 = 3;

struct Known {
    track: u64,
    tgid: u32,
    open: bool,
}

/// Every thread that has changed its state.
#[derive(Default)]
pub struct Threads {
    known: FxHashMap<u32, Known>,
    pub seen: u64,
    pub slices: u64,
    pub left_out: u64,
}

fn annotation(name: u64, value: u32) -> Annotation {
    Annotation { name_iid: Some(name), uint: Some(u64::from(value)), ..Annotation::default() }
}

fn annotations(event: &SchedEvent) -> Vec<Annotation> {
    match event.state as usize {
        STATE_ONCPU => vec![annotation(CPU, event.cpu)],
        STATE_RUNQUEUE if event.waker != 0 => {
            vec![annotation(WAKER, event.waker), annotation(WAKER_CPU, event.cpu)]
        }
        _ => Vec::new(),
    }
}

impl Threads {
    /// Ends the state that the thread was in and begins the next.
    pub fn change(&mut self, event: &SchedEvent, tracks: &mut Tracks, sink: &mut Sink) {
        let (tgid, tid, at_ns) = (event.header.tgid, event.header.tid, event.header.at_ns);
        // The id may be another thread's by now.
        if self.known.get(&tid).is_none_or(|known| known.tgid != tgid) {
            self.seen += 1;
            let track = tracks.thread(sink, tgid, tid);
            self.known.insert(tid, Known { track, tgid, open: false });
        }
        let Some(known) = self.known.get_mut(&tid) else { return };
        if known.open {
            tracks::put(sink, at_ns, tracks::on(known.track, SLICE_END));
            known.open = false;
        }
        if event.state as usize >= STATES.len() {
            self.known.remove(&tid);
        } else if sink.has_room() {
            let mut begin = tracks::on(known.track, SLICE_BEGIN);
            begin.name_iid = Some(u64::from(event.state) + 1);
            begin.annotations = annotations(event);
            tracks::put(sink, at_ns, begin);
            known.open = true;
            self.slices += 1;
        } else {
            self.left_out += 1;
        }
    }

    /// Ends what is open.
    pub fn end_all(&mut self, at_ns: u64, sink: &mut Sink) {
        for known in self.known.values_mut().filter(|known| known.open) {
            tracks::put(sink, at_ns, tracks::on(known.track, SLICE_END));
            known.open = false;
        }
    }
}
