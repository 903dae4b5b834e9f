//! What recording a timeline costs a real server: tokens per second with and without, in turn; what the file weighs, and
//! whether events were lost.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use support::child::{Lines, Running as Child};

use super::engines::Running;
use super::table::{Row, median};
use super::{Context, load};

const LEAST: f64 = 0.97;
const MOST_MB: f64 = 25.0;
const SOON: Duration = Duration::from_secs(30);
/// signal(7)
const SIGINT: i32 = 2;

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let mut rows = engine(context, &context.engines.llama()?, 4)?;
    match context.engines.vllm()? {
        Some(vllm) => rows.extend(engine(context, &vllm, 8)?),
        None => rows.push(Row::skipped("vLLM", "asked for with --vllm")),
    }
    Ok(rows)
}

/// Tokens per second of streams, so many at a time.
fn rate(server: &Running, at_a_time: u32, requests: u32) -> Result<f64> {
    let (requests, at_a_time) = (requests.to_string(), at_a_time.to_string());
    let outcomes = load::outcomes(&[
        "--url",
        &server.url,
        "--model",
        server.model,
        "--requests",
        &requests,
        "--concurrency",
        &at_a_time,
        "--stream",
        "yes",
        "--max-tokens",
        "64",
    ])?;
    let tokens: u64 = outcomes.iter().filter_map(|o| o.output_tokens).sum();
    let begin = outcomes.iter().map(|o| o.t_send_ns).min().context("no request was sent")?;
    let end = outcomes.iter().map(|o| o.t_end_ns).max().context("no request was sent")?;
    Ok(tokens as f64 * 1e9 / (end - begin) as f64)
}

/// What `during` gives beside an `attach`, the megabytes of its timeline, and events lost.
fn recorded<T>(context: &Context, pid: u32, during: impl FnOnce() -> Result<T>) -> Result<(T, f64, u64)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("trace");
    let mut attach = Command::new(&context.agent);
    attach.args(["attach", "--duration", "10m", "--pid", &pid.to_string(), "--out"]).arg(&file);
    let said = folder.path().join("said");
    attach.stdout(std::fs::File::create(&said)?);
    let mut attach = Child::start(attach, Lines::Stderr)?;
    attach.wait_line(SOON, |line| line.contains("watching process").then_some(()))?;
    let done = during()?;
    if !attach.stop(SIGINT, SOON)?.success() {
        bail!("attach failed: {}", attach.lines().join("; "));
    }
    let megabytes = std::fs::metadata(&file)?.len() as f64 / 1e6;
    Ok((done, megabytes, losses(&std::fs::read_to_string(&said)?)))
}

/// Of the summary's line `lost, ...: PLACE COUNT, PLACE COUNT`; what is left out on purpose is none.
fn losses(said: &str) -> u64 {
    let places = said.lines().find_map(|line| line.strip_prefix("lost, ")?.split_once(": ")).map_or("", |(_, all)| all);
    let counts = places.split(", ").filter_map(|place| place.split_once(' '));
    counts.filter(|(place, _)| *place != "capture_cap").filter_map(|(_, count)| count.parse::<u64>().ok()).sum()
}

fn engine(context: &Context, server: &Running, at_a_time: u32) -> Result<Vec<Row>> {
    let (rounds, requests) = if context.quick { (2, 16) } else { (7, 32) };
    rate(server, at_a_time, requests)?;
    let (mut ratios, mut sizes, mut lost) = (Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        // Before and after by turns: whatever drifts, drifts both ways.
        let first = (round % 2 == 0).then(|| rate(server, at_a_time, requests)).transpose()?;
        let began = std::time::Instant::now();
        let (with, megabytes, more) = recorded(context, server.pid, || rate(server, at_a_time, requests))?;
        sizes.push(megabytes * 10.0 / began.elapsed().as_secs_f64());
        lost += more;
        ratios.push(with / first.map_or_else(|| rate(server, at_a_time, requests), Ok)?);
    }
    let (name, ratio, size) = (server.name, median(&ratios), median(&sizes));
    Ok(vec![
        Row::held(
            format!("{name}: tokens/s while a timeline is recorded, {at_a_time} at a time"),
            format!("{ratio:.3} of without (median of {rounds} rounds in turn); {lost} events lost"),
            "at least 0.97, none lost",
            ratio >= LEAST && lost == 0,
        ),
        Row::held(
            format!("{name}: size of the file"),
            format!("{size:.1} MB for 10 s"),
            "at most 25 MB",
            size <= MOST_MB,
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::losses;

    #[test]
    fn losses_are_read_from_the_summary() {
        let line = "lost, so that figures may be too small: ring_sched 7, capture_cap 5, records 2";
        assert_eq!(losses(&format!("3 requests\n{line}\n")), 9);
        assert_eq!(losses("3 requests, 0 errors\n"), 0);
    }
}
