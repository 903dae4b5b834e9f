//! Threads that block for one reason at a time, and measure how long. Each wait ends by its own timeout, so that no
//! other thread's state comes into it.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::clock::now_ns;

/// What a lock's word holds that somebody has and others wait for.
const HELD_AND_AWAITED: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Sleep,
    Futex,
    /// For a lock that somebody holds, as the mutexes of glibc, Go and Rust wait.
    Lock,
    /// For a condition variable of musl: for the same value, on the waiter's own stack.
    Condvar,
    Poll,
    Epoll,
    Select,
    Socket,
    Accept,
}

#[derive(Args)]
pub struct Block {
    #[arg(long, value_enum)]
    kind: Kind,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 50)]
    millis: u64,
    #[arg(long, default_value_t = 20)]
    rounds: u64,
}

impl Block {
    pub fn run(&self) -> Result<Value> {
        // The main thread is one of them: waiting for the others would be a wait of its own. What it still waits for
        // them at the end is told.
        let mut own_end_ns = 0;
        let blocked: u64 = std::thread::scope(|scope| {
            let others: Vec<_> = (1..self.threads).map(|_| scope.spawn(|| self.wait_often())).collect();
            let own = self.wait_often();
            own_end_ns = now_ns();
            let others = others.into_iter().map(|t| t.join().expect("a waiting thread does not panic"));
            others.chain([own]).sum::<Result<u64>>()
        })?;
        let joined = now_ns() - own_end_ns;
        Ok(json!({
            "load": "block", "kind": format!("{:?}", self.kind).to_lowercase(), "threads": self.threads,
            "waits": self.threads as u64 * self.rounds, "blocked_ns": blocked, "joined_ns": joined,
        }))
    }

    fn wait_often(&self) -> Result<u64> {
        let (quiet, _peer) = UnixDatagram::pair()?;
        quiet.set_read_timeout(Some(Duration::from_millis(self.millis)))?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        accept_timeout(&listener, self.millis);
        // SAFETY: plain call; closed at process end.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let mut blocked = 0;
        for _ in 0..self.rounds {
            let start = now_ns();
            match self.kind {
                Kind::Sleep => sleep(self.millis),
                Kind::Futex => futex_wait(&AtomicU32::new(0), self.millis),
                Kind::Lock => futex_wait(&Box::new(AtomicU32::new(HELD_AND_AWAITED)), self.millis),
                Kind::Condvar => futex_wait(&AtomicU32::new(HELD_AND_AWAITED), self.millis),
                // SAFETY: no descriptors are passed.
                Kind::Poll => drop(unsafe { libc::poll(std::ptr::null_mut(), 0, self.millis as i32) }),
                Kind::Epoll => epoll_wait(epoll, self.millis),
                Kind::Select => select(self.millis),
                Kind::Socket => drop(quiet.recv(&mut [0; 8])),
                Kind::Accept => drop(listener.accept()),
            }
            let took = now_ns() - start;
            if took < self.millis * 900_000 {
                bail!("a wait of {} ms took {took} ns: {}", self.millis, std::io::Error::last_os_error());
            }
            blocked += took;
        }
        Ok(blocked)
    }
}

fn timespec(millis: u64) -> libc::timespec {
    libc::timespec { tv_sec: (millis / 1000) as i64, tv_nsec: (millis % 1000 * 1_000_000) as i64 }
}

fn sleep(millis: u64) {
    // SAFETY: a valid timespec; no remainder asked for.
    unsafe { libc::nanosleep(&timespec(millis), std::ptr::null_mut()) };
}

/// Waits for the value that the word has.
fn futex_wait(word: &AtomicU32, millis: u64) {
    let (time, value) = (timespec(millis), word.load(Ordering::Relaxed));
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word lives through the call; nobody wakes it, the timeout ends it.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, &raw const time) };
}

fn epoll_wait(epoll: i32, millis: u64) {
    let mut one = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event.
    unsafe { libc::epoll_wait(epoll, &mut one, 1, millis as i32) };
}

fn select(millis: u64) {
    let none = std::ptr::null_mut();
    let mut time = libc::timeval { tv_sec: (millis / 1000) as i64, tv_usec: (millis % 1000 * 1000) as i64 };
    // SAFETY: no descriptor sets, a valid timeout.
    unsafe { libc::select(0, none, none, none, &mut time) };
}

fn accept_timeout(listener: &std::net::TcpListener, millis: u64) {
    let time = libc::timeval { tv_sec: (millis / 1000) as i64, tv_usec: (millis % 1000 * 1000) as i64 };
    let len = size_of::<libc::timeval>() as u32;
    // SAFETY: a valid option of the right size.
    unsafe {
        libc::setsockopt(listener.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const time).cast(), len);
    }
}
