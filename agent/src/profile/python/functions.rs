//! The functions of one process: name, file and line of each code object, read once and remembered for a while.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rustc_hash::FxHashMap;

use super::{
    layout::{Layout, text_state},
    walk::word,
};
use crate::{probe::memory, shown};

/// That are remembered at most.
const FUNCTIONS: usize = 50_000;
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

/// Of one process.
pub struct Functions {
    pid: u32,
    layout: Layout,
    known: FxHashMap<u64, Arc<Function>>,
}

impl Functions {
    /// None is read yet.
    pub fn new(pid: u32, layout: Layout) -> Self {
        Self { pid, layout, known: FxHashMap::default() }
    }

    /// The function with this code; None if it makes no sense.
    pub fn get(&mut self, code: u64) -> Option<Arc<Function>> {
        if let Some(known) = self.known.get(&code) {
            return Some(Arc::clone(known));
        }
        let mut bytes = Vec::new();
        memory::read(self.pid, &[(code, self.layout.code_bytes())], &mut bytes).ok()?;
        let name = self.text(word(&bytes, self.layout.code_name))?;
        let file = self.text(word(&bytes, self.layout.code_filename))?;
        let line = word(&bytes, self.layout.code_line) as u32;
        if self.known.len() >= FUNCTIONS {
            self.known.clear();
        }
        let id = NEXT_FUNCTION.fetch_add(1, Ordering::Relaxed);
        let function = Arc::new(Function { id, name, file, line });
        self.known.insert(code, Arc::clone(&function));
        Some(function)
    }

    /// They are read anew from now on: the memory of one that is gone may be another's.
    pub fn forget(&mut self) {
        self.known.clear();
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
        let signs = bytes.chunks_exact(width).map(|c| char::from_u32(number(c)).unwrap_or('\u{fffd}'));
        Some(signs.map(shown::sign).collect())
    }
}
