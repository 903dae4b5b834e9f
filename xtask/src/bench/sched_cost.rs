//! Run time of the kernel programs per event, from the kernel's own statistics, beside libbpf-tools' runqlat and
//! offcputime on the same process at the same time.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aya::sys::{Stats, enable_stats};
use support::agent::Agent;
use support::workload::Workload;

use super::kernel::{self, Pair, Runs, grown, of, runs};
use super::table::Row;
use super::{Context, load};
use crate::{paths, process};

const UNWATCHED_MOST_NS: f64 = 60.0;
const PEERS_READY: Duration = Duration::from_secs(20);

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let seconds = if context.quick { "1" } else { "4" };
    // Statistics cost time themselves; they end with this descriptor.
    let _statistics = enable_stats(Stats::RunTime).context("the kernel keeps no run-time statistics (before 5.8)")?;
    let mut rows = unwatched(seconds)?;
    rows.push(connections(if context.quick { "2000" } else { "20000" })?);
    rows.extend(watched(seconds)?);
    Ok(rows)
}

fn unwatched(seconds: &str) -> Result<Vec<Row>> {
    let agent = Agent::watch(&[])?;
    let null = Pair::Typed.attach()?;
    let (before, floor) = (runs(agent.pid())?, runs(std::process::id())?);
    load::workload(&["pipe-pingpong", "--pin", "--seconds", seconds])?;
    let ours = grown(&before, runs(agent.pid())?);
    let floor = of(&grown(&floor, runs(std::process::id())?), "null_enter");
    drop(null);
    let (switch, wakeup) = (of(&ours, "sched_switch"), of(&ours, "sched_wakeup"));
    let worst = switch.ns_each().max(wakeup.ns_each());
    let measured = format!("switch {:.1} ns, wake-up {:.1} ns", switch.ns_each(), wakeup.ns_each());
    Ok(vec![
        Row::held("unwatched, per scheduling event", measured, "at most 60 ns", worst <= UNWATCHED_MOST_NS),
        Row::told("an empty program by the same clock", format!("{:.1} ns", floor.ns_each())),
        Row::told("unwatched, ns per run of each program", list(&ours)),
    ])
}

/// What telling of listeners costs those who only connect.
fn connections(count: &str) -> Result<Row> {
    let agent = Agent::watch(&[])?;
    let null = Pair::Typed.attach()?;
    let (before, floor) = (runs(agent.pid())?, runs(std::process::id())?);
    load::workload(&["connect", "--count", count])?;
    let ours = of(&grown(&before, runs(agent.pid())?), "listen_state");
    let floor = of(&grown(&floor, runs(std::process::id())?), "null_enter");
    drop(null);
    let (each, per) = (ours.ns_each(), ours.count as f64 / count.parse::<f64>()?);
    let measured = format!("{each:.1} ns, {per:.1} times a connection; an empty program {:.1} ns", floor.ns_each());
    Ok(Row::told("change of a TCP socket's state, any process", measured))
}

fn watched(seconds: &str) -> Result<Vec<Row>> {
    let mut pingpong = Workload::start(&["pipe-pingpong", "--pin", "--seconds", seconds])?;
    let agent = Agent::watch(&[pingpong.pid()])?;
    let pid = pingpong.pid().to_string();
    let (runqlat, offcputime) = (Peer::start("runqlat", &pid)?, Peer::start("offcputime", &pid)?);
    let all = || Ok::<_, anyhow::Error>([runs(agent.pid())?, runs(runqlat.pid())?, runs(offcputime.pid())?]);
    let before = all()?;
    pingpong.work()?;
    let [ours, runqlat, offcputime] = all()?;
    let (ours, runqlat, offcputime) =
        (grown(&before[0], ours), grown(&before[1], runqlat), grown(&before[2], offcputime));
    let switches = of(&ours, "sched_switch").count as f64;
    let per_switch = |runs: Runs| runs.ns as f64 / switches;
    let own = per_switch(of(&ours, "sched_"));
    let peers = [&runqlat, &offcputime].map(|peer| per_switch(peer.values().copied().sum()));
    let measured = format!(
        "{own:.0} ns per switch with its wake-up; runqlat {:.0} + offcputime {:.0} = {:.0} ns: {:.2} times",
        peers[0],
        peers[1],
        peers[0] + peers[1],
        own / (peers[0] + peers[1])
    );
    Ok(vec![
        Row::held("watched, run side by side", measured, "at most runqlat + offcputime", own <= peers[0] + peers[1]),
        Row::told("watched, ns per run of each program", list(&ours)),
        Row::told("ns per run of each program, runqlat", list(&runqlat)),
        Row::told("ns per run of each program, offcputime", list(&offcputime)),
    ])
}

pub fn list(runs: &BTreeMap<String, Runs>) -> String {
    let one = |(name, runs): (&String, &Runs)| format!("{name} {:.0} ({} runs)", runs.ns_each(), runs.count);
    runs.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// One of libbpf-tools, limited to a process.
struct Peer(process::Group);

impl Peer {
    fn start(tool: &str, pid: &str) -> Result<Self> {
        let program = paths::program(tool).with_context(|| format!("no {tool}: install Debian's libbpf-tools"))?;
        let mut command = Command::new(program);
        command.args(["-p", pid]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut group = process::Group::spawn(&mut command)?;
        let deadline = Instant::now() + PEERS_READY;
        while kernel::held(group.pid()).map_or(0, |held| held.programs.len()) < 1 {
            if group.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("{tool} does not run here");
            }
            process::pause(Duration::from_millis(50))?;
        }
        // It attaches right after it has loaded.
        process::pause(Duration::from_millis(500))?;
        Ok(Self(group))
    }

    fn pid(&self) -> u32 {
        self.0.pid()
    }
}
