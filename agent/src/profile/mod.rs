//! Where the time goes: stacks of what runs on the CPUs and of Python threads, gathered while `attach` records, named
//! and split by phase at its end. Samples come from the pipeline; all times are CLOCK_MONOTONIC.
#![forbid(unsafe_code)]

mod collect;
mod feed;
pub mod maps;
mod merge;
mod phases;
mod python;
mod symbols;
mod table;
mod words;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::sync_channel,
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result, anyhow};

use crate::{services::ServiceTable, tasks::Tasks};
use collect::{Collected, Collector};
pub use collect::{Thread, What};
pub use feed::Feed;
use feed::{Message, ROOM};
pub use merge::{Merged, Shown, Spent, spent};
pub use phases::{PHASES, Phase, Times};
pub use python::{State, Told as PythonTold};
use symbols::Named;
pub use symbols::{Frame, Kind};

/// Samples per second and CPU unless something else is asked for: no divisor of what programs do at round intervals.
pub const FREQUENCY_HZ: u32 = 99;

/// A recording in progress.
pub struct Profiler {
    feed: Feed,
    collector: JoinHandle<Collected>,
    python: python::Reader,
    frequency_hz: u32,
    services: Option<ServiceTable>,
}

/// A module that frames are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleView {
    pub path: String,
    pub build_id: Option<String>,
    /// Its file was deleted or replaced while it ran.
    pub deleted: bool,
}

/// What was recorded.
#[derive(Debug, Default)]
pub struct Profile {
    pub frequency_hz: u32,
    pub frames: Vec<Frame>,
    pub modules: Vec<ModuleView>,
    pub threads: Vec<Thread>,
    pub merged: Merged,
    pub requests: usize,
    pub told: Counts,
    pub python: PythonTold,
}

/// What is missing, and how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples for which there was no room here.
    pub lost: u64,
    /// User stacks that ended early where no code is, and those of one or two frames.
    pub cut: u64,
    pub short: u64,
    /// Frames without a name, and the files that they are of.
    pub nameless: usize,
    pub without: Vec<String>,
}

impl Profiler {
    /// Starts to gather. Errors: there is no thread.
    pub fn start(frequency_hz: u32, tasks: &Tasks) -> Result<Self> {
        let (to, messages) = sync_channel(ROOM);
        let feed = Feed { to, lost: Arc::new(AtomicU64::new(0)), frequency_hz };
        let python = python::Reader::start(frequency_hz.min(FREQUENCY_HZ), feed.clone(), tasks.guard("python"))?;
        let (processes, guard) = (python.processes(), tasks.guard("profile"));
        let collector = std::thread::Builder::new().name("profile".into()).spawn(move || {
            let collected = Collector::new(frequency_hz).run(&messages, &processes);
            drop(guard);
            collected
        })?;
        Ok(Self { feed, collector, python, frequency_hz, services: None })
    }

    /// Where samples and requests go.
    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Which services and processes there are now; to be told often.
    pub fn services(&mut self, table: ServiceTable) {
        if self.services.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &table)) {
            self.feed.send(Message::Services(Arc::clone(&table)));
            // Python's reader begins with it.
            self.collector.thread().unpark();
            self.services = Some(table);
        }
    }

    /// Ends, names and sorts. Errors: a thread that failed.
    pub fn finish(self) -> Result<Profile> {
        // Ticks of Python that come after the end find no one, and are not lost.
        let lost = self.feed.lost.load(Ordering::Relaxed);
        self.feed.to.send(Message::End).context("the profile thread failed: please report the message above")?;
        self.collector.thread().unpark();
        let collected = self.collector.join().map_err(|_| anyhow!("the profile thread failed"))?;
        let python = self.python.end();
        let cpu = python.cpu_ns as f64 / python.took_ns.max(1) as f64;
        tracing::debug!(ticks = python.ticks, torn = python.torn, cpu, "read Python stacks");
        Ok(Profile::new(&collected, lost, python, self.frequency_hz))
    }
}

impl Profile {
    fn new(collected: &Collected, lost: u64, python: PythonTold, frequency_hz: u32) -> Self {
        let Named { frames, nameless, without } = symbols::name_all(&collected.table, &collected.maps.modules);
        let merged = merge::merge(collected, &frames);
        let used: Vec<bool> = {
            let mut used = vec![false; collected.maps.modules.len()];
            frames.iter().filter_map(|frame| frame.module).for_each(|module| used[module as usize] = true);
            used
        };
        let view = |(module, used): (&maps::Module, &bool)| ModuleView {
            path: module.path.clone(),
            build_id: used.then(|| symbols::build_id(module)).flatten(),
            deleted: module.deleted,
        };
        let table = &collected.table;
        let lost = lost + collected.left_out + table.left_out + collected.phases.left_out;
        Self {
            frequency_hz,
            modules: collected.maps.modules.iter().zip(&used).map(view).collect(),
            threads: collected.threads.clone(),
            requests: collected.phases.requests,
            told: Counts { lost, cut: table.cut, short: table.short, nameless, without },
            python,
            frames,
            merged,
        }
    }

    /// Samples of the CPUs' clock, and of Python threads.
    pub fn counts(&self) -> (usize, usize) {
        let clock = self.merged.samples.iter().filter(|sample| sample.what == What::OnCpu).count();
        (clock, self.merged.samples.len() - clock)
    }

    /// Whether samples of the CPUs' clock are there; else Python's have to stand for them.
    pub fn has_clock(&self) -> bool {
        self.merged.samples.iter().any(|sample| sample.what == What::OnCpu)
    }
}

/// One thread that ran `main` and in it `work; x` during a decode and `python` without a request, and waited for the GIL.
#[cfg(test)]
pub(crate) fn example() -> Profile {
    let frame = |kind, name: &str, module| Frame {
        kind,
        name: name.to_owned(),
        file: "/lib/a.so".to_owned(),
        line: 7,
        address: 16,
        module,
        named: true,
    };
    let thread = Thread { pid: 10, tid: 11, name: "t".to_owned(), process: "p".to_owned(), service: "s".to_owned() };
    let sample =
        |at_ns, stack, what, phase| Shown { at_ns, weight_ns: 10_000_000, thread: 0, cpu: 1, stack, what, phase };
    Profile {
        frequency_hz: 100,
        frames: vec![
            frame(Kind::Native, "main", Some(0)),
            frame(Kind::Native, "work; x", Some(0)),
            frame(Kind::Python, "python", None),
            frame(Kind::Kernel, "read", None),
        ],
        modules: vec![ModuleView { path: "/lib/a.so".to_owned(), build_id: Some("ab".to_owned()), deleted: false }],
        threads: vec![thread],
        merged: Merged {
            samples: vec![
                sample(100, 0, What::OnCpu, Phase::Decode),
                sample(200, 0, What::OnCpu, Phase::Decode),
                sample(300, 1, What::OnCpu, Phase::Idle),
                sample(400, 1, What::Python(State::Waits), Phase::Idle),
                sample(500, 1, What::Python(State::Holds), Phase::Idle),
            ],
            stacks: vec![Box::new([0, 1, 3]), Box::new([2])],
            ..Merged::default()
        },
        requests: 1,
        told: Counts { lost: 3, short: 2, nameless: 1, without: vec!["/lib/a.so".to_owned()], ..Counts::default() },
        python: PythonTold { read: vec![(10, 11)], took_ns: 100_000_000, ..PythonTold::default() },
    }
}
