//! Encoded exports of one signal that wait for the collector: bounded in number and in bytes, the oldest goes first.
//! What has no room is counted as undelivered.

use std::{cell::RefCell, collections::VecDeque, sync::Arc};

use bytes::Bytes;
use tokio::sync::Notify;

use super::counts::{Counts, Outcome, Signal};

/// Exports of one signal that wait.
pub const EXPORTS: usize = 64;
/// Their bytes.
pub const BYTES: usize = 8 << 20;

/// An encoded export.
#[derive(Debug, Clone)]
pub struct Export {
    pub message: Bytes,
    /// Spans, log records or points in it.
    pub items: u64,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Export>,
    bytes: usize,
    /// Taken, and not settled yet.
    taken: Option<u64>,
    closed: bool,
}

/// The exports of one signal; belongs to one thread.
#[derive(Debug)]
pub struct Backlog {
    pub signal: Signal,
    counts: Arc<Counts>,
    state: RefCell<State>,
    changed: Notify,
}

impl Backlog {
    /// An empty one.
    pub fn new(signal: Signal, counts: Arc<Counts>) -> Self {
        Self { signal, counts, state: RefCell::default(), changed: Notify::new() }
    }

    /// Adds an export.
    pub fn push(&self, export: Export) {
        let mut state = self.state.borrow_mut();
        state.bytes += export.message.len();
        state.waiting.push_back(export);
        while state.waiting.len() > EXPORTS || state.bytes > BYTES {
            self.drop_oldest(&mut state);
        }
        self.changed.notify_one();
    }

    /// Drops what waits.
    pub fn clear(&self) {
        let mut state = self.state.borrow_mut();
        while self.drop_oldest(&mut state) {}
    }

    fn drop_oldest(&self, state: &mut State) -> bool {
        let Some(oldest) = state.waiting.pop_front() else { return false };
        state.bytes -= oldest.message.len();
        self.give_up(oldest.items);
        true
    }

    fn give_up(&self, items: u64) {
        self.counts.export(self.signal, Outcome::Undelivered);
        self.counts.lose(self.signal, &self.counts.undelivered, items);
    }

    /// Nothing is added any more.
    pub fn close(&self) {
        self.state.borrow_mut().closed = true;
        self.changed.notify_one();
    }

    /// The next export, which must be settled; waits for one. None if it is closed and empty.
    pub async fn next(&self) -> Option<Export> {
        loop {
            {
                let mut state = self.state.borrow_mut();
                if let Some(export) = state.waiting.pop_front() {
                    state.bytes -= export.message.len();
                    state.taken = Some(export.items);
                    return Some(export);
                }
                if state.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Counts what became of the export that was taken, of which so many items are lost.
    pub fn settle(&self, outcome: Outcome, rejected: u64) {
        let items = self.state.borrow_mut().taken.take().unwrap_or_default();
        match outcome {
            Outcome::Undelivered => self.give_up(items),
            outcome => {
                self.counts.export(self.signal, outcome);
                self.counts.lose(self.signal, &self.counts.rejected, rejected.min(items));
            }
        }
    }

    /// Counts what is left as undelivered; how many items that are.
    pub fn abandon(&self) -> u64 {
        let mut state = self.state.borrow_mut();
        let waiting: u64 = state.waiting.iter().map(|export| export.items).sum();
        let taken = state.taken.take();
        if let Some(items) = taken {
            self.give_up(items);
        }
        while self.drop_oldest(&mut state) {}
        waiting + taken.unwrap_or_default()
    }
}
