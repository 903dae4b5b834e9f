//! Takes a signal's exports to the collector one after the other, and tries again what may be tried again.
//! What the collector will not have is counted, and said once a minute.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    backlog::{Backlog, Export},
    counts::{Counts, Outcome},
    transport::{Transport, Verdict},
};

/// The longest time that a collector's wish to be left alone is heeded.
const MOST_AFTER: Duration = Duration::from_secs(300);
/// The least time between two words about a collector.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How patient attempts are.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The wait after the first failed attempt; each further one is twice as long.
    pub first: Duration,
    pub most: Duration,
    /// An export is given up when it is so old.
    pub give_up: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: Duration::from_secs(30), give_up: Duration::from_secs(300) }
    }
}

/// What one signal's deliveries share.
pub struct Deliver<'a> {
    pub backlog: &'a Backlog,
    pub transport: &'a Transport,
    pub counts: &'a Counts,
    pub pace: Pace,
    /// Closed when the agent ends: then each export has one more attempt.
    pub stop: watch::Receiver<()>,
    pub told: Told,
    /// Until when the collector wants to be left alone.
    pub quiet: Option<Instant>,
}

/// When something was last said, and whether it was that something is wrong.
#[derive(Debug, Default)]
pub struct Told {
    at: Cell<Option<Instant>>,
    down: Cell<bool>,
}

impl Told {
    /// Whether a failure is to be told now.
    fn failed(&self) -> bool {
        let now = self.at.get().is_none_or(|at| at.elapsed() >= TOLD_EVERY);
        if now {
            self.at.set(Some(Instant::now()));
            self.down.set(true);
        }
        now
    }

    /// Whether a failure that was told is over.
    fn over(&self) -> bool {
        self.down.replace(false)
    }
}

impl Deliver<'_> {
    /// Delivers until the backlog is closed and empty, or until the last attempts at the end fail.
    pub async fn run(mut self) {
        loop {
            if let Some(until) = self.quiet.take() {
                self.pause(until.saturating_duration_since(Instant::now())).await;
            }
            let Some(export) = self.backlog.next().await else { return };
            let (outcome, rejected) = self.export(&export).await;
            self.backlog.settle(outcome, rejected);
            if outcome == Outcome::Undelivered && self.stopping() {
                return;
            }
        }
    }

    /// Waits, but for the end.
    async fn pause(&mut self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = self.stop.changed() => {}
        }
    }

    fn stopping(&self) -> bool {
        self.stop.has_changed().is_err()
    }

    /// What became of an export, and how many of its items the collector did not take.
    async fn export(&mut self, export: &Export) -> (Outcome, u64) {
        let (began, mut wait) = (Instant::now(), self.pace.first);
        loop {
            let last = self.stopping();
            let (after, why) = match self.transport.send(self.backlog.signal, &export.message).await {
                Verdict::Taken { rejected: 0, .. } => {
                    if self.told.over() {
                        tracing::info!(signal = self.backlog.signal.name(), "the OTLP collector takes exports again");
                    }
                    return (Outcome::Delivered, 0);
                }
                Verdict::Taken { rejected, why } => {
                    self.tell("the OTLP collector did not take all of an export", &why);
                    return (Outcome::Partial, rejected);
                }
                Verdict::Refused { why } => {
                    self.tell("the OTLP collector refuses an export", &why);
                    return (Outcome::Rejected, export.items);
                }
                Verdict::Again { after, why } => (after, why),
            };
            self.tell("the OTLP collector takes nothing now; it is tried again for a while", &why);
            let pause = after.map_or_else(|| jittered(wait), |after| after.min(MOST_AFTER));
            self.quiet = after.map(|_| Instant::now() + pause);
            if last || began.elapsed() + pause > self.pace.give_up {
                return (Outcome::Undelivered, 0);
            }
            self.counts.export(self.backlog.signal, Outcome::Retried);
            self.pause(pause).await;
            wait = (wait * 2).min(self.pace.most);
        }
    }

    fn tell(&self, what: &str, why: &str) {
        if self.told.failed() {
            tracing::warn!(
                signal = self.backlog.signal.name(),
                why,
                "{what}: see inferscope_otlp_exports_total and where=\"otlp_..\" of inferscope_events_lost_total"
            );
        }
    }
}

/// Between half of it and all of it, so that the agents of many hosts do not come back at once.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}
