//! What the pipeline publishes for scrapes and health checks: counts and gauges, each written by one thread.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use inferscope_abi::{KINDS, Kind};

use crate::{exits::Cause, serverlog::Figures, session::Stats};

/// Counts of the drain, and what the session layer holds, as of the last turn of the pipeline.
#[derive(Debug, Default)]
pub struct Live {
    events: [AtomicU64; KINDS.len()],
    pub undecodable: AtomicU64,
    pub unknown_service: AtomicU64,
    /// Processes and exchanges for which the candidates had no room, and exchanges whose service was never found.
    pub candidates_full: AtomicU64,
    /// Services for which there was no room, each once.
    pub services_refused: AtomicU64,
    /// Processes for which there was no room, each once.
    pub watch_refused: AtomicU64,
    /// What their thread had no room for.
    pub changes_lost: AtomicU64,
    /// Questions to the scout, and looks of it at new processes, for which there was no room.
    pub asks_lost: AtomicU64,
    pub batch: AtomicU64,
    /// CLOCK_MONOTONIC of the pipeline's last turn.
    pub turned_ns: AtomicU64,
    state: Mutex<Snapshot>,
}

/// LLM requests in flight of one service, server role.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    pub requests: u64,
    /// Age of the oldest.
    pub oldest_ns: u64,
    /// Since any of them got content, another one was answered, or the service had none in flight: the least.
    pub idle_ns: u64,
}

/// The session layer's figures.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    pub stats: Stats,
    pub connections: usize,
    /// Requests in flight by service and port, server role.
    pub in_flight: BTreeMap<(String, u16), u64>,
    /// Of these the LLM requests, by service; none for one that has none.
    pub flights: BTreeMap<String, Flight>,
    /// LLM requests in flight of all services, those that they send to others too.
    pub llm_in_flight: u64,
    /// Processes that ended, by service and cause.
    pub exits: BTreeMap<(String, Cause), u64>,
    /// Of these, the ones of services that are not told apart.
    pub exits_overflow: u64,
    /// What services wrote to their logs; None where that is not looked at.
    pub logs: Option<Figures>,
}

impl Live {
    /// Counts one record of the ring.
    pub fn count(&self, kind: Kind) {
        self.events[kind as usize - 1].fetch_add(1, Ordering::Relaxed);
    }

    /// Records read so far, by kind.
    pub fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS.iter().map(|(kind, label)| (*label, self.events[*kind as usize - 1].load(Ordering::Relaxed)))
    }

    /// What was refused for want of room so far, by place.
    pub fn refused(&self) -> [(&'static str, u64); 3] {
        let places = [
            ("candidates", &self.candidates_full),
            ("services", &self.services_refused),
            ("watch", &self.watch_refused),
        ];
        places.map(|(place, count)| (place, count.load(Ordering::Relaxed)))
    }

    /// Replaces the session layer's figures.
    pub fn publish(&self, snapshot: Snapshot) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// The figures as last published.
    pub fn snapshot(&self) -> Snapshot {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
