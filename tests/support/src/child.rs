//! A child process with its output lines kept, waited for by condition with a deadline, and ended on drop.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The stream whose lines are kept; the other one is inherited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    Stdout,
    Stderr,
}

#[derive(Default)]
struct Log {
    lines: Vec<String>,
    closed: bool,
}

pub struct Running {
    child: Child,
    log: Arc<(Mutex<Log>, Condvar)>,
    what: String,
}

impl Running {
    pub fn start(mut command: Command, lines: Lines) -> Result<Self> {
        let what = format!("{command:?}");
        command.stdin(Stdio::piped());
        match lines {
            Lines::Stdout => command.stdout(Stdio::piped()),
            Lines::Stderr => command.stderr(Stdio::piped()),
        };
        let mut child = command.spawn().with_context(|| format!("cannot start {what}"))?;
        let log = Arc::new((Mutex::new(Log::default()), Condvar::new()));
        match lines {
            Lines::Stdout => keep_lines(child.stdout.take(), Arc::clone(&log)),
            Lines::Stderr => keep_lines(child.stderr.take(), Arc::clone(&log)),
        }
        Ok(Self { child, log, what })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line so far or to come for which `pick` gives something.
    pub fn wait_line<T>(&self, within: Duration, pick: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + within;
        let (lock, changed) = &*self.log;
        let mut log = lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = log.lines.iter().find_map(|l| pick(l)) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if log.closed || left.is_zero() {
                let why = if log.closed { "ended" } else { "said nothing of the kind in time" };
                bail!("{} {why}; it said:\n{}", self.what, log.lines.join("\n"));
            }
            log = changed.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// Writes a line to the child's standard input.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("standard input is closed")?;
        writeln!(stdin, "{line}")?;
        Ok(stdin.flush()?)
    }

    /// Closes the child's standard input: whatever it still waits for there, it gets.
    pub fn hush(&mut self) {
        self.child.stdin = None;
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the child has not been waited for, so its pid is still its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end of the process and then of its output.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        if self.child.try_wait()?.is_none() && !ends_within(self.child.id(), within) {
            bail!("{} did not end within {within:?}", self.what);
        }
        let status = self.child.wait()?;
        let (lock, changed) = &*self.log;
        let mut log = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !log.closed && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            log = changed.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(status)
    }

    /// Signals, then waits; kills when that takes longer than `within`.
    pub fn stop(&mut self, signal: i32, within: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(signal);
        self.wait(within).or_else(|e| {
            self.child.kill()?;
            self.child.wait()?;
            Err(e)
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keep_lines(from: Option<impl Read + Send + 'static>, log: Arc<(Mutex<Log>, Condvar)>) {
    let Some(from) = from else { return };
    std::thread::spawn(move || {
        let mut lines = BufReader::new(from).lines();
        loop {
            let line = lines.next();
            let mut kept = log.0.lock().unwrap_or_else(PoisonError::into_inner);
            match line {
                Some(Ok(line)) => kept.lines.push(line),
                _ => kept.closed = true,
            }
            log.1.notify_all();
            if kept.closed {
                return;
            }
        }
    });
}

/// Waits on a pidfd, so without reaping and without polling.
fn ends_within(pid: u32, within: Duration) -> bool {
    // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32;
    if fd < 0 {
        return false;
    }
    let mut one = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd; the descriptor is closed once.
    unsafe {
        let n = libc::poll(&mut one, 1, within.as_millis().min(i32::MAX as u128) as i32);
        libc::close(fd);
        n > 0
    }
}
