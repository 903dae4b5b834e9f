//! Python stacks: a thread of its own that looks at every CPython process of the watched trees at each tick, without
//! stopping it, and takes care not to become a load itself. Which thread holds the GIL, and who waits for it.
#![forbid(unsafe_code)]

mod find;
mod functions;
mod layout;
mod state;
mod tids;
mod walk;

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use rustc_hash::FxHashMap;
use rustix::time::{ClockId, clock_gettime};

use super::feed::Feed;
use crate::{clock::monotonic_ns, tasks::Guard};
use find::Found;
pub use functions::Function;
pub use state::State;
use walk::Walker;
pub use walk::{THREADS, ThreadStack};

/// Share of one CPU that the reading may take.
const SHARE: f64 = 0.01;
/// Ticks after which functions are read anew.
const FUNCTIONS_NS: u64 = 10_000_000_000;
/// A process may be about to run another program, such as an interpreter: so often it is looked again, so far apart.
const LOOKS: u32 = 40;
/// An interpreter whose stacks cannot be read may not have loaded its library yet: so often it is looked again.
const LOADS: u32 = 4;
const LOOK_NS: u64 = 250_000_000;
/// How long it sleeps where no process runs Python, unless it is told of one.
const IDLE_NS: u64 = 1_000_000_000;
/// Errors in a row after which it is looked at anew.
const ERRORS: u32 = 20;

/// Every thread of a process that runs Python, at one tick.
#[derive(Debug)]
pub struct Tick {
    pub pid: u32,
    pub at_ns: u64,
    /// Since the tick before it.
    pub since_ns: u64,
    pub threads: Vec<ThreadStack>,
}

/// Which processes there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Processes {
    pub pids: Vec<u32>,
    /// Those that run another program since this was last told.
    pub executed: Vec<u32>,
}

/// What is to be said of the reading itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Processes whose stacks were read, with their version.
    pub read: Vec<(u32, u32)>,
    /// Processes whose stacks could not be read, and why.
    pub unreadable: Vec<(u32, String)>,
    pub ticks: u64,
    pub stacks: u64,
    /// Stacks that changed while they were read.
    pub torn: u64,
    /// Processes with more threads than are walked, and how often that was so.
    pub cut: BTreeMap<u32, u64>,
    pub cpu_ns: u64,
    pub took_ns: u64,
}

enum Process {
    Looked {
        times: u32,
        next_ns: u64,
        /// Why its stacks could not be read, as far as it is known to be an interpreter.
        why: Option<String>,
    },
    /// `times`: looks since it was last read.
    Read { walker: Box<Walker>, errors: u32, times: u32 },
    /// Given up.
    Given,
}

/// The thread that reads.
pub struct Reader {
    processes: SyncSender<Processes>,
    thread: JoinHandle<Told>,
}

impl Reader {
    /// Starts it. Errors: there is no thread.
    pub fn start(frequency_hz: u32, feed: Feed, guard: Guard) -> std::io::Result<Self> {
        let (processes, told) = sync_channel(4);
        let period = Duration::from_secs(1) / frequency_hz.max(1);
        let thread = std::thread::Builder::new().name("python".into()).spawn(move || {
            let told = Ticks { period, ..Ticks::default() }.run(&told, &feed);
            drop(guard);
            told
        })?;
        Ok(Self { processes, thread })
    }

    /// Which processes there are now.
    pub fn processes(&self) -> SyncSender<Processes> {
        self.processes.clone()
    }

    /// Ends it.
    pub fn end(self) -> Told {
        drop(self.processes);
        self.thread.join().unwrap_or_default()
    }
}

#[derive(Default)]
struct Ticks {
    period: Duration,
    processes: FxHashMap<u32, Process>,
    told: Told,
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Ticks {
    fn run(mut self, told: &Receiver<Processes>, feed: &Feed) -> Told {
        let began = monotonic_ns();
        let (mut wait, mut cost, mut forget) = (self.period, 0.0, began + FUNCTIONS_NS);
        let mut before = began;
        let mut due = began;
        loop {
            let now = monotonic_ns();
            match told.recv_timeout(Duration::from_nanos(due.saturating_sub(now))) {
                Ok(there) => {
                    if self.now_there(there) {
                        due = due.min(now + self.period.as_nanos() as u64);
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let (cpu, now) = (thread_cpu_ns(), monotonic_ns());
            if now > forget {
                self.forget_functions();
                forget = now + FUNCTIONS_NS;
            }
            self.tick(now, now - before, feed);
            before = now;
            // Smoothed, so that one look at a new process does not make the next ticks rare.
            cost += ((thread_cpu_ns() - cpu) as f64 - cost) / 16.0;
            wait = self.period.max(Duration::from_nanos((cost / SHARE) as u64));
            due = (due + wait.as_nanos() as u64).max(self.nothing_before(now)).max(now);
        }
        let _ = wait;
        self.told.cpu_ns = thread_cpu_ns();
        self.told.took_ns = monotonic_ns() - began;
        for (pid, process) in self.processes {
            if let Process::Looked { why: Some(why), .. } = process {
                self.told.unreadable.push((pid, why));
            }
        }
        self.told.unreadable.sort();
        self.told.unreadable.dedup();
        self.told.read.sort_unstable();
        self.told.read.dedup();
        self.told
    }

    /// Until then there is nothing to read: a tick would only cost.
    fn nothing_before(&self, now: u64) -> u64 {
        let each = self.processes.values().map(|process| match process {
            Process::Read { .. } => now,
            Process::Looked { next_ns, .. } => *next_ns,
            Process::Given => now + IDLE_NS,
        });
        each.min().unwrap_or(now + IDLE_NS)
    }

    /// Whether one of them is new, as is one that runs another program: what was known of it is not so any more.
    fn now_there(&mut self, there: Processes) -> bool {
        let Processes { pids, executed } = there;
        self.processes.retain(|pid, _| pids.contains(pid) && !executed.contains(pid));
        let before = self.processes.len();
        for pid in pids {
            self.processes.entry(pid).or_insert(Process::Looked { times: 0, next_ns: 0, why: None });
        }
        self.processes.len() > before
    }

    fn forget_functions(&mut self) {
        for process in self.processes.values_mut() {
            if let Process::Read { walker, .. } = process {
                walker.forget_functions();
            }
        }
    }

    fn tick(&mut self, now: u64, since_ns: u64, feed: &Feed) {
        let read = self.processes.values().filter(|process| matches!(process, Process::Read { .. })).count();
        let room = state::room() / read.max(1);
        let told = &mut self.told;
        told.ticks += 1;
        for (pid, process) in &mut self.processes {
            match process {
                Process::Looked { times, next_ns, .. } if now >= *next_ns => *process = looked(*pid, *times, now, told),
                Process::Read { walker, errors, times } => match walker.tick(room) {
                    Ok(threads) => {
                        (*errors, *times) = (0, 0);
                        told.torn += std::mem::take(&mut walker.torn);
                        if walker.cut {
                            *told.cut.entry(*pid).or_default() += 1;
                        }
                        told.stacks += threads.len() as u64;
                        feed.python(Tick { pid: *pid, at_ns: now, since_ns, threads });
                    }
                    Err(_) if *errors < ERRORS => *errors += 1,
                    Err(error) if *times >= LOOKS => {
                        told.unreadable.push((*pid, error.to_string()));
                        *process = Process::Given;
                    }
                    // It has ended, or runs another program by now.
                    Err(_) => *process = again(*times, now, None),
                },
                _ => {}
            }
        }
    }
}

fn again(times: u32, now: u64, why: Option<String>) -> Process {
    Process::Looked { times: times + 1, next_ns: now + LOOK_NS, why }
}

/// What becomes of a process after one more look.
fn looked(pid: u32, times: u32, now: u64, told: &mut Told) -> Process {
    match find::find(pid) {
        Found::Interpreter(interpreter) => {
            told.read.push((pid, interpreter.layout.minor));
            let walker = Box::new(Walker::new(pid, &interpreter));
            Process::Read { walker, errors: 0, times }
        }
        Found::Unreadable(why) if times < LOADS => again(times, now, Some(why)),
        Found::Unreadable(why) => {
            told.unreadable.push((pid, why));
            Process::Given
        }
        Found::Other if times < LOOKS => again(times, now, None),
        Found::Other => Process::Given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(pids: &[u32], executed: &[u32]) -> Processes {
        Processes { pids: pids.to_vec(), executed: executed.to_vec() }
    }

    #[test]
    fn who_runs_another_program_is_looked_at_from_the_beginning() {
        let mut ticks = Ticks::default();
        assert!(ticks.now_there(there(&[7, 8], &[])));
        ticks.processes.insert(7, Process::Given);
        ticks.processes.insert(8, Process::Given);
        assert!(!ticks.now_there(there(&[7, 8], &[])));
        assert!(ticks.now_there(there(&[7, 8], &[7])));
        assert!(matches!(ticks.processes[&7], Process::Looked { times: 0, next_ns: 0, why: None }));
        assert!(matches!(ticks.processes[&8], Process::Given));
        assert!(!ticks.now_there(there(&[8], &[7])), "it has ended since");
    }

    #[test]
    fn an_interpreter_that_cannot_be_read_is_told_even_if_it_is_looked_at_again() {
        let (tell, told) = sync_channel(1);
        let mut ticks = Ticks::default();
        ticks.processes.insert(7, again(0, u64::MAX - LOOK_NS, Some("why".to_owned())));
        drop(tell);
        let (to, _messages) = sync_channel(1);
        let feed = Feed { to, lost: std::sync::Arc::default(), frequency_hz: 1 };
        assert_eq!(ticks.run(&told, &feed).unreadable, [(7, "why".to_owned())]);
    }
}
