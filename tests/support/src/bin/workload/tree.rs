//! Descendants: a tree of processes that live until the root has printed its truth, and a process that becomes itself
//! again and again.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

#[derive(Args)]
pub struct ForkTree {
    #[arg(long, default_value_t = 2)]
    depth: u32,
    #[arg(long, default_value_t = 3)]
    width: u32,
    /// getppid calls that each descendant makes first thing.
    #[arg(long, default_value_t = 1000)]
    calls: u64,
}

impl ForkTree {
    pub fn run(&self, wait: bool) -> Result<Value> {
        let (mut pids, tell) = pipe()?;
        let (hold, mut release) = pipe()?;
        let leaves_open = self.grow(self.depth, &tell, &hold, &release)?;
        ensure!(leaves_open, "only the root returns");
        drop(tell);
        let mut all = Vec::new();
        let expected: u32 = (1..=self.depth).map(|d| self.width.pow(d)).sum();
        for _ in 0..expected {
            let mut pid = [0; 4];
            pids.read_exact(&mut pid).context("a descendant ended early")?;
            all.push(u32::from_ne_bytes(pid));
        }
        println!("{}", json!({ "load": "fork-tree", "pids": all, "calls": self.calls * u64::from(expected) }));
        if wait {
            std::io::stdin().read_line(&mut String::new())?;
        }
        release.write_all(&vec![1; all.len()])?;
        drop(release);
        // SAFETY: waits for our own children.
        while unsafe { libc::wait(std::ptr::null_mut()) } > 0 {}
        Ok(json!({ "load": "fork-tree", "ended": all.len() }))
    }

    /// Makes `width` children with trees of their own. True in the root; children do not return.
    fn grow(&self, depth: u32, tell: &File, hold: &File, release: &File) -> Result<bool> {
        for _ in 0..if depth > 0 { self.width } else { 0 } {
            // SAFETY: this program has one thread here.
            match unsafe { libc::fork() } {
                -1 => bail!("fork: {}", std::io::Error::last_os_error()),
                0 => self.descendant(depth - 1, tell, hold, release),
                _ => {}
            }
        }
        Ok(true)
    }

    fn descendant(&self, depth: u32, mut tell: &File, mut hold: &File, release: &File) -> ! {
        // Only the root holds the other end, so that its death, too, lets everyone go.
        // SAFETY: this process never uses the descriptor again; below the first level it is closed already.
        unsafe { libc::close(release.as_raw_fd()) };
        for _ in 0..self.calls {
            // SAFETY: no arguments.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
        let mut done = self.grow(depth, tell, hold, release).is_ok();
        done &= tell.write_all(&std::process::id().to_ne_bytes()).is_ok();
        done &= hold.read_exact(&mut [0]).is_ok();
        // SAFETY: waits for our own children, then ends without running the parent's exit work.
        unsafe {
            while libc::wait(std::ptr::null_mut()) > 0 {}
            libc::_exit(i32::from(!done))
        }
    }
}

fn pipe() -> Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, then owned by the two files alone.
    unsafe {
        ensure!(libc::pipe(ends.as_mut_ptr()) == 0, "pipe: {}", std::io::Error::last_os_error());
        Ok((File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])))
    }
}

#[derive(Args)]
pub struct ExecChain {
    /// Times that this process runs its program anew.
    #[arg(long, default_value_t = 10)]
    depth: u32,
    /// Each time from a thread that is not the first.
    #[arg(long)]
    from_thread: bool,
    /// Milliseconds of CPU time that the last program uses up.
    #[arg(long, default_value_t = 0)]
    busy_millis: u64,
    #[arg(long, hide = true)]
    done: Option<u32>,
}

impl ExecChain {
    /// Whether this is a later link.
    pub fn begun(&self) -> bool {
        self.done.is_some()
    }

    pub fn run(&self, wait: bool) -> Result<Value> {
        let done = self.done.unwrap_or(0);
        if done == self.depth {
            let enough = cpu_ns() + self.busy_millis * 1_000_000;
            while cpu_ns() < enough {}
            return Ok(json!({ "load": "exec-chain", "execs": done, "pid": std::process::id() }));
        }
        let mut next = Command::new(std::env::current_exe()?);
        next.args(["exec-chain", "--depth", &self.depth.to_string(), "--done", &(done + 1).to_string()]);
        next.args(["--busy-millis", &self.busy_millis.to_string()]);
        if self.from_thread {
            next.arg("--from-thread");
        }
        if wait {
            next.arg("--wait");
        }
        let failed = if self.from_thread {
            std::thread::spawn(move || next.exec()).join().expect("a thread that only becomes another program")
        } else {
            next.exec()
        };
        bail!("exec: {failed}")
    }
}

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for one time.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
