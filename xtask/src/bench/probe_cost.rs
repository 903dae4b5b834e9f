//! What a metric of the configuration that is made of a tracepoint or of a function costs at each event, by the kernel's
//! own statistics: of a watched process, and of one that is not.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use support::agent::Agent;
use support::child::{Lines, Running};
use support::locate;

use super::Context;
use super::kernel::{grown, of, runs};
use super::table::Row;

const SOON: Duration = Duration::from_secs(60);
const METRICS: &str = r#"
[discover]
enabled = false
[discover.include]
exe = ["*/probed"]
[nvml]
enabled = false

[[metrics.custom]]
name = "bench_renames_total"
type = "counter"
from = "tracepoint:task:task_rename"
labels = { to = "field.newcomm" }

[[metrics.custom]]
name = "bench_amount"
type = "histogram"
from = "uprobe:PROBED:probed_call"
value = "arg2"
labels = { name = "arg1:string" }
buckets = [10, 100, 1000, 10000, 100000, 1000000]
"#;

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let rounds = if context.quick { 20_000 } else { 200_000 };
    let probed = locate::helper("probed")?;
    let other = probed.with_file_name("probed-not-watched");
    // What an earlier run left.
    let _ = std::fs::remove_file(&other);
    std::fs::hard_link(&probed, &other).context("cannot link the helper `probed`")?;
    // Statistics cost time themselves; they end with this descriptor.
    let _statistics = enable_stats(Stats::RunTime).context("the kernel keeps no run-time statistics (before 5.8)")?;
    let agent = Agent::configured(&[], &METRICS.replace("PROBED", &probed.display().to_string()))?;
    let mut rows = Vec::new();
    for (program, of_whom) in [(&probed, "watched"), (&other, "unwatched")] {
        let mut helper = Running::start(Command::new(program), Lines::Stdout)?;
        helper.wait_line(SOON, |line| line.starts_with("ready pid ").then_some(()))?;
        let pid = helper.pid().to_string();
        if of_whom == "watched" {
            agent.wait_metrics("the helper is watched", SOON, |m| {
                m.count("inferscope_service_info", &[("pid", &pid)]) == 1.0
            })?;
        }
        let before = runs(agent.pid())?;
        helper.tell(&rounds.to_string())?;
        helper.wait_line(SOON, |line| line.starts_with('{').then_some(()))?;
        let grown = grown(&before, runs(agent.pid())?);
        let (tracepoint, uprobe) = (of(&grown, "custom_tp"), of(&grown, "custom_up"));
        let measured = format!(
            "counter of a tracepoint by a text {:.0} ns ({} runs), histogram of a function by a text {:.0} ns ({} runs)",
            tracepoint.ns_each(),
            tracepoint.count,
            uprobe.ns_each(),
            uprobe.count
        );
        rows.push(Row::told(format!("metrics of probes, {of_whom}, program per event"), measured));
    }
    std::fs::remove_file(&other)?;
    Ok(rows)
}
