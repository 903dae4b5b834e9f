//! What taking stacks costs a real server: the gaps between its chunks with and without, in turn; and the agent's own
//! CPU time and memory while it does so.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use support::child::{Lines, Running as Child};

use super::engines::Running;
use super::table::{Row, median};
use super::{Context, load, turns};

const MOST: f64 = 1.05;
const SOON: Duration = Duration::from_secs(60);
/// signal(7)
const SIGINT: i32 = 2;
/// Of /proc/PID/stat, on every Linux there is.
const TICKS_PER_SECOND: f64 = 100.0;

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for which in context.engines.chosen() {
        rows.extend(engine(context, &context.engines.get(which)?, which.takes() as u32)?);
    }
    rows.extend(context.engines.without_vllm());
    Ok(rows)
}

/// The 99th percentile of the gaps between content chunks, in milliseconds.
fn p99_ms(server: &Running, at_a_time: u32, requests: u32) -> Result<f64> {
    let (requests, at_a_time) = (requests.to_string(), at_a_time.to_string());
    let of = ["--url", &server.url, "--model", server.model, "--requests", &requests, "--concurrency", &at_a_time];
    let outcomes = load::outcomes(&[&of[..], &["--stream", "yes", "--max-tokens", "64"]].concat())?;
    let mut gaps: Vec<u64> = outcomes.iter().flat_map(|outcome| outcome.gaps_ns.iter().copied()).collect();
    gaps.sort_unstable();
    let at = gaps.len().checked_sub(1).context("no chunk was seen")? * 99 / 100;
    Ok(gaps[at] as f64 / 1e6)
}

/// What recording took: share of a CPU, megabytes, and seconds from the signal to the end.
struct Taken {
    cpu: f64,
    megabytes: f64,
    end_s: f64,
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit(") ").next().context("no name in stat")?;
    let ticks: Vec<f64> = after.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

fn peak_megabytes(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1e3)
}

fn recorded<T>(context: &Context, pid: u32, during: impl FnOnce() -> Result<T>) -> Result<(T, Taken)> {
    let folder = tempfile::tempdir()?;
    let mut attach = Command::new(&context.agent);
    attach.args(["attach", "--duration", "10m", "--pid", &pid.to_string(), "--format", "pprof", "--out"]);
    attach.arg(folder.path().join("profile")).stdout(std::process::Stdio::null());
    let mut attach = Child::start(attach, Lines::Stderr)?;
    attach.wait_line(SOON, |line| line.contains("watching process").then_some(()))?;
    let (began, before) = (Instant::now(), cpu_seconds(attach.pid())?);
    let done = during()?;
    let cpu = (cpu_seconds(attach.pid())? - before) / began.elapsed().as_secs_f64();
    let before_end = peak_megabytes(attach.pid())?;
    let ends = Instant::now();
    if !attach.stop(SIGINT, SOON)?.success() {
        bail!("attach failed: {}", attach.lines().join("; "));
    }
    Ok((done, Taken { cpu, megabytes: before_end, end_s: ends.elapsed().as_secs_f64() }))
}

fn engine(context: &Context, server: &Running, at_a_time: u32) -> Result<Vec<Row>> {
    let (rounds, requests) = if context.quick { (2, 32) } else { (7, 64) };
    p99_ms(server, at_a_time, requests)?;
    let (mut withouts, mut taken) = (Vec::new(), Vec::new());
    let without = || {
        let without = p99_ms(server, at_a_time, requests)?;
        withouts.push(without);
        Ok(without)
    };
    let with = || {
        let (with, took) = recorded(context, server.pid, || p99_ms(server, at_a_time, requests))?;
        taken.push(took);
        Ok(with)
    };
    let ratios = turns::ratios(rounds, without, with)?;
    let (name, without) = (server.name, median(&withouts));
    let of = |pick: fn(&Taken) -> f64| median(&taken.iter().map(pick).collect::<Vec<_>>());
    Ok(vec![
        Row::held(
            format!("{name}: p99 between chunks while stacks are taken, {at_a_time} at a time"),
            format!("{ratios}, which is {without:.2} ms"),
            "at most 1.05",
            ratios.median() <= MOST,
        ),
        Row::told(
            format!("{name}: the agent meanwhile"),
            format!(
                "{:.1} % of a CPU, at most {:.0} MB, {:.2} s to write",
                of(|taken| taken.cpu) * 100.0,
                of(|taken| taken.megabytes),
                of(|taken| taken.end_s)
            ),
        ),
    ])
}
