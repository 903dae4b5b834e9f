//! Two threads that wake each other as fast as they can: scheduling events at a high rate.

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use support::clock::now_ns;

#[derive(Args)]
pub struct Pingpong {
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Keep both threads on CPU 0, so that every hand-over is a switch.
    #[arg(long)]
    pin: bool,
}

impl Pingpong {
    pub fn futex(&self) -> Result<Value> {
        let turn = AtomicU32::new(MAIN);
        self.measure("futex-pingpong", |end_ns| {
            let mut rounds = 0;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    self.settle();
                    while take_turn(&turn, MAIN, MAIN) != OVER {}
                });
                self.settle();
                while now_ns() < end_ns {
                    take_turn(&turn, OTHER, OTHER);
                    rounds += 1;
                }
                take_turn(&turn, OTHER, OVER);
            });
            Ok(rounds)
        })
    }

    pub fn pipe(&self) -> Result<Value> {
        let (there, back) = (pipe()?, pipe()?);
        self.measure("pipe-pingpong", |end_ns| {
            let mut rounds = 0;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    self.settle();
                    while receive(there.0) != 0 {
                        send(back.1, 1);
                    }
                });
                self.settle();
                while now_ns() < end_ns {
                    send(there.1, 1);
                    receive(back.0);
                    rounds += 1;
                }
                send(there.1, 0);
            });
            Ok(rounds)
        })
    }

    fn measure(&self, load: &str, work: impl FnOnce(u64) -> Result<u64>) -> Result<Value> {
        let before = switches();
        let start = now_ns();
        let rounds = work(start + (self.seconds * 1e9) as u64)?;
        let seconds = (now_ns() - start) as f64 / 1e9;
        let (voluntary, involuntary) = switches();
        let (voluntary, involuntary) = (voluntary - before.0, involuntary - before.1);
        Ok(json!({
            "load": load, "rounds": rounds, "seconds": seconds, "voluntary": voluntary, "involuntary": involuntary,
            "switches_per_second": (voluntary + involuntary) as f64 / seconds,
        }))
    }

    fn settle(&self) {
        if self.pin {
            // SAFETY: a zeroed set with CPU 0 added, for the calling thread.
            unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(0, &mut set);
                libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
            }
        }
    }
}

const MAIN: u32 = 0;
const OTHER: u32 = 1;
const OVER: u32 = 2;

/// Waits as long as the word is `theirs`, then makes it `next` and wakes the other side, unless all is over.
fn take_turn(word: &AtomicU32, theirs: u32, next: u32) -> u32 {
    loop {
        match word.load(Ordering::Acquire) {
            OVER => return OVER,
            seen if seen == theirs => futex(word, libc::FUTEX_WAIT, theirs),
            seen => {
                word.store(next, Ordering::Release);
                futex(word, libc::FUTEX_WAKE, 1);
                return seen;
            }
        }
    }
}

fn futex(word: &AtomicU32, op: i32, value: u32) {
    let forever = std::ptr::null::<libc::timespec>();
    // SAFETY: the word outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op | libc::FUTEX_PRIVATE_FLAG, value, forever) };
}

/// Switches of all threads that have lived in this process.
fn switches() -> (i64, i64) {
    // SAFETY: all-zero is a valid rusage, filled by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    (usage.ru_nvcsw, usage.ru_nivcsw)
}

fn pipe() -> Result<(i32, i32)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    ensure!(unsafe { libc::pipe(ends.as_mut_ptr()) } == 0, "pipe: {}", std::io::Error::last_os_error());
    Ok((ends[0], ends[1]))
}

fn send(fd: i32, byte: u8) {
    // SAFETY: one valid byte.
    unsafe { libc::write(fd, (&raw const byte).cast(), 1) };
}

fn receive(fd: i32) -> u8 {
    let mut byte = 0u8;
    // SAFETY: one valid byte.
    unsafe { libc::read(fd, (&raw mut byte).cast(), 1) };
    byte
}
