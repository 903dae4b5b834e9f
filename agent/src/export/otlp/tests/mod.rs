//! The exporter against a collector in this process that answers as it is told: what arrives is decoded and compared
//! with the records, and every count is asserted exactly.

mod bounds;
mod collector;
mod convert;
mod delivery;
mod long;
mod rotel;
mod series;
mod starts;
mod tls;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Counts, Exporter, Outcome, Pace, Running, Signal};
use crate::{
    config::{Otlp, OtlpProtocol},
    correlate::Request,
    tasks::supervised,
};
use collector::{Answer, Collector, Received};

/// As many requests as are sent without waiting for more.
const BATCH: u64 = 512;

fn only_traces(endpoint: String, protocol: OtlpProtocol) -> Otlp {
    Otlp { endpoint: Some(endpoint), protocol, metrics: false, logs: false, ..Otlp::default() }
}

fn chat(number: u64) -> Arc<Request> {
    Arc::new(Request {
        id: Some(format!("chatcmpl-{number}")),
        service: "vllm-qwen".into(),
        operation: Some("chat"),
        model: Some("qwen".into()),
        role: "server",
        start_ns: 1_000_000_000 + number,
        duration_s: 0.5,
        status: 200,
        ..Request::default()
    })
}

/// A started exporter, and the way into it.
struct Started {
    queue: Option<super::Queue>,
    counts: Arc<Counts>,
    running: Running,
}

fn start(config: &Otlp, pace: Pace) -> Started {
    let mut exporter = Exporter::open(config).unwrap().unwrap();
    exporter.pace = pace;
    let (queue, counts) = (exporter.queue(), exporter.counts());
    let (tasks, _ended) = supervised();
    let running = exporter.start(Box::new(series::families), SystemTime::UNIX_EPOCH, tasks.guard("otlp")).unwrap();
    Started { queue, counts, running }
}

impl Started {
    fn send(&self, requests: impl IntoIterator<Item = Arc<Request>>) {
        let queue = self.queue.as_ref().unwrap();
        requests.into_iter().for_each(|request| queue.send(&request));
    }

    fn end(self) -> Arc<Counts> {
        self.running.end();
        self.counts
    }
}

/// Delivered, partial, rejected, undelivered, retried.
fn exports(counts: &Counts, signal: Signal) -> [u64; 5] {
    use Outcome::{Delivered, Partial, Rejected, Retried, Undelivered};
    [Delivered, Partial, Rejected, Undelivered, Retried].map(|outcome| counts.exports(signal, outcome))
}

/// Queue, rejected, undelivered.
fn losses(counts: &Counts) -> [u64; 3] {
    counts.losses().map(|(_, count)| count)
}

/// Soon, often, for long.
const EAGER: Pace =
    Pace { first: Duration::from_millis(5), most: Duration::from_millis(20), give_up: Duration::from_secs(60) };
