//! The load client as a process of its own, built for speed, and what it saw.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use support::locate;
use support::outcome::Outcome;

use crate::process;

/// Runs `load ARGS` to its end; what it saw of each request.
pub fn outcomes(args: &[&str]) -> Result<Vec<Outcome>> {
    let seen = tempfile::NamedTempFile::new().context("no room for a temporary file")?;
    let mut load = Command::new(locate::helper("load")?);
    process::output(load.args(args).arg("--jsonl").arg(seen.path()))?;
    let text = std::fs::read_to_string(seen.path())?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not an outcome: {line}"))).collect()
}

/// What reading many streams at once gave.
#[derive(Clone, Copy)]
pub struct Drained {
    pub chunks: f64,
    pub seconds: f64,
}

impl Drained {
    pub fn rate(&self) -> f64 {
        self.chunks / self.seconds
    }
}

/// Reads a stream of TOKENS chunks on each of CONNECTIONS connections, as fast as they come.
pub fn drain(url: &str, connections: usize, tokens: u64, headers: &[String]) -> Result<Drained> {
    let mut load = Command::new(locate::helper("load")?);
    load.args(["--url", url, "--drain", &connections.to_string(), "--max-tokens", &tokens.to_string()]);
    headers.iter().for_each(|header| {
        load.args(["--header", header]);
    });
    let said = process::output(&mut load)?;
    let said: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).context("load said no JSON")?;
    let figure = |name: &str| said["drained"][name].as_f64().with_context(|| format!("load said no {name}"));
    Ok(Drained { chunks: figure("chunks")?, seconds: figure("seconds")? })
}

/// The last line that `workload ARGS` prints: its truth.
pub fn workload(args: &[&str]) -> Result<Value> {
    let said = process::output(Command::new(locate::helper("workload")?).args(args))?;
    serde_json::from_str(said.lines().last().unwrap_or_default()).context("the workload said no JSON")
}
