//! OTLP: finished requests as spans and log records, events as log records, and the families of `/metrics`, to a
//! collector.
//!
//! A thread of its own takes both from a bounded queue. Whatever the collector does costs counted drops and nothing
//! else: neither the pipeline nor the end of the process waits for it.
#![forbid(unsafe_code)]

mod attributes;
mod backlog;
mod content;
mod counts;
mod deliver;
mod grpc;
mod logs;
mod metrics;
mod names;
mod resource;
mod spans;
mod split;
mod starts;
#[cfg(test)]
mod tests;
mod tls;
mod trace;
mod transport;
mod worker;

use std::{
    io,
    sync::{Arc, atomic::Ordering, mpsc as blocking},
    time::{Duration, SystemTime},
};

use ::prometheus::proto::MetricFamily;
use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};

pub use counts::{Counts, Outcome, Signal};
pub use deliver::Pace;
pub use grpc::Encoded;

use self::{resource::Host, transport::Transport, worker::Worker};
use crate::{config, events::Record, tasks::Guard};

/// How long the end waits for the collector.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads the families that `/metrics` has now.
pub type Scrape = Box<dyn Fn() -> Vec<MetricFamily> + Send>;

/// The sending side.
#[derive(Debug, Clone)]
pub struct Queue {
    records: mpsc::Sender<Record>,
    counts: Arc<Counts>,
}

impl Queue {
    /// Queues a request or an event; never waits. One that does not fit is counted.
    pub fn send(&self, record: impl Into<Record>) {
        if self.records.try_send(record.into()).is_err() {
            self.counts.queue.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// An exporter that is set up and not started.
pub struct Exporter {
    config: config::Otlp,
    transport: Transport,
    queue: Queue,
    records: mpsc::Receiver<Record>,
    pace: Pace,
}

/// The running worker. Dropped, it ends by itself.
#[derive(Debug)]
pub struct Running {
    /// Dropped to end it.
    stop: watch::Sender<()>,
    over: blocking::Receiver<u64>,
}

impl Exporter {
    /// None if no endpoint is set. Errors: a configuration that cannot work, with the key that is wrong.
    pub fn open(config: &config::Otlp) -> Result<Option<Self>> {
        let Some(endpoint) = &config.endpoint else { return Ok(None) };
        let transport = Transport::new(config, endpoint).context("OTLP cannot be exported")?;
        let (records, received) = mpsc::channel(config.queue as usize);
        let queue = Queue { records, counts: Arc::default() };
        Ok(Some(Self { config: config.clone(), transport, queue, records: received, pace: Pace::default() }))
    }

    /// Where records go in; none if neither spans nor log records are wanted.
    pub fn queue(&self) -> Option<Queue> {
        (self.config.traces || self.config.logs).then(|| self.queue.clone())
    }

    /// What becomes of exports.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.queue.counts)
    }

    /// Starts the thread, which has `held` until it ends; the agent's sums begin at `began`. Errors: the system refuses a
    /// thread.
    pub fn start(self, scrape: Scrape, began: SystemTime, held: Guard) -> io::Result<Running> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(());
        let (ending, over) = blocking::sync_channel(1);
        let worker = Worker {
            config: self.config,
            transport: self.transport,
            counts: self.queue.counts,
            host: Host::this(),
            records: self.records,
            scrape,
            began,
            pace: self.pace,
            stop: stopped,
        };
        std::thread::Builder::new().name("otlp".into()).spawn(move || {
            let _held = held;
            let left = runtime.block_on(worker.run());
            // A name that is still being looked up is not waited for.
            runtime.shutdown_background();
            // Nobody listens where the agent did not start.
            let _ = ending.send(left);
        })?;
        Ok(Running { stop, over })
    }
}

impl Running {
    /// Lets the worker send what it has, for a little while, and says what is lost then. Nobody may send any more.
    pub fn end(self) {
        drop(self.stop);
        // The worker keeps the time itself; it fails to answer only after a panic, which has told itself.
        let left = self.over.recv_timeout(2 * PATIENCE).unwrap_or_default();
        if left != 0 {
            tracing::warn!(
                left,
                "spans, log records and points are lost: the OTLP collector did not take them in time"
            );
        }
    }
}
