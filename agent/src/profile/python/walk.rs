//! The Python stacks of one process, read while it runs. What is read may have changed meanwhile: everything is
//! bounded, and what makes no sense is left out and counted.

use std::{io, sync::Arc};

use rustc_hash::FxHashMap;

use super::{
    find::Interpreter,
    functions::{Function, Functions},
    layout::{Current, GIL_BYTES, GIL_HOLDER, GIL_LOCKED, Gil, Layout, NOT_PYTHON},
    state::{State, States},
    tids::Tids,
};
use crate::probe::memory;

/// Threads of a process that are walked.
pub const THREADS: usize = 4096;
/// Bounds: interpreters of a process, frames of a thread.
const INTERPRETERS: usize = 8;
const FRAMES: usize = 128;
/// Frames stand one behind the other: so much before the innermost one is read with it, of so many threads at once.
const WINDOW: u64 = 8192;
const GROUP: usize = 256;

/// A thread at one tick, innermost function first.
#[derive(Clone, Debug)]
pub struct ThreadStack {
    pub tid: u32,
    pub state: State,
    pub functions: Arc<[Arc<Function>]>,
}

/// What a thread was found with, which holds until it runs again.
struct Asleep {
    innermost: u64,
    stack: ThreadStack,
}

/// A process whose stacks are read.
pub struct Walker {
    pid: u32,
    runtime: u64,
    layout: Layout,
    /// Thread states as they were linked the last time.
    threads: Vec<u64>,
    functions: Functions,
    tids: Tids,
    rest: States,
    /// By the thread's state.
    asleep: FxHashMap<u64, Asleep>,
    /// Stacks that were cut or left out because they changed while they were read.
    pub torn: u64,
    /// There were more threads than are walked: the oldest, the main one among them, are left out.
    pub cut: bool,
}

/// Eight bytes of what was read; 0 where there are none.
pub fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// What was read of one thread.
struct Window {
    base: u64,
    at: usize,
    bytes: usize,
    innermost: u64,
}

impl Walker {
    /// Nothing is read yet.
    pub fn new(pid: u32, interpreter: &Interpreter) -> Self {
        Self {
            pid,
            runtime: interpreter.runtime,
            layout: interpreter.layout,
            threads: Vec::new(),
            functions: Functions::new(pid, interpreter.layout),
            tids: Tids::new(pid),
            rest: States::new(pid),
            asleep: FxHashMap::default(),
            torn: 0,
            cut: false,
        }
    }

    fn words<const N: usize>(&self, at: [u64; N]) -> io::Result<[u64; N]> {
        let mut bytes = Vec::with_capacity(8 * N);
        memory::read(self.pid, &at.map(|at| (at, 8)), &mut bytes)?;
        Ok(std::array::from_fn(|index| word(&bytes, 8 * index)))
    }

    /// The states of the threads, and the lock: who holds it and where it is.
    fn states(&mut self) -> io::Result<(Vec<u8>, u64, u64)> {
        let layout = self.layout;
        let [mut interpreter] = self.words([self.runtime + layout.interpreters])?;
        let (mut heads, mut gil) = (Vec::new(), 0);
        for _ in 0..INTERPRETERS {
            if interpreter == 0 {
                break;
            }
            let lock = if let Gil::Interpreter(at) = layout.gil { at } else { 0 } as u64;
            let [next, head, lock] = self.words([
                interpreter + layout.interpreter_next as u64,
                interpreter + layout.interpreter_threads as u64,
                interpreter + lock,
            ])?;
            // Of several interpreters the last in the list is the first that was made: the main one.
            gil = lock;
            heads.push(head);
            interpreter = next;
        }
        match layout.gil {
            Gil::Runtime(at) => gil = self.runtime + at,
            Gil::None => gil = 0,
            Gil::Interpreter(_) => {}
        }
        let mut holder = 0;
        if gil != 0 {
            let [last, locked] = self.words([gil + GIL_HOLDER as u64, gil + GIL_LOCKED as u64])?;
            holder = if locked as u32 == 1 { last } else { 0 };
        }
        let states = match self.linked_as_before(&heads) {
            Some(states) => states,
            None => self.walk(&heads)?,
        };
        Ok((states, gil, holder))
    }

    /// All states with one call, if the list has not changed. Where it was cut, something follows the last of them.
    fn linked_as_before(&self, heads: &[u64]) -> Option<Vec<u8>> {
        let (layout, size) = (&self.layout, self.layout.thread_bytes());
        let (first, only) = (self.threads.first()?, heads.len() == 1);
        if !only || heads[0] != *first {
            return None;
        }
        let pieces: Vec<_> = self.threads.iter().map(|at| (*at, size)).collect();
        let mut bytes = Vec::new();
        memory::read(self.pid, &pieces, &mut bytes).ok()?;
        let follows = |(index, state): (usize, &[u8])| {
            let next = word(state, layout.thread_next);
            self.threads.get(index + 1).map_or((next != 0) == self.cut, |known| *known == next)
        };
        bytes.chunks_exact(size).enumerate().all(follows).then_some(bytes)
    }

    fn walk(&mut self, heads: &[u64]) -> io::Result<Vec<u8>> {
        self.threads.clear();
        self.cut = false;
        let size = self.layout.thread_bytes();
        let (mut all, mut state) = (Vec::new(), Vec::new());
        for head in heads {
            let mut at = *head;
            while at != 0 && self.threads.len() < THREADS {
                memory::read(self.pid, &[(at, size)], &mut state)?;
                self.threads.push(at);
                at = word(&state, self.layout.thread_next);
                all.extend_from_slice(&state);
            }
            self.cut |= at != 0;
        }
        Ok(all)
    }

    /// The innermost frame of each thread.
    fn innermost(&self, states: &[u8]) -> io::Result<Vec<u64>> {
        let size = self.layout.thread_bytes();
        let states = states.chunks_exact(size);
        Ok(match self.layout.thread_current {
            Current::Direct(at) => states.map(|state| word(state, at)).collect(),
            Current::Through(at, then) => {
                let c_frames: Vec<_> = states.map(|state| (word(state, at) + then as u64, 8)).collect();
                let mut bytes = Vec::new();
                if memory::read(self.pid, &c_frames, &mut bytes).is_ok() {
                    return Ok(bytes.chunks_exact(8).map(|pointer| word(pointer, 0)).collect());
                }
                // One of them is not there any more.
                c_frames.iter().map(|(at, _)| self.words([*at]).map_or(0, |[frame]| frame)).collect()
            }
        })
    }

    /// What stands before and at the innermost frames, with as few calls as there are.
    fn windows(&self, states: &[u8], innermost: &[u64]) -> (Vec<Window>, Vec<u8>) {
        let layout = &self.layout;
        let mut windows = Vec::with_capacity(innermost.len());
        let mut at = 0;
        for (state, frame) in states.chunks_exact(layout.thread_bytes()).zip(innermost) {
            let chunk = layout.thread_chunk.map_or(0, |at| word(state, at));
            let inside = chunk != 0 && chunk <= *frame && frame - chunk < 1 << 20;
            let base = if inside { chunk.max(frame.saturating_sub(WINDOW)) } else { *frame };
            let bytes = if *frame == 0 { 0 } else { (frame - base) as usize + layout.frame_bytes };
            windows.push(Window { base, at, bytes, innermost: *frame });
            at += bytes;
        }
        let pieces: Vec<_> = windows.iter().filter(|w| w.bytes != 0).map(|w| (w.base, w.bytes)).collect();
        let mut bytes = Vec::new();
        if memory::read(self.pid, &pieces, &mut bytes).is_err() {
            // One of them is not there any more: each frame is read by itself.
            bytes.clear();
        }
        (windows, bytes)
    }

    /// Every thread that runs Python, of those that are walked; files of `room` threads may be kept open. Errors: the
    /// process cannot be read; it may have ended.
    pub fn tick(&mut self, room: usize) -> io::Result<Vec<ThreadStack>> {
        self.rest.begin(room);
        let (states, gil, holder) = self.states()?;
        let gil = gil..gil + GIL_BYTES * u64::from(gil != 0);
        let mut innermost = self.innermost(&states)?;
        let tids = self.tids(&states);
        let threads = self.threads.clone();
        let mut stacks = self.still_asleep(&threads, &tids, &mut innermost, holder);
        let states = states.chunks(GROUP * self.layout.thread_bytes());
        let groups = threads.chunks(GROUP).zip(tids.chunks(GROUP)).zip(innermost.chunks(GROUP));
        for (((threads, tids), innermost), states) in groups.zip(states) {
            let (windows, read) = self.windows(states, innermost);
            for ((window, tid), thread) in windows.iter().zip(tids).zip(threads) {
                let Some(tid) = tid.filter(|_| window.innermost != 0) else { continue };
                let bytes = read.get(window.at..window.at + window.bytes).unwrap_or_default();
                let torn = self.torn;
                let functions = self.frames(window, bytes);
                if functions.is_empty() {
                    continue;
                }
                let state = self.rest.of(tid, *thread == holder, &gil);
                let stack = ThreadStack { tid, state, functions: functions.into() };
                if matches!(state, State::Waits | State::Blocked) && torn == self.torn {
                    self.asleep.insert(*thread, Asleep { innermost: window.innermost, stack: stack.clone() });
                }
                stacks.push(stack);
            }
        }
        self.rest.end();
        Ok(stacks)
    }

    /// Stacks of threads that have not run since the last tick: nothing of them is read, and their frames become 0.
    fn still_asleep(
        &mut self,
        threads: &[u64],
        tids: &[Option<u32>],
        innermost: &mut [u64],
        holder: u64,
    ) -> Vec<ThreadStack> {
        let (mut before, mut stacks) = (std::mem::take(&mut self.asleep), Vec::with_capacity(threads.len()));
        for ((thread, tid), frame) in threads.iter().zip(tids).zip(innermost) {
            let slept = tid.is_some_and(|tid| *frame != 0 && self.rest.slept(tid));
            let known = before.remove(thread).filter(|known| {
                slept && known.innermost == *frame && Some(known.stack.tid) == *tid && *thread != holder
            });
            if let Some(known) = known {
                stacks.push(known.stack.clone());
                self.asleep.insert(*thread, known);
                *frame = 0;
            }
        }
        stacks
    }

    fn tids(&mut self, states: &[u8]) -> Vec<Option<u32>> {
        let (size, pthread) = (self.layout.thread_bytes(), self.layout.thread_id);
        // Of a list that was cut the last one is not the main thread.
        self.tids.begin(self.layout.thread_native.is_none() && !self.cut, || {
            states.chunks_exact(size).next_back().map_or(0, |state| word(state, pthread))
        });
        let tid = |state: &[u8]| match self.layout.thread_native {
            Some(at) => self.tids.of_native(word(state, at) as u32),
            None => self.tids.of_pthread(word(state, pthread)),
        };
        states.chunks_exact(size).map(tid).collect()
    }

    /// Functions are read anew from now on.
    pub fn forget_functions(&mut self) {
        self.functions.forget();
    }

    fn frames(&mut self, window: &Window, bytes: &[u8]) -> Vec<Arc<Function>> {
        let (layout, mut functions) = (self.layout, Vec::new());
        let (mut at, mut own) = (window.innermost, Vec::new());
        for _ in 0..FRAMES {
            if at == 0 {
                return functions;
            }
            let inside = at.checked_sub(window.base).map(|from| from as usize);
            let frame = match inside.and_then(|from| bytes.get(from..from + layout.frame_bytes)) {
                Some(frame) => frame,
                None => match memory::read(self.pid, &[(at, layout.frame_bytes)], &mut own) {
                    Ok(()) => own.as_slice(),
                    Err(_) => break,
                },
            };
            let (code, previous) = (word(frame, layout.frame_code) & !7, word(frame, layout.frame_previous));
            let owner = layout.frame_owner.and_then(|at| frame.get(at).copied()).unwrap_or(0);
            if owner < NOT_PYTHON {
                let Some(function) = self.functions.get(code) else { break };
                functions.push(function);
            }
            at = previous;
        }
        self.torn += 1;
        functions
    }
}

#[cfg(test)]
#[path = "walk_test.rs"]
mod tests;
