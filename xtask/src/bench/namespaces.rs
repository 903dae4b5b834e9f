//! What looking for listening sockets costs on a node with many containers: in each network namespace one process that
//! listens and one that has a socket and does not.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use support::agent::Agent;
use support::locate;

use super::Context;
use super::table::Row;
use crate::process;

/// The last is what the target is for.
const NAMESPACES: &[usize] = &[100, 500];
const FEW: &[usize] = &[50];
const MOST_CPU: f64 = 0.002;
/// The first looks at everything are over.
const SETTLED: Duration = Duration::from_secs(30);
/// Of looks that may come a minute apart, some.
const MEASURED: Duration = Duration::from_secs(150);
const PATIENCE: Duration = Duration::from_secs(120);
/// `$1`: how many, `$2`: the server, `$3`: where each says that it is there.
const CONTAINERS: &str = "for i in $(seq $1); do unshare --net bash -c 'ip link set lo up
    \"$1\" --listen 127.0.0.1:8000 >/dev/null 2>&1 &
    exec 3<>/dev/udp/127.0.0.1/9; : >\"$2\"; exec sleep 3600' bash \"$2\" \"$3/$i\" & done; wait";

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let counts = if context.quick { FEW } else { NAMESPACES };
    counts.iter().map(|count| among(*count, if context.quick { MEASURED / 4 } else { MEASURED })).collect()
}

fn among(count: usize, measured: Duration) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new("bash");
    command.args(["-c", CONTAINERS, "bash", &count.to_string()]).arg(locate::helper("sse-server")?).arg(folder.path());
    let _containers = process::Group::spawn(command.stdin(Stdio::null()))?;
    wait(folder.path(), count)?;
    let agent = Agent::start(&[])?;
    process::pause(SETTLED)?;
    let (began, before) = (Instant::now(), scout_s(agent.pid())?);
    process::pause(measured)?;
    let cpu = (scout_s(agent.pid())? - before) / began.elapsed().as_secs_f64();
    agent.scrape()?;
    Ok(Row::held(
        format!("CPU for looking at processes and their sockets in {count} network namespaces"),
        format!("{:.3} % of a core; {before:.2} s at the start", cpu * 100.0),
        "at most 0.2 %",
        cpu <= MOST_CPU,
    ))
}

fn wait(folder: &Path, count: usize) -> Result<()> {
    let started = Instant::now();
    while std::fs::read_dir(folder)?.count() < count {
        if started.elapsed() > PATIENCE {
            bail!("{count} network namespaces are not made within {} s", PATIENCE.as_secs());
        }
        process::pause(Duration::from_millis(100))?;
    }
    Ok(())
}

/// CPU time of the thread that looks, in seconds.
fn scout_s(pid: u32) -> Result<f64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten().map(|task| task.path());
    let is_scout =
        |task: &std::path::PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "scout");
    let task = tasks.into_iter().find(is_scout).context("the agent has no thread `scout`")?;
    let text = std::fs::read_to_string(task.join("schedstat"))?;
    let ns: f64 = text.split_whitespace().next().context("no schedstat")?.parse()?;
    Ok(ns / 1e9)
}
