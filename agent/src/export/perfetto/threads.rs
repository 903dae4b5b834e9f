//! One slice for each state of each thread, from one change to the next. Slices follow one another without a gap as
//! long as no event is lost; after a loss the next change begins anew.

use inferscope_abi::{STATE_ONCPU, STATE_RUNQUEUE, SchedEvent};
use rustc_hash::FxHashMap;

use super::{
    proto::{Annotation, Event, Packet, SLICE_BEGIN, SLICE_END},
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
    "runnable: throttled",
    "blocked: lock",
    "blocked: memory",
    "blocked: send",
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
pub struct Threads {
    known: FxHashMap<u32, Known>,
    /// Packets that only differ in numbers, so that none is made anew for each change: the end of a slice, and the
    /// beginning of one by its number of annotations.
    end: Packet,
    begin: [Packet; 3],
    pub seen: u64,
    pub slices: u64,
    pub left_out: u64,
}

impl Default for Threads {
    fn default() -> Self {
        let annotated = |names: &[u64]| {
            let annotation = |name: &u64| Annotation { name_iid: Some(*name), uint: Some(0), ..Annotation::default() };
            let annotations = names.iter().map(annotation).collect();
            tracks::packet(0, Event { annotations, name_iid: Some(0), ..tracks::on(0, SLICE_BEGIN) })
        };
        Self {
            known: FxHashMap::default(),
            // It has no name, so it needs none of the numbered ones.
            end: Packet { flags: None, ..tracks::packet(0, tracks::on(0, SLICE_END)) },
            begin: [annotated(&[]), annotated(&[CPU]), annotated(&[WAKER, WAKER_CPU])],
            seen: 0,
            slices: 0,
            left_out: 0,
        }
    }
}

/// What stands beside a slice that begins: as many numbers as there are annotations.
fn numbers(event: &SchedEvent) -> ([u32; 2], usize) {
    match event.state as usize {
        STATE_ONCPU => ([event.cpu, 0], 1),
        STATE_RUNQUEUE if event.waker != 0 => ([event.waker, event.cpu], 2),
        _ => ([0, 0], 0),
    }
}

/// Sets a prototype's time and track.
fn place(packet: &mut Packet, at_ns: u64, track: u64) -> Option<&mut Event> {
    packet.timestamp = Some(at_ns);
    let event = packet.event.as_mut()?;
    event.track = Some(track);
    Some(event)
}

impl Threads {
    fn put_begin(&mut self, event: &SchedEvent, track: u64, sink: &mut Sink) {
        let (values, count) = numbers(event);
        let packet = &mut self.begin[count];
        if let Some(begin) = place(packet, event.header.at_ns, track) {
            begin.name_iid = Some(u64::from(event.state) + 1);
            for (annotation, value) in begin.annotations.iter_mut().zip(values) {
                annotation.uint = Some(u64::from(value));
            }
        }
        sink.put(packet);
        self.slices += 1;
    }

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
            place(&mut self.end, at_ns, known.track);
            sink.put(&self.end);
            known.open = false;
        }
        if event.state as usize >= STATES.len() {
            self.known.remove(&tid);
        } else if sink.has_room() {
            known.open = true;
            let track = known.track;
            self.put_begin(event, track, sink);
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
