//! Threads that take the CPUs from others until killed: all the time, or first in line and with pauses, so that the host
//! stays usable.

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use std::time::Duration;
use support::clock::now_ns;
use support::priority;

#[derive(Args)]
pub struct Hog {
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Before all ordinary threads: real-time, or nice -20 where that is refused.
    #[arg(long)]
    first: bool,
    /// Compute so long, then pause; without a pause for ever.
    #[arg(long, default_value_t = 7000)]
    busy_us: u64,
    #[arg(long, default_value_t = 0)]
    pause_us: u64,
}

impl Hog {
    pub fn run(&self) -> Result<Value> {
        priority::die_with_parent()?;
        let policy = if self.first { priority::first_in_line()? } else { priority::ordinary()? };
        let threads: Vec<_> = (0..self.threads)
            .map(|_| {
                std::thread::spawn({
                    let (busy_ns, pause) = (self.busy_us * 1000, Duration::from_micros(self.pause_us));
                    move || loop {
                        super::busy::compute(now_ns() + busy_ns);
                        std::thread::sleep(pause);
                    }
                })
            })
            .collect();
        println!("hogging {policy}");
        for thread in threads {
            let _: Result<(), _> = thread.join();
        }
        Ok(Value::Null)
    }
}
