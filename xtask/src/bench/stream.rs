//! Chunks per second of a server that streams as fast as it can on many connections: alone, beside a pair of programs
//! that do nothing, and watched, in turn; and what a chunk costs in the kernel programs and in the agent.

use anyhow::Result;
use aya::sys::{Stats, enable_stats};
use support::agent::Agent;
use support::schedstat;
use support::server::Server;

use super::kernel::{Pair, grown, runs};
use super::load::{self, Drained};
use super::table::{Row, median};
use super::{Context, sched_cost};

const CONNECTIONS: usize = 64;
const LEAST: f64 = 0.95;

/// Chunks per second of each round, the agent's milliseconds of CPU per 10,000 chunks, and payload records.
#[derive(Default)]
struct Rounds {
    alone: Vec<f64>,
    null: Vec<f64>,
    watched: Vec<f64>,
    cpu_ms: Vec<f64>,
    seen: f64,
    lost: f64,
}

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let (rounds, tokens) = if context.quick { (2, 3_000) } else { (7, 10_000) };
    let server = Server::start(&[])?;
    let url = format!("http://{}", server.target.host());
    let drain = || load::drain(&url, CONNECTIONS, tokens, &[]);
    drain()?;
    let mut all = Rounds::default();
    for round in 0..rounds {
        // Before and after by turns: whatever drifts, drifts both ways.
        let first = (round % 2 == 0).then(drain).transpose()?;
        let pair = Pair::Typed.attach()?;
        all.null.push(drain()?.rate());
        drop(pair);
        watched(&mut all, &server, drain)?;
        all.alone.push(first.map_or_else(drain, Ok)?.rate());
    }
    let mut rows = rows(&all);
    rows.push(per_chunk(&server, drain)?);
    Ok(rows)
}

fn watched(all: &mut Rounds, server: &Server, drain: impl Fn() -> Result<Drained>) -> Result<()> {
    let agent = Agent::watch(&[server.pid()])?;
    let before = schedstat::read(agent.pid())?;
    let drained = drain()?;
    let used = schedstat::read(agent.pid())? - before;
    let metrics = agent.scrape()?;
    all.watched.push(drained.rate());
    all.cpu_ms.push(used.oncpu_ns as f64 / 1e6 / drained.chunks * 1e4);
    all.lost += metrics.count("inferscope_events_lost_total", &[("where", "ring_payload")]);
    all.seen += metrics.count("inferscope_events_total", &[("kind", "payload")]);
    agent.stop()?;
    Ok(())
}

fn rows(all: &Rounds) -> Vec<Row> {
    let ratio =
        |with: &[f64]| median(&with.iter().zip(&all.alone).map(|(with, alone)| with / alone).collect::<Vec<_>>());
    let (rate, alone) = (median(&all.watched), median(&all.alone));
    let measured = format!(
        "{:.3} of its rate ({rate:.0} chunks/s of {alone:.0}, median of {} rounds in turn)",
        ratio(&all.watched),
        all.alone.len()
    );
    let null = format!("{:.3} of its rate", ratio(&all.null));
    vec![
        Row::held("64 connections, watched", measured, "at least 0.95", ratio(&all.watched) >= LEAST),
        Row::told("the same beside a null typed pair: the most that any system-call hook leaves", null),
        Row::told("CPU time per chunk that the watch adds, all CPUs", format!("{:.0} ns", added_ns(rate, alone))),
        Row::told("agent CPU per 10,000 chunks", format!("{:.1} ms", median(&all.cpu_ms))),
        Row::told("payload records lost at that rate", format!("{} of {:.0}", all.lost, all.seen + all.lost)),
    ]
}

/// Server and client keep every CPU busy, so a chunk costs what all CPUs do in the time between two.
fn added_ns(rate: f64, alone: f64) -> f64 {
    let cpus = std::thread::available_parallelism().map_or(1.0, |cpus| cpus.get() as f64);
    (1.0 / rate - 1.0 / alone) * cpus * 1e9
}

/// Run time of each program, counted in a pass of its own: the counting slows it.
fn per_chunk(server: &Server, drain: impl Fn() -> Result<Drained>) -> Result<Row> {
    let _statistics = enable_stats(Stats::RunTime)?;
    let agent = Agent::watch(&[server.pid()])?;
    let before = runs(agent.pid())?;
    drain()?;
    Ok(Row::told(
        "watched and streaming, ns per run of each program",
        sched_cost::list(&grown(&before, runs(agent.pid())?)),
    ))
}
