//! A timeline as Perfetto's own packets: threads as scheduling events, the rest as track events with interned names.
//! Times in the file are CLOCK_BOOTTIME, as those of the kernel's events must be.

use inferscope_abi::{STATE_NAMES, STATES};
use rustc_hash::FxHashMap;
use rustix::time::{ClockId, clock_gettime};

use super::{
    cpus::{Cpus, reason_iid},
    form::{Form, Note, Place, Run, Sample, Slice, Value, comm},
    proto::{
        Annotation, BOOTTIME, COUNTER, Clock, ClockSnapshot, Defaults, Event, INSTANT, Interned, MONOTONIC,
        NEEDS_STATE, Name, Packet, REALTIME, SLICE_BEGIN, SLICE_END, STATE_CLEARED, SystemInfo, Utsname,
    },
    sink::Sink,
    tracks::{Tracks, sequenced},
};

/// Names that get a number; more are written in full.
const NAMES: usize = 10_000;
/// Thread names that are kept.
const COMMS: usize = 100_000;

/// The names that have numbers so far.
#[derive(Default)]
struct Names {
    known: FxHashMap<String, u64>,
    new: Vec<Name>,
}

impl Names {
    fn number(&mut self, name: &str) -> Option<u64> {
        if let Some(number) = self.known.get(name) {
            return Some(*number);
        }
        if self.known.len() >= NAMES {
            return None;
        }
        let number = self.known.len() as u64 + 1;
        self.known.insert(name.to_owned(), number);
        self.new.push(Name { iid: Some(number), name: Some(name.to_owned()) });
        Some(number)
    }
}

/// Perfetto's format.
#[derive(Default)]
pub struct Packets {
    tracks: Tracks,
    cpus: Cpus,
    names: Names,
    note_names: Names,
    comms: FxHashMap<u32, (u32, String)>,
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn utsname() -> Utsname {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| Some(part.to_string_lossy().into_owned());
    Utsname {
        sysname: text(name.sysname()),
        version: text(name.version()),
        release: text(name.release()),
        machine: text(name.machine()),
    }
}

fn on(track: u64, kind: i32) -> Event {
    Event { track: Some(track), kind: Some(kind), ..Event::default() }
}

impl Packets {
    fn put(&mut self, sink: &mut Sink, at_ns: u64, event: Event) {
        let interned = (!self.names.new.is_empty() || !self.note_names.new.is_empty()).then(|| Interned {
            event_names: std::mem::take(&mut self.names.new),
            annotation_names: std::mem::take(&mut self.note_names.new),
            kernel_symbols: Vec::new(),
        });
        let timestamp = Some(at_ns + self.cpus.boot_offset_ns);
        sink.packet(&Packet { timestamp, event: Some(event), interned, flags: Some(NEEDS_STATE), ..sequenced() });
    }

    fn named(&mut self, track: u64, kind: i32, name: &str, notes: &[Note]) -> Event {
        let name_iid = self.names.number(name);
        let name = name_iid.is_none().then(|| name.to_owned());
        let annotations = notes.iter().map(|note| self.annotation(note)).collect();
        Event { name_iid, name, annotations, ..on(track, kind) }
    }

    fn annotation(&mut self, (name, value): &Note) -> Annotation {
        let mut annotation = Annotation { name_iid: self.note_names.number(name), ..Annotation::default() };
        if annotation.name_iid.is_none() {
            annotation.name = Some((*name).to_owned());
        }
        match value {
            Value::Count(value) => annotation.uint = Some(*value),
            Value::Signed(value) => annotation.int = Some(*value),
            Value::Number(value) => annotation.double = Some(*value),
            Value::Text(value) => annotation.text = Some(value.clone()),
        }
        annotation
    }

    /// Makes a thread known: to which process it belongs, and its name.
    fn thread(&mut self, sink: &mut Sink, pid: u32, tid: u32) {
        if self.comms.get(&tid).is_some_and(|(owner, _)| *owner == pid) {
            return;
        }
        if self.comms.len() >= COMMS {
            self.comms.clear();
        }
        let name = comm(&format!("/proc/{pid}/task/{tid}/comm"));
        self.tracks.thread(sink, pid, tid, name.as_deref());
        self.comms.insert(tid, (pid, name.unwrap_or_default()));
    }
}

impl Form for Packets {
    fn begin(&mut self, sink: &mut Sink, at_ns: u64) {
        let times = [(REALTIME, ClockId::Realtime), (MONOTONIC, ClockId::Monotonic), (BOOTTIME, ClockId::Boottime)];
        let [realtime, monotonic, boottime] = times.map(|(id, clock)| (id, nanoseconds(clock)));
        self.cpus.boot_offset_ns = boottime.1.saturating_sub(monotonic.1);
        // Read one after the other they are some nanoseconds apart, which would be taken for the offset.
        let boottime = (BOOTTIME, monotonic.1 + self.cpus.boot_offset_ns);
        self.cpus.began_ns = at_ns;
        let clock = |(id, timestamp)| Clock { id: Some(id), timestamp: Some(timestamp) };
        let reason = |(state, name): (usize, &&str)| Name { iid: Some(reason_iid(state)), name: Some((*name).into()) };
        let kernel_symbols = STATE_NAMES.iter().enumerate().take(STATES).map(reason).collect();
        sink.packet(&Packet {
            flags: Some(STATE_CLEARED),
            defaults: Some(Defaults { clock: Some(BOOTTIME) }),
            interned: Some(Interned { kernel_symbols, ..Interned::default() }),
            clock_snapshot: Some(ClockSnapshot {
                clocks: vec![clock(realtime), clock(monotonic), clock(boottime)],
                primary: Some(BOOTTIME),
            }),
            ..sequenced()
        });
        sink.packet(&Packet { system: Some(SystemInfo { utsname: Some(utsname()) }), ..sequenced() });
        self.instant(sink, Place::Host("inferscope"), "recording begins", at_ns);
    }

    fn found(&mut self, sink: &mut Sink, pid: u32, tid: u32, began_ns: u64) {
        self.thread(sink, pid, tid);
        let Self { cpus, comms, .. } = self;
        let name = comms.get(&tid).map_or("", |(_, name)| name);
        cpus.found(sink, tid, name, began_ns);
    }

    fn run(&mut self, sink: &mut Sink, run: &Run, now_ns: u64) {
        self.thread(sink, run.pid, run.tid);
        let Self { cpus, comms, .. } = self;
        let name = comms.get(&run.tid).map_or("", |(_, name)| name);
        cpus.run(sink, run, name, now_ns);
    }

    fn renamed(&mut self, sink: &mut Sink, pid: u32, at_ns: u64) {
        // Where it has ended by now, what it was called is not known.
        let Some(name) = comm(&format!("/proc/{pid}/comm")) else { return };
        if !self.tracks.renamed(sink, pid, &name) {
            return;
        }
        self.cpus.renamed(sink, pid, &name, at_ns);
        // Its other threads ended with the program before: what is still told of them goes by the names that they had.
        if let Some((owner, known)) = self.comms.get_mut(&pid)
            && *owner == pid
        {
            *known = name;
        }
    }

    fn slice(&mut self, sink: &mut Sink, slice: &Slice<'_>) {
        let track = self.tracks.place(sink, slice.place, slice.begin_ns, slice.end_ns);
        let event = self.named(track, SLICE_BEGIN, slice.name, &slice.notes);
        self.put(sink, slice.begin_ns, event);
        for (name, begin_ns, end_ns) in &slice.phases {
            let event = self.named(track, SLICE_BEGIN, name, &[]);
            self.put(sink, *begin_ns, event);
            if let Some(end_ns) = end_ns {
                self.put(sink, *end_ns, on(track, SLICE_END));
            }
        }
        let (name, instants) = slice.instants;
        for at_ns in instants {
            let event = self.named(track, INSTANT, name, &[]);
            self.put(sink, *at_ns, event);
        }
        if let Some(end_ns) = slice.end_ns {
            self.put(sink, end_ns, on(track, SLICE_END));
        }
    }

    fn instant(&mut self, sink: &mut Sink, place: Place<'_>, name: &str, at_ns: u64) {
        let track = self.tracks.place(sink, place, at_ns, Some(at_ns));
        let event = self.named(track, INSTANT, name, &[]);
        self.put(sink, at_ns, event);
    }

    fn counter(&mut self, sink: &mut Sink, sample: &Sample<'_>) {
        let track = self.tracks.counter(sink, sample.pid, sample.name, sample.unit);
        self.put(sink, sample.at_ns, Event { value: Some(sample.value), ..on(track, COUNTER) });
    }

    fn finish(&mut self, sink: &mut Sink, at_ns: u64) {
        self.cpus.finish(sink);
        self.instant(sink, Place::Host("inferscope"), "recording ends", at_ns);
    }
}
