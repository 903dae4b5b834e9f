//! What a Python thread does at a tick beside its stack: from the lock's own word and the system call that the thread
//! is in, which names the address that it waits at.

use std::{fs::File, ops::Range, os::unix::fs::FileExt};

use rustc_hash::FxHashMap;

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It holds the GIL.
    Holds,
    /// It waits for the GIL.
    Waits,
    /// It runs, or could, without the GIL.
    Runs,
    /// It waits for something else.
    Blocked,
}

/// Files that are kept open.
const FILES: usize = 512;

/// The threads of one process.
pub struct States {
    pid: u32,
    files: FxHashMap<u32, File>,
}

impl States {
    /// Nothing is open yet.
    pub fn new(pid: u32) -> Self {
        Self { pid, files: FxHashMap::default() }
    }

    /// The state of a thread; `gil` are the addresses at which one waits for it.
    pub fn of(&mut self, tid: u32, holds: bool, gil: &Range<u64>) -> State {
        if holds {
            return State::Holds;
        }
        if !self.files.contains_key(&tid) {
            if self.files.len() >= FILES {
                self.files.clear();
            }
            let Ok(file) = File::open(format!("/proc/{}/task/{tid}/syscall", self.pid)) else { return State::Blocked };
            self.files.insert(tid, file);
        }
        let mut text = [0; 128];
        let read = self.files.get(&tid).and_then(|file| file.read_at(&mut text, 0).ok());
        match read {
            Some(bytes) => state(&text[..bytes], gil),
            None => {
                self.files.remove(&tid);
                State::Blocked
            }
        }
    }
}

/// From a line of /proc/PID/syscall: the call's number and its arguments, or `running`.
fn state(line: &[u8], gil: &Range<u64>) -> State {
    let line = std::str::from_utf8(line).unwrap_or_default();
    if line.starts_with("running") {
        return State::Runs;
    }
    let mut words = line.split_ascii_whitespace();
    let call = words.next().and_then(|number| number.parse::<i64>().ok());
    let first = words.next().and_then(|at| u64::from_str_radix(at.trim_start_matches("0x"), 16).ok());
    let waits = call == Some(libc::SYS_futex) && first.is_some_and(|at| gil.contains(&at));
    if waits { State::Waits } else { State::Blocked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_at_the_lock_waits_for_it() {
        let gil = 0x1000..0x10d0;
        for (line, want) in [
            ("running\n", State::Runs),
            ("202 0x1020 0x189 0x0 0x7ffc 0x0 0xffffffff 0x7ffc 0x7f\n", State::Waits),
            ("202 0x10d0 0x189 0x0 0x7ffc 0x0 0xffffffff 0x7ffc 0x7f\n", State::Blocked),
            ("0 0x1020 0x189 0x0\n", State::Blocked),
            ("-1 0x7ffc 0x7f\n", State::Blocked),
            ("", State::Blocked),
        ] {
            assert_eq!(state(line.as_bytes(), &gil), want, "{line}");
        }
    }
}
