//! Requests to real servers, streamed and not, one to eight at a time: each recorded once, as its client saw it.

use anyhow::Result;
use support::agent::Agent;
use support::compare::compare;

use super::engines::Running;
use super::table::Row;
use super::{Context, load};

const AT_A_TIME: [u32; 4] = [1, 2, 4, 8];

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let each = if context.quick { 10 } else { 50 };
    let mut rows = vec![engine(&context.engines.llama()?, each)?];
    match context.engines.vllm()? {
        Some(vllm) => rows.push(engine(&vllm, each)?),
        None => rows.push(Row::skipped("vLLM", "asked for with --vllm")),
    }
    Ok(rows)
}

fn engine(server: &Running, each: u32) -> Result<Row> {
    let agent = Agent::watch(&[server.pid])?;
    let mut outcomes = Vec::new();
    for at_a_time in AT_A_TIME {
        let (requests, at_a_time) = (each.to_string(), at_a_time.to_string());
        outcomes.extend(load::outcomes(&[
            "--url",
            &server.url,
            "--model",
            server.model,
            "--requests",
            &requests,
            "--concurrency",
            &at_a_time,
            "--stream",
            "mix",
            "--api",
            "mix",
            "--max-tokens",
            "12",
        ])?);
    }
    let records = agent.records_of(&outcomes)?;
    let comparison = compare(&outcomes, &records);
    let complete = outcomes.iter().filter(|outcome| outcome.complete()).count();
    let (sent, recorded) = (outcomes.len(), records.len());
    let first = comparison.mismatches.first().map(|first| format!(": {first}")).unwrap_or_default();
    let measured = format!(
        "{sent} sent, {complete} answered, {recorded} records, {} missing, {} extra, {} fields differ{first}; {} events lost",
        comparison.missing.len(),
        comparison.extra.len(),
        comparison.mismatches.len(),
        agent.lost()?,
    );
    let holds = comparison.exact() && complete == sent && recorded == sent;
    let what = format!("{}: {sent} requests, streamed and not, 1 to 8 at a time", server.name);
    Ok(Row::held(what, measured, "each recorded once, tokens, status, model and finish reason equal", holds))
}
