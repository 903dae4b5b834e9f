//! Pure computing. The threads stay, asleep, after their work: the scheduler's sums are read when nothing in them
//! moves any more, by this program and by whoever looks from outside.

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::clock::now_ns;
use support::schedstat;

#[derive(Args)]
pub struct Busy {
    #[arg(long, default_value_t = 4)]
    threads: usize,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

impl Busy {
    pub fn run(&self) -> Result<Value> {
        let before = schedstat::read(std::process::id())?;
        let end_ns = now_ns() + (self.seconds * 1e9) as u64;
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..self.threads {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                compute(end_ns);
                done.fetch_add(1, Ordering::Release);
                loop {
                    std::thread::park();
                }
            });
        }
        while done.load(Ordering::Acquire) < self.threads || !others_sleep()? {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let d = schedstat::read(std::process::id())? - before;
        Ok(json!({
            "load": "busy", "threads": self.threads, "seconds": self.seconds,
            "oncpu_ns": d.oncpu_ns, "runqueue_ns": d.runqueue_ns, "slices": d.slices,
        }))
    }
}

/// Whether every thread but this one is blocked.
fn others_sleep() -> Result<bool> {
    let own = std::process::id().to_string();
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?;
        if task.file_name().to_str() == Some(&own) {
            continue;
        }
        let stat = std::fs::read_to_string(task.path().join("stat"))?;
        let state = stat.rsplit(") ").next().and_then(|s| s.chars().next()).context("no state in stat")?;
        if state != 'S' {
            return Ok(false);
        }
    }
    Ok(true)
}

pub fn compute(end_ns: u64) {
    let mut x = 1u64;
    while now_ns() < end_ns {
        for _ in 0..10_000 {
            x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}
