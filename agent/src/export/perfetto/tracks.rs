//! Tracks: a process' own, its threads', one for each request and each counter; made when something first stands on
//! them. And the packets that every trace begins with.

use rustc_hash::FxHashMap;
use rustix::time::{ClockId, clock_gettime};

use super::{
    proto::{
        BOOTTIME, COUNTER, Clock, ClockSnapshot, Counter, Defaults, Event, Interned, MONOTONIC, NEEDS_STATE, Name,
        Packet, Process, REALTIME, STATE_CLEARED, Thread, Track, UNIT_BYTES,
    },
    sink::Sink,
    threads::{ANNOTATIONS, STATES},
};

/// The one writer of packets.
const SEQUENCE: u32 = 1;
/// Tracks for requests that are made at most; more share them.
const REQUEST_TRACKS: u64 = 100_000;

/// Tracks by what they are of.
#[derive(Default)]
pub struct Tracks {
    next: u64,
    processes: FxHashMap<u32, u64>,
    counters: FxHashMap<(Option<u32>, String), u64>,
    named: FxHashMap<String, u64>,
    requests: u64,
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Name> {
    let name = |(at, name): (usize, &str)| Name { iid: Some(at as u64 + 1), name: Some(name.to_owned()) };
    names.into_iter().enumerate().map(name).collect()
}

/// What the packets after it rely on: the clock that times are of, and the names that have numbers.
pub fn begin(sink: &mut Sink) {
    let clock = |id, clock| Clock { id: Some(id), timestamp: Some(nanoseconds(clock)) };
    let clocks = vec![
        clock(REALTIME, ClockId::Realtime),
        clock(MONOTONIC, ClockId::Monotonic),
        clock(BOOTTIME, ClockId::Boottime),
    ];
    sink.put(&Packet {
        sequence: Some(SEQUENCE),
        flags: Some(STATE_CLEARED),
        defaults: Some(Defaults { clock: Some(MONOTONIC) }),
        interned: Some(Interned { event_names: names(STATES), annotation_names: names(ANNOTATIONS) }),
        clock_snapshot: Some(ClockSnapshot { clocks, primary: Some(BOOTTIME) }),
        ..Packet::default()
    });
}

/// An event of this kind on a track.
pub fn on(track: u64, kind: i32) -> Event {
    Event { track: Some(track), kind: Some(kind), ..Event::default() }
}

/// A counter's value.
pub fn value(track: u64, value: f64) -> Event {
    Event { value: Some(value), ..on(track, COUNTER) }
}

/// The packet of an event at an instant.
pub fn packet(at_ns: u64, event: Event) -> Packet {
    let packet = Packet { timestamp: Some(at_ns), event: Some(event), ..Packet::default() };
    Packet { sequence: Some(SEQUENCE), flags: Some(NEEDS_STATE), ..packet }
}

/// Puts an event at an instant.
pub fn put(sink: &mut Sink, at_ns: u64, event: Event) {
    sink.put(&packet(at_ns, event));
}

fn comm(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

impl Tracks {
    fn new_track(&mut self, sink: &mut Sink, track: Track) -> u64 {
        self.next += 1;
        let track = Track { uuid: Some(self.next), ..track };
        sink.put(&Packet { sequence: Some(SEQUENCE), track: Some(track), ..Packet::default() });
        self.next
    }

    /// A process' track.
    pub fn process(&mut self, sink: &mut Sink, pid: u32) -> u64 {
        if let Some(track) = self.processes.get(&pid) {
            return *track;
        }
        let process = Process { pid: Some(pid as i32), name: comm(&format!("/proc/{pid}/comm")) };
        let track = self.new_track(sink, Track { process: Some(process), ..Track::default() });
        self.processes.insert(pid, track);
        track
    }

    /// A new track for a thread.
    pub fn thread(&mut self, sink: &mut Sink, pid: u32, tid: u32) -> u64 {
        self.process(sink, pid);
        let name = comm(&format!("/proc/{pid}/task/{tid}/comm"));
        let thread = Thread { pid: Some(pid as i32), tid: Some(tid as i32), name };
        self.new_track(sink, Track { thread: Some(thread), ..Track::default() })
    }

    /// A track for one request: requests overlap, slices of one track may not. Viewers put tracks of one name together.
    pub fn request(&mut self, sink: &mut Sink, pid: u32) -> u64 {
        let parent = self.process(sink, pid);
        self.requests += 1;
        if self.requests > REQUEST_TRACKS {
            return self.named(sink, "more requests");
        }
        let track = Track { name: Some("requests".to_owned()), parent: Some(parent), ..Track::default() };
        self.new_track(sink, track)
    }

    /// A counter's track, below its process.
    pub fn counter(&mut self, sink: &mut Sink, pid: Option<u32>, name: &str, unit: &str) -> u64 {
        if let Some(track) = self.counters.get(&(pid, name.to_owned())) {
            return *track;
        }
        let parent = pid.map(|pid| self.process(sink, pid));
        let bytes = unit == "By";
        let counter = Counter { unit: bytes.then_some(UNIT_BYTES), unit_name: (!bytes).then(|| unit.to_owned()) };
        let track = Track { name: Some(name.to_owned()), parent, counter: Some(counter), ..Track::default() };
        let track = self.new_track(sink, track);
        self.counters.insert((pid, name.to_owned()), track);
        track
    }

    /// A track that belongs to no process.
    pub fn named(&mut self, sink: &mut Sink, name: &str) -> u64 {
        if let Some(track) = self.named.get(name) {
            return *track;
        }
        let track = self.new_track(sink, Track { name: Some(name.to_owned()), ..Track::default() });
        self.named.insert(name.to_owned(), track);
        track
    }
}
