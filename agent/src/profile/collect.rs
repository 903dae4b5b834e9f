//! The thread that gathers: samples as numbers, threads and processes with their names while they live. All of it is
//! kept until the end, for a request's phases are known when it has ended.

use std::{
    sync::mpsc::{Receiver, SyncSender, TryRecvError},
    time::Duration,
};

use rustc_hash::FxHashMap;

use super::{
    feed::{Message, Native},
    maps::Maps,
    phases::{Phases, Times},
    python::{Processes, State, Tick},
    table::Table,
};
use crate::{services::ServiceTable, shown::shown};

/// Samples that are kept at most.
const SAMPLES: usize = 2_000_000;
const THREADS: usize = 100_000;
/// Samples gather meanwhile: a wake-up for each would take a CPU from what is being sampled.
const PAUSE: Duration = Duration::from_millis(100);

/// What a sample tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// The thread was on a CPU: native stack.
    OnCpu,
    /// The thread ran Python or had it on its stack: Python stack.
    Python(State),
}

/// One sample.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at_ns: u64,
    /// Time that it stands for.
    pub weight_ns: u64,
    pub thread: u32,
    pub stack: u32,
    pub cpu: u32,
    pub what: What,
}

/// A thread that was sampled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    pub pid: u32,
    pub tid: u32,
    pub name: String,
    pub process: String,
    pub service: String,
}

/// Everything that was gathered.
#[derive(Default)]
pub struct Collected {
    pub samples: Vec<Sample>,
    pub threads: Vec<Thread>,
    pub table: Table,
    pub maps: Maps,
    pub phases: Phases,
    /// Samples for which there was no room.
    pub left_out: u64,
}

#[derive(Default)]
pub(super) struct Collector {
    all: Collected,
    weight_ns: u64,
    numbers: FxHashMap<(u32, u32), u32>,
    /// Processes in the table, and as Python's reader was last told of them.
    there: Vec<u32>,
    pids: Vec<u32>,
    /// Those of the latter that run another program, of which it was not told yet.
    executed: Vec<u32>,
    /// Names of services that were in the table once, by their index.
    services: FxHashMap<u32, String>,
    /// Index of the service of each process that was in the table or was sampled once.
    owners: FxHashMap<u32, u32>,
    in_flight: Vec<(u32, Times)>,
    names: FxHashMap<u32, String>,
    /// Of those that ran another program since they were first seen.
    renamed: FxHashMap<u32, String>,
}

/// A process' or a thread's name, as the kernel has it.
fn comm(path: &str) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    Some(shown(String::from_utf8_lossy(&bytes).trim_end()).into_owned())
}

impl Collector {
    pub(super) fn new(frequency_hz: u32) -> Self {
        Self { weight_ns: 1_000_000_000 / u64::from(frequency_hz.max(1)), ..Self::default() }
    }

    /// Gathers until the end is told, for which this thread is to be unparked. `python` hears which processes there are.
    pub(super) fn run(mut self, messages: &Receiver<Message>, python: &SyncSender<Processes>) -> Collected {
        loop {
            match messages.try_recv() {
                Ok(Message::Native(native)) => self.native(&native),
                Ok(Message::Python(tick)) => self.python(&tick),
                Ok(Message::Request(service, times)) => self.all.phases.add(&service, times),
                Ok(Message::InFlight(index, times)) => self.in_flight.push((index, times)),
                Ok(Message::Services(table)) => self.services(&table, python),
                Ok(Message::Exec(pid)) => self.exec(pid, python),
                Ok(Message::End) | Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    self.tell(python);
                    std::thread::park_timeout(PAUSE);
                }
            }
        }
        self.settle();
        self.all
    }

    /// What is known only now: a process may be sampled before it is in the table.
    fn settle(&mut self) {
        for (index, times) in std::mem::take(&mut self.in_flight) {
            if let Some(service) = self.services.get(&index) {
                self.all.phases.add(service, times);
            }
        }
        for thread in &mut self.all.threads {
            let service = self.owners.get(&thread.pid).and_then(|index| self.services.get(index));
            thread.service = service.cloned().unwrap_or_default();
        }
        self.name_anew();
        self.all.phases.settle();
    }

    fn services(&mut self, table: &ServiceTable, python: &SyncSender<Processes>) {
        let mut pids = Vec::new();
        for service in table.iter() {
            self.services.insert(service.index, service.name.clone());
            for process in &service.processes {
                pids.push(process.pid);
                self.owners.insert(process.pid, service.index);
                self.names.insert(process.pid, process.comm.clone());
                self.all.maps.meet(process.pid);
            }
        }
        self.there = pids;
        self.tell(python);
    }

    /// Processes that are there have the names that they have now, those that have ended the last that were known; so do
    /// their first threads.
    fn name_anew(&mut self) {
        let Self { all, there, renamed, .. } = self;
        let mut names = FxHashMap::<u32, Option<String>>::default();
        for thread in &mut all.threads {
            let pid = thread.pid;
            let name = names.entry(pid).or_insert_with(|| {
                let now = there.contains(&pid).then(|| comm(&format!("/proc/{pid}/comm"))).flatten();
                now.or_else(|| renamed.remove(&pid))
            });
            let Some(name) = name else { continue };
            thread.process.clone_from(name);
            if thread.tid == pid {
                thread.name.clone_from(name);
            }
        }
    }

    /// A process runs another program from now on.
    fn exec(&mut self, pid: u32, python: &SyncSender<Processes>) {
        self.all.maps.forget(pid);
        if self.renamed.len() < THREADS
            && let Some(name) = comm(&format!("/proc/{pid}/comm"))
        {
            self.renamed.insert(pid, name);
        }
        if self.pids.contains(&pid) && !self.executed.contains(&pid) {
            self.executed.push(pid);
        }
        self.tell(python);
    }

    /// Tells Python's reader what it does not know yet; later, if it is busy.
    fn tell(&mut self, python: &SyncSender<Processes>) {
        if self.there == self.pids && self.executed.is_empty() {
            return;
        }
        let processes = Processes { pids: self.there.clone(), executed: self.executed.clone() };
        if python.try_send(processes).is_ok() {
            self.pids.clone_from(&self.there);
            self.executed.clear();
        }
    }

    fn thread(&mut self, pid: u32, tid: u32, service: Option<u32>) -> Option<u32> {
        if let Some(number) = self.numbers.get(&(pid, tid)) {
            return Some(*number);
        }
        if self.all.threads.len() >= THREADS {
            return None;
        }
        if let Some(service) = service {
            self.owners.insert(pid, service);
        }
        let process = self.names.get(&pid).cloned().or_else(|| comm(&format!("/proc/{pid}/comm"))).unwrap_or_default();
        let name = comm(&format!("/proc/{pid}/task/{tid}/comm")).unwrap_or_else(|| process.clone());
        let number = self.all.threads.len() as u32;
        self.all.threads.push(Thread { pid, tid, name, process, service: String::new() });
        self.numbers.insert((pid, tid), number);
        Some(number)
    }

    fn keep(&mut self, sample: Sample) {
        if self.all.samples.len() < SAMPLES {
            self.all.samples.push(sample);
        } else {
            self.all.left_out += 1;
        }
    }

    fn native(&mut self, native: &Native) {
        let Some(thread) = self.thread(native.pid, native.tid, Some(native.service)) else {
            self.all.left_out += 1;
            return;
        };
        let Collected { table, maps, .. } = &mut self.all;
        let stack = table.native(maps, native.pid, &native.addresses, native.kernel_frames);
        let (at_ns, weight_ns) = (native.at_ns, self.weight_ns);
        self.keep(Sample { at_ns, weight_ns, thread, stack, cpu: native.cpu, what: What::OnCpu });
    }

    fn python(&mut self, tick: &Tick) {
        for seen in &tick.threads {
            let Some(thread) = self.thread(tick.pid, seen.tid, None) else {
                self.all.left_out += 1;
                continue;
            };
            let stack = self.all.table.python(&seen.functions);
            let what = What::Python(seen.state);
            self.keep(Sample { at_ns: tick.at_ns, weight_ns: tick.since_ns, thread, stack, cpu: 0, what });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        profile::phases::Phase,
        services::{ProcessView, ServiceView},
    };
    use std::sync::{Arc, mpsc::sync_channel};

    #[test]
    fn a_process_that_is_sampled_before_it_is_in_the_table_has_its_service() {
        let (to, messages) = sync_channel(8);
        let (python, pids) = sync_channel(8);
        let addresses = Box::new([u64::MAX - 9]);
        let native = Native { at_ns: 150, pid: 0, tid: 0, service: 5, cpu: 1, addresses, kernel_frames: 1 };
        to.send(Message::Native(native)).unwrap();
        to.send(Message::InFlight(
            5,
            Times { start_ns: 100, first_content_ns: Some(140), streams: true, end_ns: None },
        ))
        .unwrap();
        let processes = vec![ProcessView { pid: 0, comm: "p".to_owned() }];
        let service = ServiceView { index: 5, name: "s".to_owned(), processes, ..ServiceView::default() };
        to.send(Message::Services(Arc::new(vec![Arc::new(service)]))).unwrap();
        to.send(Message::End).unwrap();
        let all = Collector::new(100).run(&messages, &python);
        assert_eq!((all.threads[0].service.as_str(), all.samples[0].weight_ns), ("s", 10_000_000));
        assert_eq!(all.phases.at("s", 150), Phase::Decode);
        assert_eq!(pids.recv().unwrap().pids, [0]);
    }

    #[test]
    fn a_process_has_the_name_of_the_program_that_it_ran_last() {
        let pid = std::process::id();
        let now = comm(&format!("/proc/{pid}/comm")).unwrap();
        let table = |processes| Arc::new(vec![Arc::new(ServiceView { processes, ..ServiceView::default() })]);
        let before = || vec![ProcessView { pid, comm: "before".to_owned() }];
        let names = |all: &[Thread]| [0, 1].map(|at: usize| (all[at].process.clone(), all[at].name.clone()));
        for (executes, there, process) in
            [(false, true, now.as_str()), (true, true, &now), (true, false, &now), (false, false, "before")]
        {
            let (python, _told) = sync_channel(8);
            let mut collector = Collector::new(100);
            collector.services(&table(before()), &python);
            for tid in [pid, 0] {
                collector.thread(pid, tid, None).unwrap();
            }
            collector.all.threads[0].name = "before".to_owned();
            assert_eq!(names(&collector.all.threads)[0], ("before".to_owned(), "before".to_owned()));
            if executes {
                collector.exec(pid, &python);
            }
            collector.services(&table(if there { before() } else { Vec::new() }), &python);
            collector.settle();
            let want = [process, "before"].map(|name| (process.to_owned(), name.to_owned()));
            assert_eq!(names(&collector.all.threads), want, "executes {executes}, there {there}");
        }
    }

    #[test]
    fn pythons_reader_hears_of_another_program_however_busy_it_is() {
        let (python, told) = sync_channel(1);
        let mut collector = Collector::new(100);
        let processes = vec![ProcessView { pid: 7, comm: "sh".to_owned() }];
        let service = ServiceView { processes, ..ServiceView::default() };
        collector.services(&Arc::new(vec![Arc::new(service)]), &python);
        // There is no room for these: it has not heard of the process yet.
        collector.exec(7, &python);
        collector.exec(7, &python);
        collector.exec(8, &python);
        assert_eq!(told.recv().unwrap(), Processes { pids: vec![7], executed: vec![] });
        collector.tell(&python);
        assert_eq!(told.recv().unwrap(), Processes { pids: vec![7], executed: vec![7] });
        collector.tell(&python);
        drop(python);
        assert!(told.recv().is_err(), "it knows all");
    }
}
