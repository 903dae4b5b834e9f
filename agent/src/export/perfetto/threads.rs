//! What the kernel side tells of each thread, put together: runs with the waits before them, what was so when the
//! recording began, and what still is when it ends.

use inferscope_abi::{
    NO_SYSCALL, STATE_BLOCK_IO, STATE_FAULT, STATE_NAMES, STATE_ONCPU, STATE_RUNQUEUE, STATE_THROTTLED, SchedEvent,
    Thread, WAIT_NEW, WAIT_NO_SYSCALL, Wait, blocking_state,
};
use rustc_hash::FxHashMap;

use super::form::{Next, Run};
use crate::probe::{FoundThread, arch::syscall_classes};

struct Known {
    tgid: u32,
    /// When it last left a CPU.
    left_ns: u64,
    /// Blocked for this when the recording began.
    found: Option<usize>,
}

/// Every thread that was seen.
#[derive(Default)]
pub struct Threads {
    known: FxHashMap<u32, Known>,
    pub began_ns: u64,
    pub seen: u64,
}

/// A wait for the disk or for memory outside any system call: a page fault that was not served at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub begin_ns: u64,
    pub end_ns: u64,
    pub reads: bool,
}

/// The fault that a run's wait was, if it was one.
pub fn fault(event: &SchedEvent) -> Option<Fault> {
    let Wait { blocked_ns, runnable_ns, state, flags, .. } = event.wait;
    let state = usize::from(state);
    let is_fault = flags & WAIT_NO_SYSCALL != 0 && matches!(state, STATE_FAULT | STATE_BLOCK_IO) && blocked_ns != 0;
    let end_ns = if event.oncpu_ns != 0 { event.oncpu_ns } else { runnable_ns };
    is_fault.then_some(Fault { begin_ns: blocked_ns, end_ns, reads: state == STATE_BLOCK_IO })
}

/// Why a thread was blocked that was found in this call.
fn state_in(found: &FoundThread) -> Option<usize> {
    let class = *syscall_classes().get(found.syscall? as usize)?;
    let state = blocking_state(class);
    Some(if found.on_socket && state == inferscope_abi::STATE_FILE { inferscope_abi::STATE_SOCKET } else { state })
}

impl Threads {
    /// A thread that was there when the watch of its process began; whether it was blocked.
    pub fn found(&mut self, found: &FoundThread) -> bool {
        self.seen += 1;
        let state = state_in(found);
        self.known.insert(found.tid, Known { tgid: found.tgid, left_ns: 0, found: state });
        state.is_some()
    }

    /// The id may be another thread's by now.
    fn known(&mut self, tgid: u32, tid: u32) -> &mut Known {
        let (began_ns, seen) = (self.began_ns, &mut self.seen);
        let known = self.known.entry(tid).or_insert_with(|| {
            *seen += 1;
            Known { tgid, left_ns: began_ns, found: None }
        });
        if known.tgid != tgid {
            *seen += 1;
            *known = Known { tgid, left_ns: began_ns, found: None };
        }
        known
    }

    /// A thread left a CPU.
    pub fn run(&mut self, event: &SchedEvent) -> Run {
        let (tgid, tid, at_ns) = (event.header.tgid, event.header.tid, event.header.at_ns);
        let began_ns = self.began_ns;
        let known = self.known(tgid, tid);
        let found = known.found.take();
        let is_first = std::mem::replace(&mut known.left_ns, at_ns) <= began_ns;
        let next = Next::new(event.next);
        if next == Next::Ended {
            self.known.remove(&tid);
        }
        let oncpu_ns = match event.oncpu_ns {
            // It was going on when the watch began: since the recording did, unless it had been found blocked.
            0 if is_first && found.is_none() => began_ns.min(at_ns),
            // The switch to it was not seen: there are kernels that do not tell of those from some processes.
            0 => at_ns,
            seen => seen,
        };
        let run = before(tgid, tid, &event.wait, found, began_ns);
        Run { oncpu_ns: Some(oncpu_ns), left: Some((at_ns, next)), ..run }
    }

    /// What a thread is doing now; None if the run that follows has been told already.
    pub fn last(&mut self, tid: u32, thread: &Thread) -> Option<Run> {
        let began_ns = self.began_ns;
        let known = self.known(thread.tgid, tid);
        if known.left_ns > thread.since_ns && known.found.is_none() {
            return None;
        }
        let run = before(thread.tgid, tid, &thread.wait, known.found, began_ns);
        match thread.state as usize {
            STATE_ONCPU => Some(Run { oncpu_ns: Some(thread.since_ns), ..run }),
            STATE_RUNQUEUE | STATE_THROTTLED => Some(Run { runnable_ns: Some(thread.since_ns), ..run }),
            state if state < STATE_NAMES.len() => {
                Some(Run { pid: thread.tgid, tid, blocked: Some((thread.since_ns, state)), ..Run::default() })
            }
            // It has not moved since the recording began.
            _ => {
                let blocked = Some((began_ns, known.found?));
                Some(Run { pid: thread.tgid, tid, blocked, ..Run::default() })
            }
        }
    }
}

/// The system call that a thread is in, and since when, if it is in one for so long.
pub fn open_call(thread: &Thread, now_ns: u64, longest_ns: u64) -> Option<(u32, u64)> {
    let long = now_ns.saturating_sub(thread.syscall_since_ns) >= longest_ns;
    (thread.syscall != NO_SYSCALL && long).then_some((thread.syscall, thread.syscall_since_ns))
}

/// What came before a run.
fn before(pid: u32, tid: u32, wait: &Wait, found: Option<usize>, began_ns: u64) -> Run {
    let state = usize::from(wait.state);
    let woken = wait.blocked_ns != 0 || wait.waker != 0 || wait.flags & WAIT_NEW != 0;
    let seen = (wait.blocked_ns != 0 && state < STATE_NAMES.len()).then_some((wait.blocked_ns, state));
    let blocked = seen.or_else(|| woken.then_some((began_ns, found?)));
    let runnable_ns = Some(wait.runnable_ns).filter(|at_ns| *at_ns != 0);
    let waker = (woken && runnable_ns.is_some()).then_some((wait.waker, wait.waker_cpu));
    Run { pid, tid, blocked, runnable_ns, waker, cpu: wait.cpu, ..Run::default() }
}
