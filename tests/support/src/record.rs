//! The agent's JSON lines, as a reader outside the agent sees them.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Record {
    pub id: Option<String>,
    pub service: Value,
    pub pid: u32,
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub container: Option<String>,
    pub container_id: Option<String>,
    pub engine: Option<String>,
    /// Absent for requests that no LLM dialect claims.
    pub operation: Option<String>,
    pub model: Option<String>,
    pub stream: bool,
    pub status: u16,
    pub error_type: Option<String>,
    pub finish_reason: Option<String>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub tokens_estimated: bool,
    pub start_ns: u64,
    pub ttfb_s: Option<f64>,
    pub ttft_s: Option<f64>,
    pub tpot_s: Option<f64>,
    pub duration_s: f64,
    pub chunks: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Part of the response was not seen.
    pub gap: bool,
    pub host: Value,
    /// Why it took as long as it did; absent from agents that do not say.
    pub verdict: Option<String>,
    pub verdict_confidence: Option<f64>,
    pub slowdown: Option<f64>,
    pub engine_times: Value,
}

impl Record {
    /// A figure of the engine behind the HTTP front.
    pub fn engine(&self, figure: &str) -> Option<f64> {
        self.engine_times.get(figure)?.as_f64()
    }

    /// A figure of a host phase: `host("decode", "oncpu_s")`, or `host("prefill", "offcpu_s/futex")`.
    pub fn host(&self, phase: &str, figure: &str) -> Option<f64> {
        self.host.pointer(&format!("/{phase}/{figure}"))?.as_f64()
    }
}

/// Something that happened and is no request: a line with a field `record`.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    pub record: String,
    pub event: String,
    pub time_unix_s: f64,
    pub service: Option<String>,
    pub pid: Option<u32>,
    pub severity: String,
    pub attributes: Value,
}

/// All complete lines of a file of records; none when there is no file yet.
fn lines(path: &Path) -> Result<Vec<Value>> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(Vec::new()) };
    let complete = text.rfind('\n').map_or(0, |end| end + 1);
    let parsed = |line| serde_json::from_str(line).with_context(|| format!("not a record: {line}"));
    text[..complete].lines().map(parsed).collect()
}

/// Those of requests.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let requests = lines(path)?.into_iter().filter(|line| line.get("record").is_none());
    requests.map(|line| serde_json::from_value(line).context("not a request's record")).collect()
}

/// Those of events.
pub fn read_events(path: &Path) -> Result<Vec<Event>> {
    let events = lines(path)?.into_iter().filter(|line| line.get("record").is_some());
    events.map(|line| serde_json::from_value(line).context("not an event's record")).collect()
}
