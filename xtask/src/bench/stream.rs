//! Chunks per second of a server that streams as fast as it can on many connections, with and without the agent, in
//! turn, and the agent's own CPU time per chunk.

use anyhow::Result;
use support::agent::Agent;
use support::schedstat;
use support::server::Server;

use super::table::{Row, median};
use super::{Context, load};

const CONNECTIONS: usize = 64;
const LEAST: f64 = 0.95;

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let (rounds, tokens) = if context.quick { (2, 3_000) } else { (7, 10_000) };
    let server = Server::start(&[])?;
    let url = format!("http://{}", server.target.host());
    let drain = || load::drain(&url, CONNECTIONS, tokens, &[]);
    drain()?;
    let (mut bare, mut watched, mut ratios, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut seen, mut lost) = (0.0, 0.0);
    for round in 0..rounds {
        let alone = (round % 2 == 0).then(&drain).transpose()?;
        let agent = Agent::watch(&[server.pid()])?;
        let before = schedstat::read(agent.pid())?;
        let with = drain()?;
        let used = schedstat::read(agent.pid())? - before;
        cpu.push(used.oncpu_ns as f64 / 1e6 / with.chunks * 1e4);
        let metrics = agent.scrape()?;
        lost += metrics.count("inferscope_events_lost_total", &[("where", "ring_payload")]);
        seen += metrics.count("inferscope_events_total", &[("kind", "payload")]);
        agent.stop()?;
        // Before and after by turns: whatever drifts, drifts both ways.
        let alone = alone.map_or_else(&drain, Ok)?;
        bare.push(alone.rate());
        watched.push(with.rate());
        ratios.push(with.rate() / alone.rate());
    }
    let rates = format!("{:.0} chunks/s of {:.0}", median(&watched), median(&bare));
    let ratio = format!("{:.3} of its rate ({rates}, median of {rounds} rounds in turn)", median(&ratios));
    Ok(vec![
        Row::held("64 connections, watched", ratio, "at least 0.95", median(&ratios) >= LEAST),
        Row::told("agent CPU per 10,000 chunks", format!("{:.1} ms", median(&cpu))),
        Row::told("payload records lost at that rate", format!("{lost} of {:.0}", seen + lost)),
    ])
}
