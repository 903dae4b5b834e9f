//! Lines about requests and events to a file, a pipe or a terminal, written by a thread of its own: an output that does not take
//! them costs counted lines, never the pipeline, and never the end of the process.
//! A line is written whole or taken back; where it cannot be, the next one begins on a line of its own.
#![forbid(unsafe_code)]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::output::Output;
use crate::events::Record;

/// Lines that may wait for the writer.
pub const QUEUE: usize = 16_384;
/// Bytes that are put together at most.
const BATCH_BYTES: usize = 64 << 10;
/// How long a line may wait for others.
const TOGETHER: Duration = Duration::from_millis(100);
/// The least time between two words about an output that does not take lines.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Writes one line with its end.
pub type Format = fn(&Record, &mut Vec<u8>) -> io::Result<()>;
/// Hears of an output that fails, at most once a minute, and then of it that it takes lines again.
pub type Told = fn(Result<(), &io::Error>);

#[derive(Debug, Default)]
struct Counts {
    queued: AtomicU64,
    /// Taken off the queue, and written or lost since.
    settled: AtomicU64,
    lost: Arc<AtomicU64>,
    failing: AtomicBool,
    given_up: AtomicBool,
}

/// The sending side.
#[derive(Debug, Clone)]
pub struct Queue {
    records: SyncSender<Record>,
    counts: Arc<Counts>,
}

impl Queue {
    /// Queues a line; never waits. One that does not fit is counted.
    pub fn send(&self, record: impl Into<Record>) {
        let counter = match self.records.try_send(record.into()) {
            Ok(()) => &self.counts.queued,
            Err(_) => &self.counts.lost,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The running writer. Dropped, it ends when every [`Queue`] is gone.
#[derive(Debug)]
pub struct Lines {
    queue: Queue,
    over: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Lines {
    /// Starts the thread `task`, which has `held` until it ends. Errors: the system refuses a thread.
    pub fn start(
        task: &'static str,
        out: impl Output,
        format: Format,
        told: Told,
        held: impl Send + 'static,
    ) -> io::Result<Lines> {
        let (records, received) = sync_channel(QUEUE);
        let (ending, over) = sync_channel::<()>(0);
        let queue = Queue { records, counts: Arc::default() };
        let mut writer = Writer {
            torn: out.ends_torn(),
            out,
            counts: Arc::clone(&queue.counts),
            format,
            told,
            told_at: None,
            down: false,
            batch: Vec::with_capacity(BATCH_BYTES),
            ends: Vec::new(),
        };
        let thread = std::thread::Builder::new().name(task.into()).spawn(move || {
            let _held = (held, ending);
            writer.run(&received);
        })?;
        Ok(Lines { queue, over, thread })
    }

    /// Another way into the queue.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Counts lines that were not written.
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.queue.counts.lost)
    }

    /// Whether the output did not take what was written last.
    pub fn failing(&self) -> bool {
        self.queue.counts.failing.load(Ordering::Relaxed)
    }

    /// Lets the writer finish, for at most `patience`; how many lines are left then, which are counted as lost. Every
    /// other [`Queue`] must be gone.
    pub fn end(self, patience: Duration) -> u64 {
        let Lines { queue: Queue { records, counts }, over, thread } = self;
        drop(records);
        if over.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            counts.given_up.store(true, Ordering::Relaxed);
        } else {
            // A panic has told itself; what it left is counted below.
            let _ = thread.join();
        }
        let left = counts.queued.load(Ordering::Relaxed).saturating_sub(counts.settled.load(Ordering::Relaxed));
        counts.lost.fetch_add(left, Ordering::Relaxed);
        left
    }
}

struct Writer<O> {
    out: O,
    /// Half a line stands at the end of the output.
    torn: bool,
    counts: Arc<Counts>,
    format: Format,
    told: Told,
    told_at: Option<Instant>,
    /// That the output fails was told last.
    down: bool,
    batch: Vec<u8>,
    /// Where each line of the batch ends.
    ends: Vec<usize>,
}

impl<O: Output> Writer<O> {
    fn run(&mut self, records: &Receiver<Record>) {
        while let Ok(first) = records.recv() {
            self.add(&first);
            let until = Instant::now() + TOGETHER;
            while self.batch.len() < BATCH_BYTES
                && let Ok(next) = records.recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                self.add(&next);
            }
            self.write_batch();
            if self.counts.given_up.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn add(&mut self, record: &Record) {
        let begin = self.batch.len();
        match (self.format)(record, &mut self.batch) {
            Ok(()) => self.ends.push(self.batch.len()),
            Err(_) => {
                self.batch.truncate(begin);
                self.settle(1, 1);
            }
        }
    }

    fn settle(&self, lines: usize, lost: usize) {
        self.counts.settled.fetch_add(lines as u64, Ordering::Relaxed);
        self.counts.lost.fetch_add(lost as u64, Ordering::Relaxed);
    }

    /// Writes the batch as far as the output takes it, and counts the rest.
    fn write_batch(&mut self) {
        let (mut bytes, mut lines) = (0, 0);
        let result = self.write_lines(&mut bytes, &mut lines);
        let begin = lines.checked_sub(1).map_or(0, |last| self.ends[last]);
        if bytes > begin {
            self.torn = !self.out.take_back((bytes - begin) as u64);
        }
        // What is left when the end did not wait was counted there.
        if !self.counts.given_up.load(Ordering::Relaxed) {
            self.settle(self.ends.len() - lines, self.ends.len() - lines);
        }
        self.batch.clear();
        self.ends.clear();
        self.tell(result);
    }

    fn tell(&mut self, result: io::Result<()>) {
        self.counts.failing.store(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if self.told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) => {
                self.told_at = Some(Instant::now());
                self.down = true;
                (self.told)(Err(&error));
            }
            Ok(()) if std::mem::take(&mut self.down) => (self.told)(Ok(())),
            _ => {}
        }
    }

    /// Counts bytes and whole lines as they are written.
    fn write_lines(&mut self, bytes: &mut usize, lines: &mut usize) -> io::Result<()> {
        if self.torn {
            self.out.write(b"\n")?;
            self.torn = false;
        }
        while let Some(end) = self.ends.get(*lines)
            && !self.counts.given_up.load(Ordering::Relaxed)
        {
            let most = *bytes + self.out.at_once();
            // As many whole lines as go at once, or a part of one that is longer.
            let upto = self.ends[*lines..].iter().take_while(|end| **end <= most).last().unwrap_or(end);
            let part = *bytes..(*upto).min(most);
            *bytes += self.out.write(&self.batch[part])?;
            while self.ends.get(*lines).is_some_and(|end| *end <= *bytes) {
                *lines += 1;
                self.settle(1, 0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "lines_test.rs"]
mod tests;
