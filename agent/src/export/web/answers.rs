//! The shapes of the API's answers, field by field as docs/api.md has them: seconds, bytes, ratios from 0 to 1, and null
//! where nothing is known. Builds none of them.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Serialize, Serializer};

use crate::events::Event;

/// A figure with six significant digits behind the point at most: what is beyond them is noise and bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure(pub f64);

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if !self.0.is_finite() {
            return out.serialize_none();
        }
        out.serialize_f64((self.0 * 1e6).round() / 1e6)
    }
}

pub type Known = Option<Figure>;

/// A possible figure.
pub fn known(value: impl Into<Option<f64>>) -> Known {
    value.into().map(Figure)
}

/// GET /api/v1/services
#[derive(Debug, Serialize)]
pub struct Services {
    pub services: Vec<Service>,
}

/// GET /api/v1/events
#[derive(Debug, Serialize)]
pub struct Events {
    /// Newest first.
    pub events: Vec<Told>,
}

/// An event as a line of the records has it.
#[derive(Debug)]
pub struct Told(pub Arc<Event>);

impl Serialize for Told {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(out)
    }
}

/// One live service.
#[derive(Debug, Serialize)]
pub struct Service {
    pub name: String,
    pub engine: String,
    pub version: Option<String>,
    pub model: Option<String>,
    pub ports: Vec<u16>,
    pub pid: u32,
    pub processes: Vec<Process>,
    pub container: Option<Container>,
    pub in_flight: u64,
    pub last_30s: Window,
    pub last_60s: Window,
    pub verdict: Option<MainVerdict>,
    pub gpu_utilization_ratio: Known,
    pub gpu_memory_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct Process {
    pub pid: u32,
    pub comm: String,
}

#[derive(Debug, Serialize)]
pub struct Container {
    pub id: String,
    pub runtime: &'static str,
    pub pod_uid: Option<String>,
    pub namespace: Option<String>,
    pub pod: Option<String>,
    /// Its name in the pod.
    pub name: Option<String>,
}

/// What a service did lately.
#[derive(Debug, Serialize)]
pub struct Window {
    pub requests: u64,
    pub errors: u64,
    pub requests_per_s: Figure,
    pub errors_per_s: Figure,
    pub error_ratio: Known,
    pub ttft_p50_s: Known,
    pub ttft_p95_s: Known,
    pub tpot_p50_s: Known,
    pub duration_p50_s: Known,
    pub duration_p95_s: Known,
    pub input_tokens_per_s: Figure,
    pub output_tokens_per_s: Figure,
    pub cpu_cores: Known,
    pub run_queue_ratio: Known,
}

/// The verdict with the largest part of the last minute's time.
#[derive(Debug, Serialize)]
pub struct MainVerdict {
    pub verdict: &'static str,
    pub ratio: Figure,
}

/// GET /api/v1/series: columns of equal length, oldest first.
#[derive(Debug, Serialize)]
pub struct Series {
    pub service: String,
    pub step_s: u64,
    pub end_unix_s: Figure,
    pub requests_per_s: Vec<Known>,
    pub errors_per_s: Vec<Known>,
    pub ttft_p50_s: Vec<Known>,
    pub ttft_p95_s: Vec<Known>,
    pub tpot_p50_s: Vec<Known>,
    pub output_tokens_per_s: Vec<Known>,
    pub in_flight: Vec<Option<u32>>,
}

/// GET /api/v1/requests
#[derive(Debug, Serialize)]
pub struct Requests<'a> {
    pub service: Option<&'a str>,
    pub sort: &'static str,
    pub requests: Vec<Record<'a>>,
}

/// One finished request.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    pub id: Option<&'a str>,
    pub request_id: Option<&'a str>,
    pub service: &'a str,
    pub engine: &'a str,
    pub pid: u32,
    pub port: u16,
    pub method: &'a str,
    pub path: &'a str,
    pub operation: Option<&'static str>,
    pub dialect: Option<&'static str>,
    pub model: Option<&'a str>,
    pub stream: bool,
    pub status: u16,
    pub error_type: Option<&'a str>,
    pub finish_reason: Option<&'a str>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub tokens_estimated: bool,
    pub start_unix_s: Figure,
    pub age_s: Figure,
    pub ttfb_s: Known,
    pub ttft_s: Known,
    pub tpot_s: Known,
    pub duration_s: Figure,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub others_in_flight: Figure,
    pub verdict: Option<&'static str>,
    pub verdict_confidence: Known,
    pub slowdown: Known,
    pub excess_s: Known,
    pub phases: Vec<Phase>,
}

#[derive(Debug, Serialize)]
pub struct Phase {
    pub phase: &'static str,
    pub seconds: Figure,
    pub causes: Option<BTreeMap<&'static str, Figure>>,
}

/// GET /api/v1/gpus
#[derive(Debug, Serialize)]
pub struct Gpus {
    pub source: Cow<'static, str>,
    pub source_error: Option<String>,
    pub age_s: Known,
    pub driver_version: Option<String>,
    pub gpus: Vec<Gpu>,
}

#[derive(Debug, Serialize)]
pub struct Gpu {
    pub index: u32,
    pub uuid: String,
    pub name: String,
    pub lost: Option<String>,
    pub utilization_ratio: Known,
    pub memory_utilization_ratio: Known,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    pub power_watts: Known,
    pub power_limit_watts: Known,
    pub temperature_celsius: Known,
    pub sm_clock_hertz: Known,
    pub throttle_reasons: Option<Vec<&'static str>>,
    pub services: Vec<String>,
}

/// GET /api/v1/agent
#[derive(Debug, Serialize)]
pub struct Agent {
    pub host: String,
    pub version: &'static str,
    pub healthy: bool,
    pub ready: bool,
    pub started_unix_s: Figure,
    pub uptime_s: Figure,
    pub services: usize,
    pub connections: usize,
    pub in_flight: u64,
    pub events: u64,
    pub events_per_s: Known,
    pub cpu_cores: Known,
    pub memory_bytes: Option<u64>,
    pub lost: u64,
    pub losses: Vec<Loss>,
    pub probes: Vec<Probe>,
    pub history: History,
}

#[derive(Debug, Serialize)]
pub struct Loss {
    pub place: &'static str,
    pub count: u64,
}

#[derive(Debug, Serialize)]
pub struct Probe {
    pub probe: &'static str,
    pub program: &'static str,
    pub required: bool,
    pub hook: Option<String>,
    pub error: Option<String>,
    pub gives: &'static str,
}

/// How much the history behind these answers holds.
#[derive(Debug, Serialize)]
pub struct History {
    pub services: usize,
    pub recent_requests: usize,
    pub slow_requests: usize,
    pub bytes: usize,
    pub refused: u64,
}

/// GET /api/v1/overview
#[derive(Debug, Serialize)]
pub struct Overview<'a> {
    pub now_unix_s: Figure,
    pub agent: Agent,
    pub services: Vec<Service>,
    pub gpus: Gpus,
    pub series: Option<Series>,
    pub requests: Requests<'a>,
    /// Newest first.
    pub changes: Vec<Told>,
}
