//! The worker's loop: gathers records to batches, reads the metrics at every interval, encodes both for their backlogs,
//! and delivers these side by side. One thread does all of it, and none of it waits for another.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost::Message;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use super::{
    PATIENCE, Scrape,
    backlog::{Backlog, Export},
    counts::{Counts, Signal},
    deliver::{Deliver, Pace, Told},
    logs, metrics,
    resource::Host,
    spans,
    starts::Starts,
    trace::Finished,
    transport::Transport,
};
use crate::{
    clock::unix_offset_ns,
    config::Otlp,
    events::{Event, Record},
};

/// Records in one export at most.
const BATCH: usize = 512;
/// How long a record may wait for others.
const TOGETHER: Duration = Duration::from_secs(1);
/// How long none is looked for after some came: a wake-up for each would cost more than what is done for it.
const PAUSE: Duration = Duration::from_millis(100);

/// Everything that the thread owns.
pub struct Worker {
    pub config: Otlp,
    pub transport: Transport,
    pub counts: Arc<Counts>,
    pub host: Host,
    pub records: mpsc::Receiver<Record>,
    pub scrape: Scrape,
    pub began: SystemTime,
    pub pace: Pace,
    /// Closed when the agent ends.
    pub stop: watch::Receiver<()>,
}

struct Backlogs {
    traces: Backlog,
    metrics: Backlog,
    logs: Backlog,
}

impl Worker {
    /// Works until the agent ends, and a little longer; how many spans, log records and points are left then, which are
    /// counted.
    pub async fn run(mut self) -> u64 {
        let backlog = |signal| Backlog::new(signal, Arc::clone(&self.counts));
        let backlogs = Backlogs {
            traces: backlog(Signal::Traces),
            metrics: backlog(Signal::Metrics),
            logs: backlog(Signal::Logs),
        };
        let (counts, stop) = (Arc::clone(&self.counts), self.stop.clone());
        let (transport, pace) = (&self.transport, self.pace);
        // The next export has the same sums.
        let newest = Pace { give_up: pace.give_up.min(self.config.interval), ..pace };
        let deliver = |backlog, pace| {
            let (stop, told) = (stop.clone(), Told::default());
            Deliver { backlog, transport, counts: &counts, pace, stop, told, quiet: None }.run()
        };
        let work = async {
            let gather = Gather { config: &self.config, counts: &counts, host: &self.host, backlogs: &backlogs };
            tokio::join!(
                gather.run(&mut self.records, &self.scrape, self.began, stop.clone()),
                deliver(&backlogs.traces, pace),
                deliver(&backlogs.metrics, newest),
                deliver(&backlogs.logs, pace),
            );
        };
        tokio::select! {
            () = work => {}
            () = overdue(stop.clone()) => {}
        }
        [&backlogs.traces, &backlogs.metrics, &backlogs.logs].map(Backlog::abandon).iter().sum()
    }
}

/// Done when the end has taken too long.
async fn overdue(mut stop: watch::Receiver<()>) {
    while stop.changed().await.is_ok() {}
    tokio::time::sleep(PATIENCE).await;
}

struct Gather<'a> {
    config: &'a Otlp,
    counts: &'a Counts,
    host: &'a Host,
    backlogs: &'a Backlogs,
}

impl Gather<'_> {
    async fn run(
        &self,
        records: &mut mpsc::Receiver<Record>,
        scrape: &Scrape,
        began: SystemTime,
        mut stop: watch::Receiver<()>,
    ) {
        let (mut batch, mut starts) = (Vec::with_capacity(BATCH), Starts::new(unix_ns(began)));
        let mut ticks = interval_at(Instant::now() + self.config.interval, self.config.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut open, mut due) = (true, Instant::now());
        let mut next = due;
        loop {
            let room = BATCH - batch.len();
            tokio::select! {
                taken = async {
                    sleep_until(next).await;
                    records.recv_many(&mut batch, room).await
                }, if open => {
                    open = taken != 0;
                    if taken == batch.len() {
                        due = Instant::now() + TOGETHER;
                    }
                    // More than fits may be there.
                    next = Instant::now() + if taken == room { Duration::ZERO } else { PAUSE };
                }
                () = sleep_until(due), if !batch.is_empty() => self.records(&mut batch),
                _ = ticks.tick() => self.metrics(scrape, &mut starts),
                _ = stop.changed() => break,
            }
            if batch.len() == BATCH {
                self.records(&mut batch);
            }
        }
        records.close();
        while records.recv_many(&mut batch, BATCH).await != 0 {
            self.records(&mut batch);
        }
        self.records(&mut batch);
        self.metrics(scrape, &mut starts);
        for backlog in [&self.backlogs.traces, &self.backlogs.metrics, &self.backlogs.logs] {
            backlog.close();
        }
    }

    /// Empties the batch into the backlogs.
    fn records(&self, batch: &mut Vec<Record>) {
        let offset_ns = unix_offset_ns();
        let (mut finished, mut events): (Vec<Finished<'_>>, Vec<&Event>) = (Vec::new(), Vec::new());
        for record in batch.iter() {
            match record {
                Record::Request(request, content) => finished.push(Finished::new(request, content.as_deref())),
                Record::Event(event) => events.push(event),
            }
        }
        if self.config.traces {
            let sampled = finished.iter().filter(|one| one.sampled());
            for (message, items) in spans::exports(sampled, self.host, offset_ns) {
                push(&self.backlogs.traces, &message, items);
            }
            let unsampled = finished.iter().filter(|one| !one.sampled()).count();
            self.counts.unsampled.fetch_add(unsampled as u64, Ordering::Relaxed);
        }
        if self.config.logs {
            let now_ns = unix_ns(SystemTime::now());
            for (message, items) in logs::exports(&finished, &events, self.host, offset_ns, now_ns) {
                push(&self.backlogs.logs, &message, items);
            }
        }
        batch.clear();
    }

    /// Puts what the metrics say now in place of what they said before.
    fn metrics(&self, scrape: &Scrape, starts: &mut Starts) {
        if !self.config.metrics {
            return;
        }
        self.backlogs.metrics.clear();
        let families = scrape();
        let read_ns = unix_ns(SystemTime::now());
        let starts = starts.turn(&families, read_ns);
        for (message, points) in metrics::exports(&families, &starts, read_ns, self.host) {
            push(&self.backlogs.metrics, &message, points);
        }
    }
}

fn push(backlog: &Backlog, message: &impl Message, items: u64) {
    backlog.push(Export { message: message.encode_to_vec().into(), items });
}

fn unix_ns(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
