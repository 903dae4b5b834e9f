//! The time that the shortest system call of an unwatched process takes: alone, beside a pair of programs that do
//! nothing, and beside the agent, in turn.

use anyhow::{Context as _, Result};
use support::agent::Agent;

use super::kernel::{Pair, syscall_observers};
use super::table::{Row, least, median};
use super::{Context, load};

const MOST: f64 = 1.3;

/// Nanoseconds per call of each round.
#[derive(Default)]
struct Rounds {
    bare: Vec<f64>,
    raw: Vec<f64>,
    typed: Vec<f64>,
    look_up: Vec<f64>,
    agent: Vec<f64>,
}

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let others = syscall_observers();
    let mut rounds = Rounds::default();
    for _ in 0..if context.quick { 3 } else { 9 } {
        rounds.bare.push(call_ns(context)?);
        for (pair, times) in
            [(Pair::Raw, &mut rounds.raw), (Pair::Typed, &mut rounds.typed), (Pair::LookUp, &mut rounds.look_up)]
        {
            let attached = pair.attach()?;
            times.push(call_ns(context)?);
            drop(attached);
        }
        let agent = Agent::watch(&[])?;
        rounds.agent.push(call_ns(context)?);
        agent.stop()?;
    }
    Ok(rows(&rounds, others))
}

fn rows(rounds: &Rounds, others: usize) -> Vec<Row> {
    let Rounds { bare, raw, typed, look_up, agent } = rounds;
    let added = |with: &[f64]| least(with) - least(bare);
    let ratio = |null: &[f64]| added(agent) / added(null);
    let in_turn = |null: &[f64]| {
        let each = |at: usize| (agent[at] - bare[at]) / (null[at] - bare[at]);
        median(&(0..bare.len()).map(each).collect::<Vec<_>>())
    };
    let times = format!(
        "bare {:.1}, null raw {:.1}, null typed {:.1}, one hash look-up {:.1}, agent {:.1}",
        least(bare),
        least(raw),
        least(typed),
        least(look_up),
        least(agent)
    );
    let measured = format!(
        "{:.2} times (agent adds {:.1} ns, null raw pair {:.1} ns; median of rounds {:.2})",
        ratio(raw),
        added(agent),
        added(raw),
        in_turn(raw)
    );
    let mut rows = vec![
        Row::held("added to getppid, agent over null raw pair", measured, "at most 1.3 times", ratio(raw) <= MOST),
        Row::told("the same over a null typed pair", format!("{:.2} times", ratio(typed))),
        Row::told("the same over a pair with one hash look-up", format!("{:.2} times", ratio(look_up))),
        Row::told(format!("ns per getppid, least of {} rounds", bare.len()), times),
    ];
    if others > 0 {
        rows.push(Row::told("other programs on system calls meanwhile", format!("{others}: they are in every figure")));
    }
    rows
}

/// The least time per call of several repeats: the others had company.
fn call_ns(context: &Context) -> Result<f64> {
    let repeats = if context.quick { "6" } else { "12" };
    let truth = load::workload(&["syscalls", "--kind", "getppid", "--count", "300000", "--repeats", repeats])?;
    truth["ns_per_call"].as_f64().context("the workload gave no time per call")
}
