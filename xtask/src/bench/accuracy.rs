//! Times of requests sent one at a time: against the client that sent them, and against vLLM's own histograms.

use anyhow::{Context as _, Result};
use support::agent::Agent;
use support::compare::{Difference, compare};
use support::metrics::Metrics;
use support::record::Record;

use super::engines::Running;
use super::table::Row;
use super::{Context, load};

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let mut rows = engine(context, &context.engines.llama()?)?;
    match context.engines.vllm()? {
        Some(vllm) => rows.extend(engine(context, &vllm)?),
        None => rows.push(Row::skipped("vLLM and its histograms", "asked for with --vllm")),
    }
    Ok(rows)
}

fn engine(context: &Context, server: &Running) -> Result<Vec<Row>> {
    let requests = if context.quick { "15" } else { "50" };
    let agent = Agent::watch(&[server.pid])?;
    let send = |requests| {
        load::outcomes(&[
            "--url",
            &server.url,
            "--model",
            server.model,
            "--requests",
            requests,
            "--concurrency",
            "1",
            "--stream",
            "yes",
            "--max-tokens",
            "32",
        ])
    };
    send("3")?;
    let before = server.metrics()?;
    let outcomes = send(requests)?;
    let after = server.metrics()?;
    let records = agent.records_of(&outcomes)?;
    let comparison = compare(&outcomes, &records);
    let name = server.name;
    let mut rows = vec![
        difference(&format!("{name}: TTFT against the client"), &comparison.ttft),
        difference(&format!("{name}: duration against the client"), &comparison.duration),
    ];
    if name == "vllm" {
        let ids: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.id.as_deref()).collect();
        let ours = |record: &&Record| record.id.as_deref().is_some_and(|id| ids.contains(&id));
        let ours: Vec<&Record> = records.iter().filter(ours).collect();
        let ttft: Vec<f64> = ours.iter().filter_map(|record| record.ttft_s).collect();
        let duration: Vec<f64> = ours.iter().map(|record| record.duration_s).collect();
        rows.push(histogram("TTFT", &ttft, &before, &after, "vllm:time_to_first_token_seconds")?);
        rows.push(histogram("duration", &duration, &before, &after, "vllm:e2e_request_latency_seconds")?);
    }
    Ok(rows)
}

fn difference(what: &str, difference: &Difference) -> Row {
    let Difference { pairs, median_s, p95_s, of_median_s } = *difference;
    let measured = format!(
        "median {:.3} ms, 95th percentile {:.3} ms, of {:.1} ms ({pairs} requests)",
        median_s * 1e3,
        p95_s * 1e3,
        of_median_s * 1e3
    );
    Row::held(what, measured, "median at most 1 ms or 3 %", pairs > 0 && difference.within(0.001, 0.03))
}

/// The mean of OURS against the mean of what the engine's histogram took up meanwhile.
fn histogram(what: &str, ours: &[f64], before: &Metrics, after: &Metrics, name: &str) -> Result<Row> {
    let grown = |suffix: &str| {
        let name = format!("{name}{suffix}");
        let now = after.sum(&name, &[]).with_context(|| format!("vLLM has no {name}"))?;
        anyhow::Ok(now - before.count(&name, &[]))
    };
    let (count, sum) = (grown("_count")?, grown("_sum")?);
    let (theirs, own) = (sum / count, ours.iter().sum::<f64>() / ours.len() as f64);
    let off = (own - theirs).abs();
    let measured = format!(
        "{:.2} ms against {:.2} ms, {:.2} ms apart ({count} and {} requests)",
        own * 1e3,
        theirs * 1e3,
        off * 1e3,
        ours.len()
    );
    let holds = count == ours.len() as f64 && off <= (0.05 * theirs).max(0.005);
    Ok(Row::held(format!("vllm: mean {what} against its own histogram"), measured, "at most 5 ms or 5 %", holds))
}
