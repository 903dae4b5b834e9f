//! What a write pays: a line to standard error and bytes to another file, of a process that is not watched, that is
//! watched with its logs left alone, and that is watched with them; below the limit of its service and over it.

use anyhow::{Context as _, Result};
use support::agent::Agent;
use support::workload::Workload;

use super::table::{Row, least};
use super::{Context, load};

/// Fewer than the limit allows at once: 208 bytes each, 64 MiB a second.
const CALLS: &str = "200000";
const QUIET: &str = "[discover]\nenabled = false\n[nvml]\nenabled = false\n[logs]\n";
const OFF: &str = "enabled = false\n";
const WIDE: &str = "bytes_per_second = 67108864\n";
const NARROW: &str = "bytes_per_second = 4096\n";

/// Nanoseconds per call of each round.
#[derive(Default)]
struct Rounds {
    unwatched: Vec<f64>,
    off: Vec<f64>,
    read: Vec<f64>,
    over: Vec<f64>,
}

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (kind, what) in [("line", "a line to standard error"), ("file", "80 bytes to a file that is no log")] {
        let mut rounds = Rounds::default();
        for _ in 0..if context.quick { 2 } else { 7 } {
            rounds.unwatched.push(unwatched(kind)?);
            rounds.off.push(watched(kind, OFF)?);
            rounds.read.push(watched(kind, WIDE)?);
            rounds.over.push(watched(kind, NARROW)?);
        }
        let Rounds { unwatched, off, read, over } = &rounds;
        let added = |of: &[f64]| least(of) - least(off);
        rows.push(Row::told(
            format!("ns per write(2), {what}"),
            format!(
                "beside an agent {:.0}; watched without its logs {:.0}, with them {:.0} ({:+.0}), over the limit {:.0} ({:+.0})",
                least(unwatched),
                least(off),
                least(read),
                added(read),
                least(over),
                added(over)
            ),
        ));
    }
    Ok(rows)
}

/// An agent is there, and watches another.
fn unwatched(kind: &str) -> Result<f64> {
    let agent = Agent::configured(&[std::process::id()], &format!("{QUIET}{WIDE}"))?;
    let truth = load::workload(&["syscalls", "--kind", kind, "--count", CALLS])?;
    agent.stop()?;
    truth["ns_per_call"].as_f64().context("the workload gave no time per call")
}

fn watched(kind: &str, logs: &str) -> Result<f64> {
    let mut work = Workload::start(&["syscalls", "--kind", kind, "--count", CALLS])?;
    let agent = Agent::configured(&[work.pid()], &format!("{QUIET}{logs}"))?;
    let truth = work.work()?;
    work.finish()?;
    agent.stop()?;
    truth["ns_per_call"].as_f64().context("the workload gave no time per call")
}
