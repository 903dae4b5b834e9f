//! What is seen behind vLLM's HTTP front, against vLLM's own counters and histograms; and what seeing it costs.

use anyhow::{Context as _, Result};
use support::agent::Agent;
use support::metrics::Metrics;
use support::record::Record;

use super::engines::Running;
use super::table::{Row, median};
use super::{Context, load};

const AT_A_TIME: &str = "8";
const WATCH: &str = "[discover]\nenabled = false\n[nvml]\nenabled = false\n";
const BLIND: &str = "[discover]\nenabled = false\n[nvml]\nenabled = false\n[capture]\nengines = false\n";
const LEAST: f64 = 0.97;

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let Some(vllm) = context.engines.vllm()? else {
        return Ok(vec![Row::skipped("vLLM behind its front", "asked for with --vllm")]);
    };
    let mut rows = figures(context, &vllm)?;
    rows.extend(cost(context, &vllm)?);
    Ok(rows)
}

fn send(server: &Running, requests: u32, tokens: &str) -> Result<Vec<support::outcome::Outcome>> {
    let requests = requests.to_string();
    let common = ["--url", &server.url, "--model", server.model, "--requests", &requests, "--concurrency", AT_A_TIME];
    load::outcomes(&[&common[..], &["--stream", "yes", "--api", "mix", "--max-tokens", tokens, "--no-usage"]].concat())
}

/// Streams that are not asked for their usage: tokens are known from the engine's messages alone.
fn figures(context: &Context, server: &Running) -> Result<Vec<Row>> {
    let requests = if context.quick { 40 } else { 200 };
    let agent = Agent::configured(&[server.pid], WATCH)?;
    // Connections between front and core are taken up with their first message.
    send(server, 8, "4")?;
    let before = server.metrics()?;
    let outcomes = send(server, requests, "24")?;
    let after = server.metrics()?;
    let ids: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.id.as_deref()).collect();
    let mut records = agent.records_of(&outcomes)?;
    records.retain(|record| record.id.as_deref().is_some_and(|id| ids.contains(&id)));
    let lost = agent.lost()?;
    let grown =
        |name: &str| anyhow::Ok(after.sum(name, &[]).with_context(|| format!("no {name}"))? - before.count(name, &[]));
    let tokens = |of: fn(&Record) -> Option<u64>| records.iter().filter_map(of).sum::<u64>() as f64;
    let (output, input) = (tokens(|record| record.output_tokens), tokens(|record| record.input_tokens));
    let (own_output, own_input) = (grown("vllm:generation_tokens_total")?, grown("vllm:prompt_tokens_total")?);
    let exact = records.iter().filter(|r| !r.tokens_estimated && r.engine_times["complete"] == true).count();
    let mut rows = vec![Row::held(
        format!("vllm: tokens of {requests} streams without usage, {AT_A_TIME} at a time"),
        format!(
            "{} records, {exact} exact; output {output} against {own_output}, input {input} against {own_input} of its own \
             counters; {lost} events lost",
            records.len()
        ),
        "equal, each record exact",
        exact == requests as usize
            && records.len() == exact
            && output == own_output
            && input == own_input
            && lost == 0.0,
    )];
    let times = [
        ("queue", "vllm:request_queue_time_seconds", &["queue_s"][..]),
        ("prefill", "vllm:request_prefill_time_seconds", &["prefill_s"]),
        ("decode", "vllm:request_decode_time_seconds", &["decode_s"]),
        ("prefill and decode", "vllm:request_inference_time_seconds", &["prefill_s", "decode_s"]),
    ];
    for (what, histogram, fields) in times {
        let theirs = mean(&before, &after, histogram)?;
        let ours = records.iter().flat_map(|r| fields.iter().filter_map(|field| r.engine(field))).sum::<f64>()
            / records.len() as f64;
        let off = (ours - theirs).abs();
        rows.push(Row::held(
            format!("vllm: mean {what} against its own histogram"),
            format!("{:.3} ms against {:.3} ms", ours * 1e3, theirs * 1e3),
            "at most 2 ms or 5 % apart",
            off <= (0.05 * theirs).max(0.002),
        ));
    }
    Ok(rows)
}

/// Of what a histogram took up between two scrapes.
fn mean(before: &Metrics, after: &Metrics, name: &str) -> Result<f64> {
    let grown = |suffix: &str| {
        let name = format!("{name}{suffix}");
        anyhow::Ok(after.sum(&name, &[]).with_context(|| format!("no {name}"))? - before.count(&name, &[]))
    };
    Ok(grown("_sum")? / grown("_count")?)
}

/// Tokens per second of full streams, and processor seconds of the agent per second.
fn rate(server: &Running, agent: Option<&Agent>, requests: u32) -> Result<(f64, f64)> {
    let busy = || agent.map_or(Ok(0.0), |agent| processor_seconds(agent.pid()));
    let (before, cpu) = (server.metrics()?, busy()?);
    let outcomes = send(server, requests, "64")?;
    let cpu = busy()? - cpu;
    let name = "vllm:generation_tokens_total";
    let tokens = server.metrics()?.count(name, &[]) - before.count(name, &[]);
    let begin = outcomes.iter().map(|o| o.t_send_ns).min().context("no request was sent")?;
    let end = outcomes.iter().map(|o| o.t_end_ns).max().context("no request was sent")?;
    let seconds = (end - begin) as f64 / 1e9;
    Ok((tokens / seconds, cpu / seconds))
}

/// Of all threads of a process since it began, as its tasks' schedstat has it.
fn processor_seconds(pid: u32) -> Result<f64> {
    let of = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).context("no schedstat")
    };
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(tasks.map(of).sum::<Result<f64>>()? / 1e9)
}

/// In turn: no agent, one that does not look behind the front, one that does.
fn cost(context: &Context, server: &Running) -> Result<Vec<Row>> {
    let (rounds, requests) = if context.quick { (2, 16) } else { (7, 48) };
    rate(server, None, requests)?;
    let (mut to_none, mut to_blind, mut cpu, mut cpu_blind) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let with = |config: &str| {
            let agent = Agent::configured(&[server.pid], config)?;
            // What an agent does at its start is not what is asked here.
            send(server, 8, "8")?;
            rate(server, Some(&agent), requests)
        };
        let (none, seeing, blind) = if round % 2 == 0 {
            let none = rate(server, None, requests)?;
            let seeing = with(WATCH)?;
            (none, seeing, with(BLIND)?)
        } else {
            let blind = with(BLIND)?;
            let seeing = with(WATCH)?;
            (rate(server, None, requests)?, seeing, blind)
        };
        to_none.push(seeing.0 / none.0);
        to_blind.push(seeing.0 / blind.0);
        cpu.push(seeing.1);
        cpu_blind.push(blind.1);
    }
    let ratio = median(&to_blind);
    Ok(vec![
        Row::held(
            format!("vllm: tokens/s, {AT_A_TIME} at a time, with what is behind the front against without"),
            format!("{ratio:.3} (median of {rounds} rounds in turn); against no agent {:.3}", median(&to_none)),
            "at least 0.97",
            ratio >= LEAST,
        ),
        Row::told(
            "the agent's processor time meanwhile".to_owned(),
            format!("{:.2} % of a CPU with, {:.2} % without", median(&cpu) * 1e2, median(&cpu_blind) * 1e2),
        ),
    ])
}
