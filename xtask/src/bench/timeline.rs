//! What recording a timeline costs a real server: tokens per second with and without, in turn; what the file weighs, how
//! long its end takes, and whether events were lost.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use support::child::{Lines, Running as Child};

use super::engines::Running;
use super::table::{Row, median};
use super::{Context, load, turns};

const LEAST: f64 = 0.97;
const MOST_MB: f64 = 25.0;
const MOST_S: f64 = 1.0;
const SOON: Duration = Duration::from_secs(30);
/// signal(7)
const SIGINT: i32 = 2;

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for which in context.engines.chosen() {
        rows.extend(engine(context, &context.engines.get(which)?, which.takes() as u32)?);
    }
    rows.extend(context.engines.without_vllm());
    Ok(rows)
}

/// Tokens per second of streams, so many at a time.
pub fn rate(server: &Running, at_a_time: u32, requests: u32) -> Result<f64> {
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

/// What an `attach` left.
struct Recorded {
    megabytes: f64,
    /// From the signal that ends it to the end of the process.
    ending_s: f64,
    lost: u64,
}

/// What `during` gives beside an `attach`, and what that left.
fn recorded<T>(context: &Context, pid: u32, during: impl FnOnce() -> Result<T>) -> Result<(T, Recorded)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("trace");
    let mut attach = Command::new(&context.agent);
    attach.args(["attach", "--duration", "10m", "--pid", &pid.to_string(), "--out"]).arg(&file);
    let said = folder.path().join("said");
    attach.stdout(std::fs::File::create(&said)?);
    let mut attach = Child::start(attach, Lines::Stderr)?;
    attach.wait_line(SOON, |line| line.contains("watching process").then_some(()))?;
    let done = during()?;
    let ends = Instant::now();
    if !attach.stop(SIGINT, SOON)?.success() {
        bail!("attach failed: {}", attach.lines().join("; "));
    }
    let ending_s = ends.elapsed().as_secs_f64();
    let megabytes = std::fs::metadata(&file)?.len() as f64 / 1e6;
    Ok((done, Recorded { megabytes, ending_s, lost: losses(&std::fs::read_to_string(&said)?) }))
}

/// Of the summary's line `lost, ...: PLACE COUNT, PLACE COUNT`; what is left out on purpose is none.
fn losses(said: &str) -> u64 {
    let places = said.lines().find_map(|line| line.strip_prefix("lost, ")?.split_once(": ")).map_or("", |(_, all)| all);
    let counts = places.split(", ").filter_map(|place| place.split_once(' '));
    counts.filter(|(place, _)| *place != "capture_cap").filter_map(|(_, count)| count.parse::<u64>().ok()).sum()
}

fn engine(context: &Context, server: &Running, at_a_time: u32) -> Result<Vec<Row>> {
    let (rounds, requests) = if context.quick { (2, 16) } else { (10, 24) };
    rate(server, at_a_time, requests)?;
    let (mut sizes, mut endings, mut lost) = (Vec::new(), Vec::new(), 0);
    let with = || {
        let mut took = Duration::ZERO;
        let (with, left) = recorded(context, server.pid, || {
            let began = Instant::now();
            let with = rate(server, at_a_time, requests);
            took = began.elapsed();
            with
        })?;
        sizes.push(left.megabytes * 10.0 / took.as_secs_f64());
        endings.push(left.ending_s);
        lost += left.lost;
        Ok(with)
    };
    let ratios = turns::ratios(rounds, || rate(server, at_a_time, requests), with)?;
    let (name, size, ending) = (server.name, median(&sizes), median(&endings));
    Ok(vec![
        Row::held(
            format!("{name}: tokens/s while a timeline is recorded, {at_a_time} at a time"),
            format!("{ratios}; {lost} events lost"),
            "at least 0.97, none lost",
            ratios.median() >= LEAST && lost == 0,
        ),
        Row::held(
            format!("{name}: size of the file"),
            format!("{size:.1} MB for 10 s"),
            "at most 25 MB",
            size <= MOST_MB,
        ),
        Row::held(
            format!("{name}: from the end of the recording to the finished file"),
            format!("{ending:.2} s"),
            "at most 1 s",
            ending <= MOST_S,
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
