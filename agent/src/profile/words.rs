//! The profile in a few lines: what ran in each phase, who held Python's lock, and what could not be seen.

use std::fmt::Write as _;

use rustc_hash::FxHashMap;

use super::{
    PHASES, Phase, Profile, Spent, What,
    merge::{leaf, spent},
    python::{State, THREADS},
};

/// Functions that are named in each phase.
const FUNCTIONS: usize = 5;
/// Python processes that are told of, and threads of each.
const PROCESSES: usize = 4;
const HOLDERS: usize = 3;
/// Files without names that are told of.
const FILES: usize = 5;
/// Names are cut.
const CHARS: usize = 60;

/// A process' lock.
struct Gil {
    pid: u32,
    /// Threads and how many nanoseconds each held it.
    holders: Vec<(u32, u64)>,
    /// Nanoseconds that threads waited for it.
    waited: u64,
}

impl Gil {
    fn held(&self) -> u64 {
        self.holders.iter().map(|(_, ns)| ns).sum()
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn cut(name: &str) -> String {
    if name.chars().count() <= CHARS {
        name.to_owned()
    } else {
        format!("{}…", name.chars().take(CHARS).collect::<String>())
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl Profile {
    /// The functions that most time on the CPUs was spent in, by phase: nanoseconds of each, and of the phase.
    pub fn top(&self, phase: Phase) -> (Vec<(String, u64)>, u64) {
        let (mut by_name, mut all) = (FxHashMap::<String, u64>::default(), 0);
        for ((_, _, stack), Spent { on_cpu_ns, .. }) in
            spent(&self.merged).into_iter().filter(|((_, of, _), spent)| *of == phase && spent.on_cpu_ns != 0)
        {
            all += on_cpu_ns;
            if let Some(frame) = leaf(&self.merged.stacks[stack as usize], &self.frames) {
                *by_name.entry(frame.label().to_owned()).or_default() += on_cpu_ns;
            }
        }
        let mut top: Vec<_> = by_name.into_iter().collect();
        top.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        (top, all)
    }

    /// Of each Python process: how long each thread held its lock, the longest first, and how long threads waited for it.
    /// Processes in the order of how long it was held.
    fn gil(&self) -> Vec<Gil> {
        let mut by_process = FxHashMap::<u32, (FxHashMap<u32, u64>, u64)>::default();
        for sample in &self.merged.samples {
            let What::Python(state) = sample.what else { continue };
            let (holders, waited) = by_process.entry(self.threads[sample.thread as usize].pid).or_default();
            match state {
                State::Holds => *holders.entry(sample.thread).or_default() += sample.weight_ns,
                State::Waits => *waited += sample.weight_ns,
                State::Runs | State::Blocked => {}
            }
        }
        let sorted = |(pid, (holders, waited)): (u32, (FxHashMap<u32, u64>, u64))| {
            let mut holders: Vec<_> = holders.into_iter().collect();
            holders.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            Gil { pid, holders, waited }
        };
        let mut all: Vec<_> = by_process.into_iter().map(sorted).collect();
        all.sort_unstable_by_key(|gil| (std::cmp::Reverse(gil.held()), gil.pid));
        all
    }

    fn gil_words(&self, gil: &Gil) -> String {
        let took = self.python.took_ns.max(1);
        let (held, Gil { pid, holders, waited }) = (gil.held(), gil);
        let holder = |(thread, ns): &(u32, u64)| {
            let thread = &self.threads[*thread as usize];
            format!("{} ({}) {:.0} %", thread.name, thread.tid, percent(*ns, took))
        };
        let holders: Vec<_> = holders.iter().take(HOLDERS).map(holder).collect();
        let holders = if holders.is_empty() { String::new() } else { format!(", mostly by {}", holders.join(", ")) };
        let held = percent(held, took);
        format!(
            "GIL of process {pid}: held {held:.0} % of the time{holders}; threads waited for it {:.2} s",
            seconds(*waited)
        )
    }

    /// What to say of it, in lines.
    pub fn words(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let mut line = |words: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{words}");
        };
        for phase in PHASES {
            let (top, all) = self.top(phase);
            if all == 0 {
                continue;
            }
            let names =
                top.iter().take(FUNCTIONS).map(|(name, ns)| format!("{} {:.0} %", cut(name), percent(*ns, all)));
            let name = if self.requests == 0 { "on the CPUs" } else { phase.name() };
            line(format_args!("{name}: {:.2} s on CPU: {}", seconds(all), names.collect::<Vec<_>>().join(", ")));
        }
        for process in self.gil().iter().take(PROCESSES) {
            line(format_args!("{}", self.gil_words(process)));
        }
        for (pid, why) in &self.python.unreadable {
            line(format_args!("no Python stacks of process {pid}: {why}"));
        }
        for (pid, times) in &self.python.cut {
            line(format_args!(
                "process {pid} has more than {THREADS} Python threads: the oldest of them, with the main thread, were not \
                 seen at {times} of {} looks",
                self.python.ticks
            ));
        }
        if self.python.torn > self.python.stacks {
            let (torn, read) = (self.python.torn, self.python.stacks);
            line(format_args!("{torn} Python stacks could not be followed to their end, {read} could be"));
        }
        let on_cpu = self.merged.samples.iter().filter(|sample| sample.what == What::OnCpu).count() as u64;
        if on_cpu != 0 && self.told.short * 4 > on_cpu {
            let share = percent(self.told.short, on_cpu);
            line(format_args!(
                "{share:.0} % of the native stacks are cut after a frame or two: that code was built without frame \
                 pointers (-fno-omit-frame-pointer keeps them)"
            ));
        }
        if self.told.nameless != 0 {
            let names = self.told.without.iter().map(|file| cut(file.rsplit('/').next().unwrap_or_default()));
            let files: Vec<_> = names.take(FILES).collect();
            line(format_args!(
                "{} places have no name and are told by module and offset (stripped?): in {}",
                self.told.nameless,
                files.join(", ")
            ));
        }
        if self.told.lost != 0 {
            line(format_args!("{} samples were left out for want of room", self.told.lost));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_what_ran_and_what_is_missing() {
        let mut profile = super::super::example();
        profile.python.ticks = 9;
        profile.python.cut.insert(10, 5);
        let text = profile.words();
        for line in [
            "decode: 0.02 s on CPU: work; x 100 %\n",
            "idle: 0.01 s on CPU: python 100 %\n",
            "GIL of process 10: held 10 % of the time, mostly by t (11) 10 %; threads waited for it 0.01 s\n",
            "67 % of the native stacks are cut",
            "1 places have no name",
            "3 samples were left out",
            "process 10 has more than 4096 Python threads: the oldest of them, with the main thread, were not seen at 5 of \
             9 looks\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        profile.requests = 0;
        assert!(profile.words().starts_with("on the CPUs: "));
        assert_eq!(Profile::default().words(), "");
    }
}
