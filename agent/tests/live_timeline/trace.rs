//! A Perfetto trace as its readers understand it: threads' states out of switches and wake-ups, slices out of beginnings
//! and ends. Written against the format and not against the writer.

use agent::export::perfetto::proto::{self, Annotation, Event, Packet, SLICE_BEGIN, SLICE_END};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// A state of a thread.
#[derive(Clone, Debug)]
pub struct State {
    pub tid: u32,
    pub begin_ns: u64,
    /// None: until the end.
    pub end_ns: Option<u64>,
    /// `running`, `runnable`, `blocked` or `ended`.
    pub what: &'static str,
    /// Of `blocked`.
    pub reason: Option<String>,
    /// Of `running`.
    pub cpu: Option<u32>,
    /// Of `runnable`.
    pub waker: Option<u32>,
}

/// A slice of a track.
#[derive(Clone, Debug)]
pub struct Slice {
    pub track: u64,
    pub name: String,
    pub begin_ns: u64,
    pub end_ns: Option<u64>,
    pub notes: Vec<Annotation>,
}

impl Slice {
    pub fn ns(&self) -> u64 {
        self.end_ns.expect("a slice that ends") - self.begin_ns
    }
}

pub struct Trace {
    pub states: Vec<State>,
    pub slices: Vec<Slice>,
    /// Time and name.
    pub instants: Vec<(u64, String)>,
    pub counters: Vec<String>,
    /// Process of each thread that has a name or a track.
    pub threads: BTreeMap<u32, u32>,
}

enum Sched {
    Switch { cpu: u32, prev_state: i64, next: u32 },
    Wake { waker: u32, tid: u32 },
    Reason { tid: u32, reason: String },
}

impl Trace {
    pub fn read(file: &Path) -> Self {
        let packets = proto::Trace::decode(std::fs::read(file).unwrap().as_slice()).unwrap().packet;
        let clocks = &packets[0].clock_snapshot.as_ref().unwrap().clocks;
        let clock = |id: u32| clocks.iter().find(|clock| clock.id() == id).unwrap().timestamp();
        let offset = clock(proto::BOOTTIME) - clock(proto::MONOTONIC);
        let (slices, instants) = slices(&packets, offset);
        let tracks = packets.iter().filter_map(|p| p.track.as_ref());
        let threads = tracks.clone().filter_map(|t| t.thread.as_ref()).map(|t| (t.tid() as u32, t.pid() as u32));
        let counters = tracks.filter(|t| t.counter.is_some()).map(|t| t.name().to_owned());
        Self {
            states: states(&packets, offset),
            slices,
            instants,
            counters: counters.collect(),
            threads: threads.collect(),
        }
    }

    /// Switches in a file, which may be one that ends anywhere between two packets.
    pub fn switches(file: &Path) -> usize {
        let packets = proto::Trace::decode(std::fs::read(file).unwrap().as_slice()).unwrap().packet;
        let bundles = packets.iter().filter_map(|packet| packet.ftrace.as_ref()?.compact.as_ref());
        bundles.map(|compact| compact.timestamp.len()).sum()
    }

    /// Seconds that threads of a process spent so.
    pub fn seconds(&self, pid: u32, what: &str) -> f64 {
        let its = |state: &&State| state.what == what && self.threads.get(&state.tid) == Some(&pid);
        self.states.iter().filter(its).filter_map(|s| Some((s.end_ns? - s.begin_ns) as f64 / 1e9)).sum()
    }

    pub fn named(&self, name: &str) -> Vec<&Slice> {
        self.slices.iter().filter(|slice| slice.name == name).collect()
    }
}

fn sched(packets: &[Packet], offset: u64) -> Vec<(u64, Sched)> {
    let symbols = &packets[0].interned.as_ref().unwrap().kernel_symbols;
    let word = |iid: u64| symbols.iter().find(|symbol| symbol.iid() == iid).unwrap().name().to_owned();
    let mut all = Vec::new();
    for bundle in packets.iter().filter_map(|p| p.ftrace.as_ref()) {
        let mut at_ns = 0;
        if let Some(compact) = &bundle.compact {
            assert_eq!(compact.timestamp.len(), compact.next_tid.len());
            for (i, delta) in compact.timestamp.iter().enumerate() {
                at_ns += delta;
                let (prev_state, next) = (compact.prev_state[i], compact.next_tid[i] as u32);
                all.push((at_ns - offset, Sched::Switch { cpu: bundle.cpu(), prev_state, next }));
            }
        }
        for event in &bundle.event {
            let sched = match (&event.waking, &event.blocked) {
                (Some(waking), _) => Sched::Wake { waker: event.tid(), tid: waking.tid() as u32 },
                (_, Some(why)) => Sched::Reason { tid: why.tid() as u32, reason: word(why.caller()) },
                _ if event.renamed.is_some() => continue,
                _ => panic!("{event:?}"),
            };
            all.push((event.timestamp() - offset, sched));
        }
    }
    all.sort_by_key(|(at_ns, _)| *at_ns);
    all
}

#[derive(Default)]
struct Threads {
    all: Vec<State>,
    now: HashMap<u32, usize>,
    blocked: HashMap<u32, usize>,
}

impl Threads {
    fn set(&mut self, tid: u32, at_ns: u64, what: &'static str) -> &mut State {
        if let Some(before) = self.now.insert(tid, self.all.len()) {
            self.all[before].end_ns = Some(at_ns);
        }
        if what == "blocked" {
            self.blocked.insert(tid, self.all.len());
        }
        self.all.push(State { tid, begin_ns: at_ns, end_ns: None, what, reason: None, cpu: None, waker: None });
        self.all.last_mut().unwrap()
    }

    fn is(&self, tid: u32, what: &str) -> bool {
        self.now.get(&tid).is_some_and(|at| self.all[*at].what == what)
    }
}

fn states(packets: &[Packet], offset: u64) -> Vec<State> {
    let mut threads = Threads::default();
    let mut on_cpu: HashMap<u32, u32> = HashMap::new();
    for (at_ns, sched) in sched(packets, offset) {
        match sched {
            Sched::Switch { cpu, prev_state, next } => {
                if let Some(prev) = on_cpu.insert(cpu, next).filter(|prev| *prev != 0) {
                    assert!(threads.is(prev, "running"), "{prev} leaves CPU {cpu} and did not run");
                    let what = match prev_state {
                        0 => "runnable",
                        1 | 2 => "blocked",
                        _ => "ended",
                    };
                    threads.set(prev, at_ns, what);
                }
                if next != 0 {
                    let before = threads.now.get(&next).map(|at| &threads.all[*at]);
                    assert!(!threads.is(next, "running"), "{next} runs twice: on {cpu} at {at_ns}, {before:?}");
                    threads.set(next, at_ns, "running").cpu = Some(cpu);
                }
            }
            Sched::Wake { waker, tid } if !threads.is(tid, "running") && !threads.is(tid, "runnable") => {
                threads.set(tid, at_ns, "runnable").waker = Some(waker);
            }
            Sched::Wake { .. } => {}
            Sched::Reason { tid, reason } => {
                if let Some(blocked) = threads.blocked.get(&tid) {
                    threads.all[*blocked].reason = Some(reason);
                }
            }
        }
    }
    threads.all
}

fn slices(packets: &[Packet], offset: u64) -> (Vec<Slice>, Vec<(u64, String)>) {
    let interned = || packets.iter().filter_map(|p| p.interned.as_ref());
    let names: HashMap<u64, &str> = interned().flat_map(|i| &i.event_names).map(|n| (n.iid(), n.name())).collect();
    let name = |event: &Event| event.name_iid.map_or(event.name(), |iid| names[&iid]).to_owned();
    let mut events: Vec<(u64, &Event)> =
        packets.iter().filter_map(|p| Some((p.timestamp() - offset, p.event.as_ref()?))).collect();
    events.sort_by_key(|(at_ns, _)| *at_ns);
    let tracks: BTreeSet<u64> = packets.iter().filter_map(|p| p.track.as_ref()?.uuid).collect();
    let (mut open, mut all, mut instants) = (BTreeMap::<u64, Vec<usize>>::new(), Vec::<Slice>::new(), Vec::new());
    for (at_ns, event) in events {
        let track = event.track();
        assert!(tracks.contains(&track), "an event on no track");
        match event.kind() {
            SLICE_BEGIN => {
                open.entry(track).or_default().push(all.len());
                let notes = event.annotations.clone();
                all.push(Slice { track, name: name(event), begin_ns: at_ns, end_ns: None, notes });
            }
            SLICE_END => {
                let begun = open.get_mut(&track).and_then(Vec::pop).expect("an end without a beginning");
                all[begun].end_ns = Some(at_ns);
            }
            proto::INSTANT => instants.push((at_ns, name(event))),
            _ => {}
        }
    }
    (all, instants)
}
