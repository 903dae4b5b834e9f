//! From what was gathered to what is shown: native stacks of Python threads get their Python frames, every sample its
//! phase, and what is the same is counted together.

use rustc_hash::FxHashMap;

use super::{
    collect::{Collected, Sample, What},
    phases::Phase,
    python::State,
    symbols::{Frame, Kind},
};

/// In native stacks: what stands for the Python frames.
const EVALUATES: &str = "_PyEval_EvalFrame";
/// A tick further away says nothing of a sample; at least so much is near.
const NEAR_NS: u64 = 30_000_000;
/// Merged stacks at most.
const STACKS: usize = 200_000;

/// A sample that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub at_ns: u64,
    pub weight_ns: u64,
    pub thread: u32,
    pub cpu: u32,
    /// Index into [`Merged::stacks`].
    pub stack: u32,
    pub what: What,
    pub phase: Phase,
}

/// Everything that is shown.
#[derive(Debug, Default)]
pub struct Merged {
    pub samples: Vec<Shown>,
    /// Frames of each stack, outermost first.
    pub stacks: Vec<Box<[u32]>>,
    /// Samples on a CPU that have Python frames.
    pub with_python: u64,
    /// Samples on a CPU of threads that run Python and have none.
    pub without_python: u64,
}

/// Ticks of each thread in the order of time: when, and the stack.
struct Ticks {
    by_thread: FxHashMap<u32, Vec<(u64, u32)>>,
}

impl Ticks {
    fn new(samples: &[Sample]) -> Self {
        let mut by_thread = FxHashMap::<u32, Vec<(u64, u32)>>::default();
        for sample in samples.iter().filter(|sample| sample.what != What::OnCpu) {
            by_thread.entry(sample.thread).or_default().push((sample.at_ns, sample.stack));
        }
        for ticks in by_thread.values_mut() {
            ticks.sort_unstable();
        }
        Self { by_thread }
    }

    /// Stack of the tick nearest to an instant.
    fn near(&self, thread: u32, at_ns: u64) -> Option<Option<u32>> {
        let ticks = self.by_thread.get(&thread)?;
        let after = ticks.partition_point(|tick| tick.0 < at_ns);
        let around = ticks[after.saturating_sub(1)..].iter().take(2);
        let nearest = around.min_by_key(|tick| tick.0.abs_diff(at_ns))?;
        Some((nearest.0.abs_diff(at_ns) <= NEAR_NS).then_some(nearest.1))
    }
}

/// Frames of a native stack behind the Python ones: the user's from the innermost evaluation of Python on, then the
/// kernel's. All innermost first.
fn over_python(native: &[u32], frames: &[Frame]) -> usize {
    let evaluates = |number: &u32| frames.get(*number as usize).is_some_and(|frame| frame.name.starts_with(EVALUATES));
    native.iter().position(evaluates).unwrap_or(native.len())
}

/// Merges; `frames` are the places' names in the order of their numbers.
pub fn merge(collected: &Collected, frames: &[Frame]) -> Merged {
    let ticks = Ticks::new(&collected.samples);
    let stacks = &collected.table.stacks.values;
    let mut merged = Merged::default();
    let mut known = FxHashMap::<(u32, Option<u32>), u32>::default();
    for sample in &collected.samples {
        let mut python = None;
        if sample.what == What::OnCpu
            && let Some(near) = ticks.near(sample.thread, sample.at_ns)
        {
            python = near;
            if near.is_some() { merged.with_python += 1 } else { merged.without_python += 1 }
        }
        let key = (sample.stack, python);
        let room = known.len() < STACKS;
        let key = if room { key } else { (sample.stack, None) };
        let stack = *known.entry(key).or_insert_with(|| {
            let native = &stacks[key.0 as usize];
            let outer = key.1.map(|python| &stacks[python as usize]);
            let inner = if outer.is_some() { over_python(native, frames) } else { native.len() };
            let all = native[..inner].iter().chain(outer.into_iter().flat_map(|outer| outer.iter()));
            let mut all: Vec<u32> = all.copied().collect();
            all.reverse();
            merged.stacks.push(all.into());
            merged.stacks.len() as u32 - 1
        });
        let thread = &collected.threads[sample.thread as usize];
        let phase = collected.phases.at(&thread.service, sample.at_ns);
        let Sample { at_ns, weight_ns, thread, cpu, what, .. } = *sample;
        merged.samples.push(Shown { at_ns, weight_ns, thread, cpu, stack, what, phase });
    }
    merged.samples.sort_by_key(|sample| sample.at_ns);
    merged
}

/// Nanoseconds of a phase of a thread's stack, by what they are: what pprof and the flame graph show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub samples: u64,
    pub on_cpu_ns: u64,
    pub python_ns: u64,
    pub holds_gil_ns: u64,
    pub waits_gil_ns: u64,
}

impl Spent {
    /// Adds one sample.
    pub fn add(&mut self, sample: &Shown) {
        match sample.what {
            What::OnCpu => {
                self.samples += 1;
                self.on_cpu_ns += sample.weight_ns;
            }
            What::Python(state) => {
                self.python_ns += sample.weight_ns;
                match state {
                    State::Holds => self.holds_gil_ns += sample.weight_ns,
                    State::Waits => self.waits_gil_ns += sample.weight_ns,
                    State::Runs | State::Blocked => {}
                }
            }
        }
    }
}

/// What was spent, by thread, phase and stack; in the order of these.
pub fn spent(merged: &Merged) -> Vec<((u32, Phase, u32), Spent)> {
    let mut all = FxHashMap::<(u32, Phase, u32), Spent>::default();
    for sample in &merged.samples {
        all.entry((sample.thread, sample.phase, sample.stack)).or_default().add(sample);
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_unstable_by_key(|(key, _)| *key);
    all
}

/// The innermost frame that is no kernel's, else the innermost.
pub fn leaf<'a>(stack: &[u32], frames: &'a [Frame]) -> Option<&'a Frame> {
    let mut of_stack = stack.iter().rev().filter_map(|number| frames.get(*number as usize));
    of_stack.clone().find(|frame| frame.kind != Kind::Kernel).or_else(|| of_stack.next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{collect::Thread, phases::Times};

    fn frame(kind: Kind, name: &str) -> Frame {
        Frame { kind, name: name.to_owned(), file: String::new(), line: 0, address: 0, module: None, named: true }
    }

    fn sample(at_ns: u64, stack: u32, what: What) -> Sample {
        Sample { at_ns, weight_ns: 10, thread: 0, stack, cpu: 0, what }
    }

    #[test]
    fn python_frames_take_the_place_of_their_evaluation() {
        let frames = [
            frame(Kind::Kernel, "sys_read"),
            frame(Kind::Native, "read"),
            frame(Kind::Native, "_PyEval_EvalFrameDefault"),
            frame(Kind::Native, "main"),
            frame(Kind::Python, "inner"),
            frame(Kind::Python, "outer"),
        ];
        let mut collected = Collected::default();
        for stack in [&[0, 1, 2, 3][..], &[4, 5], &[1]] {
            collected.table.stacks.number(&stack.into(), 10).unwrap();
        }
        collected.threads.push(Thread { service: "a".to_owned(), ..Thread::default() });
        let times = Times { start_ns: 0, first_content_ns: Some(50), streams: true, end_ns: Some(2_000_000_000) };
        collected.phases.add("a", times);
        collected.phases.settle();
        let far = 5_000_000_000;
        collected.samples = vec![
            sample(100, 0, What::OnCpu),
            sample(101, 1, What::Python(State::Holds)),
            sample(102, 2, What::OnCpu),
            sample(far, 0, What::OnCpu),
        ];
        let merged = merge(&collected, &frames);
        let names = |sample: &Shown| {
            let names = merged.stacks[sample.stack as usize].iter().map(|n| frames[*n as usize].name.as_str());
            (names.collect::<Vec<_>>().join(" "), sample.phase)
        };
        let got: Vec<_> = merged.samples.iter().map(names).collect();
        let want = [
            ("outer inner read sys_read", Phase::Decode),
            ("outer inner", Phase::Decode),
            ("outer inner read", Phase::Decode),
            ("main _PyEval_EvalFrameDefault read sys_read", Phase::Idle),
        ];
        assert_eq!(got, want.map(|(names, phase)| (names.to_owned(), phase)));
        assert_eq!((merged.with_python, merged.without_python), (2, 1));
        let spent = spent(&merged);
        assert_eq!(spent.iter().map(|(_, spent)| spent.on_cpu_ns).sum::<u64>(), 30);
        assert_eq!(spent.iter().map(|(_, spent)| spent.holds_gil_ns).sum::<u64>(), 10);
    }
}
