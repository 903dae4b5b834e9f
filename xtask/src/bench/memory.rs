//! The agent's resident memory: idle, with many connections open and requests in flight, and before and after a long
//! time of short-lived processes and requests.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use support::agent::Agent;
use support::client::{Client, Request};
use support::locate;
use support::server::Server;

use super::Context;
use super::table::{Row, median};
use crate::process;

const SETTLE: Duration = Duration::from_secs(3);
const OPEN: usize = 1000;
const IN_FLIGHT: usize = 200;
/// What counts as flat: an allocator's last page runs are not growth.
const FLAT_MB: f64 = 1.5;

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let mut rows = vec![idle()?, busy()?];
    rows.extend(growth(context)?);
    Ok(rows)
}

fn idle() -> Result<Row> {
    let agent = Agent::start(&[])?;
    process::pause(SETTLE)?;
    agent.scrape()?;
    let resident = resident_mb(agent.pid())?;
    Ok(Row::held("resident when idle", format!("{resident:.1} MB"), "at most 60 MB", resident <= 60.0))
}

fn busy() -> Result<Row> {
    let server = Server::start(&[])?;
    let agent = Agent::watch(&[server.pid()])?;
    let mut clients: Vec<Client> = (0..OPEN).map(|_| Client::new(&server.target)).collect();
    for client in &mut clients {
        client.send(&Request::chat("test-model", "one two three", 4, true))?;
    }
    let long = Request::chat("test-model", &"a long prompt ".repeat(500), 100, true).test("delay-us", 100_000);
    let (resident, in_flight, connections) = std::thread::scope(|scope| {
        for client in clients.iter_mut().take(IN_FLIGHT) {
            scope.spawn(|| client.send(&long));
        }
        process::pause(SETTLE)?;
        let metrics = agent.scrape()?;
        let in_flight = metrics.count("http_server_active_requests", &[]);
        anyhow::Ok((resident_mb(agent.pid())?, in_flight, metrics.count("inferscope_connections", &[])))
    })?;
    let measured = format!("{resident:.1} MB with {connections} connections and {in_flight} requests in flight");
    let there = connections >= OPEN as f64 && in_flight >= IN_FLIGHT as f64;
    Ok(Row::held(
        "resident with 1,000 connections and 200 requests",
        measured,
        "at most 120 MB",
        there && resident <= 120.0,
    ))
}

/// Short-lived children of a watched process, short-lived strangers, and requests, all the time.
struct Churn {
    seconds: u64,
    processes: u64,
    requests: u64,
}

fn growth(context: &Context) -> Result<Vec<Row>> {
    let full = Churn { seconds: 600, processes: 2_000, requests: 50_000 };
    let short = Churn { seconds: 45, processes: 2_000, requests: 20_000 };
    let churn = if context.quick { short } else { full };
    let server = Server::start(&[])?;
    let (mut children, mut strangers) = (spawner(&churn, "process")?, spawner(&churn, "exec")?);
    let agent = Agent::configured(&[server.pid(), children.pid()], "[nvml]\nenabled = false\n")?;
    let url = format!("http://{}", server.target.host());
    let mut load = Command::new(locate::helper("load")?);
    let rate = churn.requests / churn.seconds;
    load.args(["--url", &url, "--requests", &churn.requests.to_string(), "--rate", &rate.to_string()]);
    load.args(["--max-tokens", "4", "--api", "mix", "--no-keep-alive"]);
    let mut load = process::Group::spawn(load.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
    let began = Instant::now();
    let mut sizes = Vec::new();
    let mut one_tenth = 0;
    while load.try_wait()?.is_none() {
        process::pause(Duration::from_secs(1))?;
        // Scraped as Prometheus would.
        agent.scrape()?;
        sizes.push(resident_mb(agent.pid())?);
        if began.elapsed().as_secs() * 10 < churn.seconds {
            one_tenth = sizes.len();
        }
    }
    children.end();
    strangers.end();
    report(&churn, &agent, &server, &sizes, one_tenth)
}

fn report(churn: &Churn, agent: &Agent, server: &Server, sizes: &[f64], one_tenth: usize) -> Result<Vec<Row>> {
    ensure!(sizes.len() > one_tenth + 10, "the load ended early");
    let (early, late) = (median(&sizes[one_tenth..one_tenth + 5]), median(&sizes[sizes.len() - 5..]));
    let metrics = agent.scrape()?;
    // Discovery is on: other servers of this host have records too.
    let recorded = agent.records()?.iter().filter(|record| record.pid == server.pid()).count();
    let exits = metrics.count("inferscope_events_total", &[("kind", "exit")]);
    let execs = metrics.count("inferscope_events_total", &[("kind", "exec")]);
    let lost = agent.lost()?;
    let measured = format!(
        "{early:.1} MB after a tenth, {late:.1} MB at the end ({:+.1}); {recorded} requests, {exits} watched and {execs} \
         strange processes in {} s; {lost} events lost",
        late - early,
        churn.seconds
    );
    let all = recorded as u64 == churn.requests && exits + execs >= churn.processes as f64;
    let what = format!("after {} requests and {} processes in {} s", churn.requests, churn.processes, churn.seconds);
    Ok(vec![Row::held(what, measured, "flat", late - early <= FLAT_MB && all)])
}

/// Half of the processes, spread over the time.
fn spawner(churn: &Churn, what: &str) -> Result<process::Group> {
    let count = churn.processes / 2;
    let rate = count as f64 / (churn.seconds as f64 - 5.0);
    let mut command = Command::new(locate::helper("workload")?);
    command.args(["spawn", "--what", what, "--count", &count.to_string(), "--rate", &rate.to_string()]);
    process::Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// VmRSS of /proc/PID/status, in MB.
pub(super) fn resident_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the agent is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/PID/status")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
    Ok(kib * 1024.0 / 1e6)
}
