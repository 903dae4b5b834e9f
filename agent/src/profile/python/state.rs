//! What a Python thread does at a tick beside its stack: from the lock's own word and the system call that the thread
//! is in, which names the address that it waits at.

use std::{fs::File, ops::Range, os::unix::fs::FileExt};

use rustc_hash::FxHashMap;
use rustix::process::{Resource, getrlimit};

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

/// Files of a thread.
const FILES: usize = 2;

/// How many threads may have their files kept open, of all processes together: with half of the files that may be open.
pub fn room() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 2;
    usize::try_from(files).unwrap_or(usize::MAX) / FILES
}

/// What is kept of a thread.
struct Thread {
    call: File,
    /// What it has run so far, where the kernel tells it, and what that said the last time.
    ran: Option<File>,
    said: ([u8; 96], usize),
    /// In this tick.
    asked: bool,
}

/// The threads of one process.
pub struct States {
    pid: u32,
    threads: FxHashMap<u32, Thread>,
    /// How many of them may be kept.
    room: usize,
}

impl States {
    /// Nothing is open yet.
    pub fn new(pid: u32) -> Self {
        Self { pid, threads: FxHashMap::default(), room: 0 }
    }

    /// A tick begins; files of so many threads may be kept.
    pub fn begin(&mut self, room: usize) {
        self.room = room;
    }

    /// It ends: who was not asked about in it has ended, or runs no Python any more.
    pub fn end(&mut self) {
        self.threads.retain(|_, thread| std::mem::take(&mut thread.asked));
    }

    /// Threads whose files are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.threads.len()
    }

    /// Asks a thread's files, which are opened for this alone where there is no room to keep them. None: they are not there.
    fn ask<T>(&mut self, tid: u32, question: impl FnOnce(&mut Thread) -> Option<T>) -> Option<T> {
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.asked = true;
            return question(thread);
        }
        let open = |name: &str| File::open(format!("/proc/{}/task/{tid}/{name}", self.pid));
        let (call, ran) = (open("syscall").ok()?, open("schedstat").ok());
        let mut thread = Thread { call, ran, said: ([0; 96], 0), asked: true };
        let answer = question(&mut thread);
        if self.threads.len() < self.room {
            self.threads.insert(tid, thread);
        }
        answer
    }

    /// Whether a thread that was not on a CPU when this was asked before has not been since. To be asked before its
    /// memory is read: what it does after that is seen the next time.
    pub fn slept(&mut self, tid: u32) -> bool {
        let slept = self.ask(tid, |thread| {
            let mut now = ([0; 96], 0);
            if let Some(Ok(bytes)) = thread.ran.as_ref().map(|file| file.read_at(&mut now.0, 0)) {
                now.1 = bytes;
            }
            let same = now.1 != 0 && now == thread.said;
            thread.said = now;
            Some(same)
        });
        slept.unwrap_or(false)
    }

    /// The state of a thread; `gil` are the addresses at which one waits for it.
    pub fn of(&mut self, tid: u32, holds: bool, gil: &Range<u64>) -> State {
        if holds {
            return State::Holds;
        }
        let mut text = [0; 128];
        match self.ask(tid, |thread| thread.call.read_at(&mut text, 0).ok()) {
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
        states.begin(1);
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
    fn files_of_a_thread_are_kept_only_while_it_is_asked_about() {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
            let _ = ended.recv();
        });
        let (pid, other) = (std::process::id(), told.recv().unwrap());
        let mut states = States::new(pid);
        let kept = |states: &States| {
            let mut tids: Vec<u32> = states.threads.keys().copied().collect();
            tids.sort_unstable();
            tids
        };
        let mut both = [pid, other];
        both.sort_unstable();
        states.begin(2);
        both.iter().for_each(|tid| _ = states.slept(*tid));
        states.end();
        assert_eq!(kept(&states), both);
        states.begin(2);
        assert_ne!(states.of(other, false, &(0..0)), State::Holds);
        states.end();
        assert_eq!(kept(&states), [other], "nobody asked about the first thread in this tick");
        // Without room it is answered all the same.
        states.begin(0);
        let was = states.of(pid, false, &(0..0));
        states.end();
        assert!(kept(&states).is_empty());
        states.begin(0);
        assert!(!states.slept(pid) && !states.slept(pid), "what is not kept cannot be compared");
        assert!(matches!(was, State::Runs | State::Blocked));
        drop(end);
        thread.join().unwrap();
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
