//! An agent that is killed cannot clean up: the kernel must, and the next run must be right.

use std::time::{Duration, Instant};

use anyhow::Result;
use support::agent::Agent;
use support::client::{Client, Request};
use support::compare::compare;
use support::outcome::Outcome;
use support::server::Server;

use super::Context;
use super::kernel::{held, left_of};
use super::table::Row;
use crate::process;

const SIGKILL: i32 = 9;
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let rounds = if context.quick { 1 } else { 3 };
    let server = Server::start(&[])?;
    let (mut had, mut left, mut slowest) = ((0, 0), (0, 0), 0.0f64);
    for _ in 0..rounds {
        let mut agent = Agent::watch(&[server.pid()])?;
        chat(&server, 3)?;
        let ids = held(agent.pid())?;
        had = (ids.programs.len(), ids.maps.len());
        agent.running.stop(SIGKILL, PATIENCE)?;
        let killed = Instant::now();
        let mut rest = left_of(&ids);
        while !(rest.programs.is_empty() && rest.maps.is_empty()) && killed.elapsed() < PATIENCE {
            process::pause(Duration::from_millis(20))?;
            rest = left_of(&ids);
        }
        slowest = slowest.max(killed.elapsed().as_secs_f64());
        left = (left.0 + rest.programs.len(), left.1 + rest.maps.len());
    }
    let measured = format!(
        "{} programs and {} maps left of {} and {}, after {slowest:.2} s; {rounds} times",
        left.0, left.1, had.0, had.1
    );
    let agent = Agent::watch(&[server.pid()])?;
    let outcomes = chat(&server, 20)?;
    let comparison = compare(&outcomes, &agent.records_of(&outcomes)?);
    let next = format!(
        "{} requests: {} missing, {} extra, {} fields differ",
        comparison.sent,
        comparison.missing.len(),
        comparison.extra.len(),
        comparison.mismatches.len()
    );
    Ok(vec![
        Row::held("kill -9", measured, "no program or map left", had.0 > 0 && had.1 > 0 && left == (0, 0)),
        Row::held("the run after it", next, "every request recorded once, equal", comparison.exact()),
    ])
}

fn chat(server: &Server, requests: u64) -> Result<Vec<Outcome>> {
    let mut client = Client::new(&server.target);
    (0..requests).map(|i| client.send(&Request::chat("test-model", "a b c", 4 + i, i % 2 == 1))).collect()
}
