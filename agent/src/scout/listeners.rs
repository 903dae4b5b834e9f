//! Processes that began to listen, by the kernel's word: each is looked at once it did, whatever it is called.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{Find, PENDING, State, pace::Credit};
use crate::clock::thread_cpu_time;

/// Those that are still to be looked at, oldest first, and what looks may cost.
#[derive(Debug)]
pub(super) struct Listeners {
    pids: VecDeque<u32>,
    credit: Credit,
}

impl Listeners {
    pub fn new() -> Self {
        Self { pids: VecDeque::new(), credit: Credit::new(Instant::now()) }
    }

    /// When the next one is looked at.
    pub fn next(&self) -> Option<Instant> {
        (!self.pids.is_empty()).then(|| self.credit.from())
    }

    /// False if there is no room.
    fn push(&mut self, pid: u32) -> bool {
        let known = self.pids.contains(&pid);
        let room = self.pids.len() < PENDING;
        if !known && room {
            self.pids.push_back(pid);
        }
        known || room
    }
}

impl State {
    pub(super) fn began_to_listen(&mut self, pid: u32, network: u32, socket: u64, port: u16) {
        if !self.discovery.begins_to_listen(network, socket, port) {
            self.missed();
        }
        if !self.listeners.push(pid) {
            self.live.asks_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Something that the kernel told did not come through: what was known of listeners is not all any more, and all
    /// processes are looked at before long.
    pub(super) fn missed(&mut self) {
        self.pace.missed = true;
        self.discovery.look_at_all();
        if self.pace.told {
            self.discovery.is_told_of_listeners();
        }
    }

    /// Looks at those that are due; false when nobody hears of it any more.
    pub(super) fn look_at_listeners(&mut self) -> bool {
        while self.listeners.next().is_some_and(|at| at <= Instant::now()) {
            let Some(pid) = self.listeners.pids.pop_front() else { return true };
            let before = thread_cpu_time();
            let going = self.look_at_listener(pid);
            let took: Duration = thread_cpu_time().saturating_sub(before);
            self.listeners.credit.spend(Instant::now(), took);
            if !going {
                return false;
            }
        }
        true
    }

    fn look_at_listener(&mut self, pid: u32) -> bool {
        let is_root = |pid: u32| self.known.iter().any(|known| known.process.pid == pid);
        if let Some(root) = self.discovery.root_among(pid, is_root) {
            return self.tell_changed(&[root].into());
        }
        if let Some(found) = self.discovery.inspect(pid) {
            return self.report(found);
        }
        let candidate = self.wire && self.discovery.candidate(pid);
        !candidate || self.finds.send(Find::Candidate(pid)).is_ok()
    }
}
