//! How soon the agent is ready, how much memory it then holds, and what one scrape costs it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::Context;
use super::table::{Target, median, quantile, row};
use crate::agent::Agent;
use crate::{http, process};

/// Memory is read after the first scrapes, once what is made on demand is there.
const SETTLE: Duration = Duration::from_secs(2);

pub fn run(context: &Context) -> Result<bool> {
    let rounds = if context.quick { 2 } else { 7 };
    let (mut ready, mut memory) = (Vec::new(), Vec::new());
    let (mut scrapes, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let started = Instant::now();
        let agent = Agent::start(&context.agent, http::free_port()?, &[])?;
        ready.push(started.elapsed().as_secs_f64());
        for _ in 0..10 {
            let asked = Instant::now();
            let text = agent.metrics()?;
            scrapes.push(asked.elapsed().as_secs_f64() * 1e3);
            whole.push(f64::from(u8::from(text.contains("inferscope_build_info"))));
        }
        process::pause(SETTLE)?;
        memory.push(resident_mb(agent.pid())?);
    }
    let met = [
        row("start to ready, median", median(&ready), "s", &Target::AtMost(1.0)),
        row("resident when idle, median", median(&memory), "MB", &Target::AtMost(60.0)),
        row("one scrape when idle, 95th percentile", quantile(&scrapes, 0.95), "ms", &Target::AtMost(50.0)),
        row("scrapes that gave the metrics", quantile(&whole, 0.0), "of 1", &Target::AtLeast(1.0)),
    ];
    Ok(met.into_iter().all(|met| met))
}

/// VmRSS of /proc/PID/status, in MB.
pub fn resident_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the agent is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/PID/status")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
    Ok(kib * 1024.0 / 1e6)
}
