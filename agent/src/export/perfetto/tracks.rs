//! Tracks: a process' own, its threads', lanes for what may overlap, and one for each counter; made when something
//! first stands on them.

use rustc_hash::FxHashMap;

use super::{
    form::{Place, comm},
    proto::{Counter, Packet, Process, Thread, Track, UNIT_BYTES},
    sink::Sink,
};

/// The one writer of packets.
const SEQUENCE: u32 = 1;
/// Lanes of one name below one process; what finds none free then shares the last.
const LANES: usize = 10_000;

/// Tracks by what they are of.
#[derive(Default)]
pub struct Tracks {
    next: u64,
    processes: FxHashMap<u32, u64>,
    threads: FxHashMap<u32, (u32, u64)>,
    counters: FxHashMap<(Option<u32>, String), u64>,
    named: FxHashMap<String, u64>,
    /// Tracks of a name below a process, and from when on each is free.
    lanes: FxHashMap<(u32, String), Vec<(u64, u64)>>,
}

/// A packet of the one sequence.
pub fn sequenced() -> Packet {
    Packet { sequence: Some(SEQUENCE), ..Packet::default() }
}

fn put(sink: &mut Sink, uuid: u64, track: Track) {
    sink.packet(&Packet { track: Some(Track { uuid: Some(uuid), ..track }), ..sequenced() });
}

fn process(pid: u32, name: Option<String>) -> Track {
    Track { process: Some(Process { pid: Some(pid as i32), name }), ..Track::default() }
}

fn thread(pid: u32, tid: u32, name: Option<&str>) -> Track {
    let thread = Thread { pid: Some(pid as i32), tid: Some(tid as i32), name: name.map(str::to_owned) };
    Track { thread: Some(thread), ..Track::default() }
}

impl Tracks {
    fn new_track(&mut self, sink: &mut Sink, track: Track) -> u64 {
        self.next += 1;
        put(sink, self.next, track);
        self.next
    }

    /// A process' track.
    pub fn process(&mut self, sink: &mut Sink, pid: u32) -> u64 {
        if let Some(track) = self.processes.get(&pid) {
            return *track;
        }
        let track = self.new_track(sink, process(pid, comm(&format!("/proc/{pid}/comm"))));
        self.processes.insert(pid, track);
        track
    }

    /// A thread's track. The id may be another thread's by now.
    pub fn thread(&mut self, sink: &mut Sink, pid: u32, tid: u32, name: Option<&str>) -> u64 {
        if let Some((owner, track)) = self.threads.get(&tid)
            && *owner == pid
        {
            return *track;
        }
        self.process(sink, pid);
        let track = self.new_track(sink, thread(pid, tid, name));
        self.threads.insert(tid, (pid, track));
        track
    }

    /// Says again what a process and its first thread are called, on the tracks that they have; whether they have any.
    pub fn renamed(&self, sink: &mut Sink, pid: u32, name: &str) -> bool {
        let Some(track) = self.processes.get(&pid) else { return false };
        put(sink, *track, process(pid, Some(name.to_owned())));
        if let Some((owner, track)) = self.threads.get(&pid)
            && *owner == pid
        {
            put(sink, *track, thread(pid, pid, Some(name)));
        }
        true
    }

    /// A track on which nothing stands from `begin_ns` on. Viewers put tracks of one name together.
    pub fn lane(&mut self, sink: &mut Sink, pid: u32, name: &str, begin_ns: u64, end_ns: Option<u64>) -> u64 {
        let parent = self.process(sink, pid);
        let end_ns = end_ns.unwrap_or(u64::MAX);
        let key = (pid, name.to_owned());
        let lanes = self.lanes.entry(key.clone()).or_default();
        let full = lanes.len() >= LANES;
        let free = lanes.iter_mut().find(|(_, free_ns)| *free_ns <= begin_ns);
        if let Some((track, free_ns)) = free {
            *free_ns = end_ns;
            return *track;
        }
        if full && let Some((track, _)) = lanes.last() {
            return *track;
        }
        let track = Track { name: Some(name.to_owned()), parent: Some(parent), ..Track::default() };
        let track = self.new_track(sink, track);
        self.lanes.entry(key).or_default().push((track, end_ns));
        track
    }

    /// Where something that takes this time stands.
    pub fn place(&mut self, sink: &mut Sink, place: Place<'_>, begin_ns: u64, end_ns: Option<u64>) -> u64 {
        match place {
            Place::Thread { pid, tid } => self.thread(sink, pid, tid, None),
            Place::Among { pid, name } => self.lane(sink, pid, name, begin_ns, end_ns),
            Place::Host(name) => self.named(sink, name),
        }
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
    fn named(&mut self, sink: &mut Sink, name: &str) -> u64 {
        if let Some(track) = self.named.get(name) {
            return *track;
        }
        let track = self.new_track(sink, Track { name: Some(name.to_owned()), ..Track::default() });
        self.named.insert(name.to_owned(), track);
        track
    }
}
