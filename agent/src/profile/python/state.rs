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

/// Threads whose files are kept open.
const FILES: usize = 512;

/// What is kept of a thread.
struct Thread {
    call: File,
    /// What it has run so far, where the kernel tells it, and what that said the last time.
    ran: Option<File>,
    said: ([u8; 96], usize),
}

/// The threads of one process.
pub struct States {
    pid: u32,
    threads: FxHashMap<u32, Thread>,
}

impl States {
    /// Nothing is open yet.
    pub fn new(pid: u32) -> Self {
        Self { pid, threads: FxHashMap::default() }
    }

    fn thread(&mut self, tid: u32) -> Option<&mut Thread> {
        if !self.threads.contains_key(&tid) {
            if self.threads.len() >= FILES {
                self.threads.clear();
            }
            let open = |name: &str| File::open(format!("/proc/{}/task/{tid}/{name}", self.pid));
            let thread = Thread { call: open("syscall").ok()?, ran: open("schedstat").ok(), said: ([0; 96], 0) };
            self.threads.insert(tid, thread);
        }
        self.threads.get_mut(&tid)
    }

    /// Whether a thread that was not on a CPU when this was asked before has not been since. To be asked before its
    /// memory is read: what it does after that is seen the next time.
    pub fn slept(&mut self, tid: u32) -> bool {
        let Some(thread) = self.thread(tid) else { return false };
        let mut now = ([0; 96], 0);
        if let Some(Ok(bytes)) = thread.ran.as_ref().map(|file| file.read_at(&mut now.0, 0)) {
            now.1 = bytes;
        }
        let same = now.1 != 0 && now == thread.said;
        thread.said = now;
        same
    }

    /// The state of a thread; `gil` are the addresses at which one waits for it.
    pub fn of(&mut self, tid: u32, holds: bool, gil: &Range<u64>) -> State {
        if holds {
            return State::Holds;
        }
        let mut text = [0; 128];
        match self.thread(tid).and_then(|thread| thread.call.read_at(&mut text, 0).ok()) {
            Some(bytes) => state(&text[..bytes], gil),
            None => {
                self.threads.remove(&tid);
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
    use std::{
        io::{BufRead, BufReader, Write},
        process::{Command, Stdio},
        time::{Duration, Instant},
    };

    #[test]
    fn who_has_run_has_not_slept() {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", "echo first; read line; echo second; read line"]);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (pid, mut to) = (child.id(), child.stdin.take().unwrap());
        let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut states = States::new(pid);
        assert!(!states.slept(pid), "never asked before");
        assert_eq!(from.next().unwrap().unwrap(), "first");
        // It may take a while until it waits for its line.
        let until = Instant::now() + Duration::from_secs(10);
        while !states.slept(pid) {
            assert!(Instant::now() < until, "it never sleeps");
            std::thread::yield_now();
        }
        to.write_all(b"\n").unwrap();
        assert_eq!(from.next().unwrap().unwrap(), "second");
        assert!(!states.slept(pid));
        drop(to);
        child.wait().unwrap();
        assert!(!states.slept(pid), "it has ended");
    }

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
