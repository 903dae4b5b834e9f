//! The Python stacks of one process, read while it runs. What is read may have changed meanwhile: everything is
//! bounded, and what makes no sense is left out and counted.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustc_hash::FxHashMap;

use super::{
    find::Interpreter,
    layout::{Current, GIL_BYTES, GIL_HOLDER, GIL_LOCKED, Gil, Layout, NOT_PYTHON, text_state},
    tids::Tids,
};
use crate::probe::memory;

/// Bounds: interpreters of a process, threads of it, frames of a thread, functions that are remembered.
const INTERPRETERS: usize = 8;
const THREADS: usize = 512;
const FRAMES: usize = 128;
const FUNCTIONS: usize = 50_000;
/// Frames stand one behind the other: so much before the innermost one is read with it.
const WINDOW: u64 = 8192;
/// Of a name or a path.
const TEXT_BYTES: usize = 512;

/// A Python function.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Not that of any other function of this run.
    pub id: u64,
    pub name: String,
    pub file: String,
    pub line: u32,
}

static NEXT_FUNCTION: AtomicU64 = AtomicU64::new(1);

/// A thread with its stack, innermost first.
pub struct Stack {
    pub tid: u32,
    pub holds_gil: bool,
    pub functions: Vec<Arc<Function>>,
}

/// What was seen at one tick.
#[derive(Default)]
pub struct Seen {
    pub stacks: Vec<Stack>,
    /// Addresses at which who waits for the lock waits; empty without a lock.
    pub gil: std::ops::Range<u64>,
}

/// A process whose stacks are read.
pub struct Walker {
    pid: u32,
    runtime: u64,
    layout: Layout,
    /// Thread states as they were linked the last time.
    threads: Vec<u64>,
    functions: FxHashMap<u64, Arc<Function>>,
    tids: Tids,
    /// Stacks that were cut or left out because they changed while they were read.
    pub torn: u64,
}

fn word(bytes: &[u8], at: usize) -> u64 {
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
            functions: FxHashMap::default(),
            tids: Tids::new(pid),
            torn: 0,
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
        for index in 0..INTERPRETERS {
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
            let _ = index;
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

    /// All states with one call, if the list has not changed.
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
            word(state, layout.thread_next) == self.threads.get(index + 1).copied().unwrap_or(0)
        };
        bytes.chunks_exact(size).enumerate().all(follows).then_some(bytes)
    }

    fn walk(&mut self, heads: &[u64]) -> io::Result<Vec<u8>> {
        self.threads.clear();
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

    /// Reads every thread that runs Python. Errors: the process cannot be read; it may have ended.
    pub fn tick(&mut self) -> io::Result<Seen> {
        let (states, gil, holder) = self.states()?;
        let innermost = self.innermost(&states)?;
        let (windows, read) = self.windows(&states, &innermost);
        let mut seen =
            Seen { stacks: Vec::with_capacity(windows.len()), gil: gil..gil + GIL_BYTES * u64::from(gil != 0) };
        let threads = self.threads.clone();
        let size = self.layout.thread_bytes();
        self.tids.begin(self.layout.thread_native.is_none(), || {
            states.chunks_exact(size).next_back().map_or(0, |state| word(state, self.layout.thread_id))
        });
        for ((window, state), thread) in windows.iter().zip(states.chunks_exact(size)).zip(threads) {
            if window.innermost == 0 {
                continue;
            }
            let tid = match self.layout.thread_native {
                Some(at) => self.tids.of_native(word(state, at) as u32),
                None => self.tids.of_pthread(word(state, self.layout.thread_id)),
            };
            let Some(tid) = tid else { continue };
            let bytes = read.get(window.at..window.at + window.bytes).unwrap_or_default();
            let functions = self.frames(window, bytes);
            if !functions.is_empty() {
                seen.stacks.push(Stack { tid, holds_gil: thread == holder, functions });
            }
        }
        Ok(seen)
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
                let Some(function) = self.function(code) else { break };
                functions.push(function);
            }
            at = previous;
        }
        self.torn += 1;
        functions
    }

    fn function(&mut self, code: u64) -> Option<Arc<Function>> {
        if let Some(known) = self.functions.get(&code) {
            return Some(Arc::clone(known));
        }
        let mut bytes = Vec::new();
        memory::read(self.pid, &[(code, self.layout.code_bytes())], &mut bytes).ok()?;
        let name = self.text(word(&bytes, self.layout.code_name))?;
        let file = self.text(word(&bytes, self.layout.code_filename))?;
        let line = word(&bytes, self.layout.code_line) as u32;
        if self.functions.len() >= FUNCTIONS {
            self.functions.clear();
        }
        let id = NEXT_FUNCTION.fetch_add(1, Ordering::Relaxed);
        let function = Arc::new(Function { id, name, file, line });
        self.functions.insert(code, Arc::clone(&function));
        Some(function)
    }

    /// Functions are read anew from now on: the memory of one that is gone may be another's.
    pub fn forget_functions(&mut self) {
        self.functions.clear();
    }

    fn text(&self, at: u64) -> Option<String> {
        let layout = &self.layout;
        let mut bytes = Vec::new();
        memory::read(self.pid, &[(at, layout.text_ascii)], &mut bytes).ok()?;
        let (length, state) = (word(&bytes, layout.text_length) as usize, word(&bytes, layout.text_state));
        let (kind, is_ascii) = text_state(state)?;
        // One or two more words stand before the characters of what is not ASCII.
        let wide = [24, 16][usize::from(layout.minor >= 12)];
        let (from, width) = if is_ascii { (layout.text_ascii, 1) } else { (layout.text_ascii + wide, kind) };
        if length == 0 || length > 1 << 16 {
            return None;
        }
        let length = length.min(TEXT_BYTES);
        memory::read(self.pid, &[(at + from as u64, length * width)], &mut bytes).ok()?;
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        Some(bytes.chunks_exact(width).map(|c| shown(char::from_u32(number(c)).unwrap_or('\u{fffd}'))).collect())
    }
}
