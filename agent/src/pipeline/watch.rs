//! Who is watched: what discovery finds becomes services and processes of the registry and of the kernel side, and what
//! has ended or is not wanted any more leaves both. A refusal for want of room is counted and tried again.

use std::sync::atomic::Ordering;

use super::{Pipeline, finish};
use crate::{
    candidates::CANDIDATES,
    changes::{Exit, Tell},
    clock::monotonic_ns,
    discover::{Found, runs_python, workers},
    scout::Ask,
};

/// Engines whose HTTP front and core are processes that speak ZMTP.
const ZMTP_ENGINES: [&str; 2] = ["vllm", "sglang"];
/// Workers of a candidate that are looked at.
const WORKERS: usize = 64;
/// Looks for what was made while its parent's watch ended; the second finds nothing, as a rule.
const ROUNDS: usize = 4;

impl Pipeline {
    /// Discovery found a service, or something new about one.
    pub(super) fn found(&mut self, found: Found) {
        let now = monotonic_ns();
        let root = found.process.pid;
        let processes: Vec<u32> = std::iter::once(root).chain(found.children.iter().copied()).collect();
        if let Some(index) = self.registry.place_of(root) {
            self.registry.update(index, found);
            self.tell_service(index, root, false);
            self.expect(index);
            processes.iter().for_each(|pid| self.adopt(*pid, index, root, now));
        } else if let Some(index) = self.begin(found) {
            self.expect(index);
            processes.iter().for_each(|pid| self.adopt(*pid, index, root, now));
            if !self.registry.withdraw_empty(index, now) {
                self.tell_service(index, root, true);
                tracing::info!(service = self.registry.name(index).map(|(name, _)| name), pid = root, "watching");
                // A child made between the look and the watch is found by asking again: from here on the kernel follows.
                let late = self.registry.late_children(root);
                late.into_iter().for_each(|pid| self.adopt(pid, index, root, now));
            }
        }
        self.settle();
    }

    /// The kernel side looks for messages between front and core only where the engine has such, and for waits for the
    /// interpreter only where there is one.
    fn expect(&mut self, index: u32) {
        let engine = self.registry.name(index).map(|(_, engine)| engine);
        let zmtp = engine.is_some_and(|engine| ZMTP_ENGINES.contains(&engine));
        let python = self.registry.entry(index).is_some_and(|entry| runs_python(&entry.found));
        self.watcher.expect(index, zmtp, python);
    }

    /// Changes are looked for in what discovery found of a service's root process.
    fn tell_service(&self, index: u32, root: u32, begins: bool) {
        let Some(found) = self.registry.entry(index).map(|entry| &entry.found) else { return };
        if found.process.pid == root {
            let (service, found) = (found.service.clone(), Box::new(found.clone()));
            self.changes.tell(Tell::Service { index, service, found, begins });
        }
    }

    /// A place for a new service; None if there is no room.
    fn begin(&mut self, found: Found) -> Option<u32> {
        let (service, pid) = (found.service.clone(), found.process.pid);
        let index = self.registry.add(found);
        match index {
            Some(index) => {
                for service in self.registry.take_replaced() {
                    self.forget_series(service);
                }
                // What is left of the one that had this place before: a child of which nobody heard.
                self.unwatch_all(index);
                self.reader.clear_service(index, monotonic_ns());
                if let (Some(probes), Some((name, _))) = (&self.probes, self.registry.name(index)) {
                    probes.service(index, name);
                }
                self.sinks.used.forget(index);
            }
            None if self.refused.service(pid) => {
                self.live.services_refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(service, pid, "no room to watch one more service: raise limits.services");
            }
            None => {}
        }
        index
    }

    /// Watches a process as part of a service; if it is refused, the service's `root` is to be found again.
    fn adopt(&mut self, pid: u32, index: u32, root: u32, now: u64) {
        self.candidates.remove(pid);
        if self.registry.service_of(pid).is_some() {
            return;
        }
        if let Some(process) = self.reader.process(pid) {
            if self.registry.entry(process.service).is_some() {
                // The event of its fork is in the ring still.
                return self.registry.add_process(process.service, pid);
            }
            // A candidate, or the child of one.
            if self.watcher.hand_over(pid, index) {
                return self.registry.add_process(index, pid);
            }
        }
        match self.watcher.watch(pid, index, now) {
            Ok(()) => self.registry.add_process(index, pid),
            Err(error) => self.refuse(pid, root, &error),
        }
    }

    fn refuse(&mut self, pid: u32, root: u32, error: &anyhow::Error) {
        if self.refused.process(pid, root) {
            self.live.watch_refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, pid, "cannot watch a process");
        }
    }

    /// A process that listens and is not recognised: watched, and shown only once it speaks a dialect. So are its workers,
    /// which may have each connection from it and listen on nothing themselves.
    pub(super) fn candidate(&mut self, pid: u32) {
        if self.listens_to(pid) {
            workers(pid, WORKERS).into_iter().for_each(|worker| _ = self.listens_to(worker));
        }
    }

    /// Watches a process as a candidate. False if it is a service's, is watched already, as the child of another
    /// candidate say, or if there is no room, which is counted.
    fn listens_to(&mut self, pid: u32) -> bool {
        if self.registry.service_of(pid).is_some() {
            return false;
        }
        if !self.candidates.add(pid) {
            if self.refused.candidate(pid) {
                self.live.candidates_full.fetch_add(1, Ordering::Relaxed);
            }
            return false;
        }
        if self.watcher.is_watched(pid) {
            return false;
        }
        let watched = self.watcher.watch(pid, CANDIDATES, monotonic_ns());
        if let Err(error) = &watched {
            self.candidates.remove(pid);
            self.refuse(pid, pid, error);
        }
        watched.is_ok()
    }

    /// Requests that candidates answered go to the services that discovery has made of them meanwhile.
    fn settle(&mut self) {
        let Self { candidates, registry, judging, sinks, live, .. } = self;
        for exchange in candidates.settle(|pid| registry.service_of(pid)) {
            finish(registry, judging, sinks, live, exchange);
        }
    }

    /// No rule wants this service any more.
    pub(super) fn let_go(&mut self, root: u32) {
        let Some(index) = self.registry.rooted_at(root) else { return };
        self.unwatch_all(index);
        // What was captured until now is in the ring still, and is this service's.
        self.drain();
        let processes = self.registry.processes(index);
        self.sessions.forget(&processes);
        let at_ns = monotonic_ns();
        self.registry.let_go(index, at_ns);
        self.changes.tell(Tell::LetGo { pid: root, at_ns });
    }

    /// No rule wants candidates any more, or not these.
    pub(super) fn let_candidates_go(&mut self) {
        let processes = self.unwatch_all(CANDIDATES);
        self.drain();
        self.sessions.forget(&processes);
        self.candidates.clear();
    }

    /// Ends the watch of all processes of a service, children included that were made meanwhile.
    fn unwatch_all(&mut self, service: u32) -> Vec<u32> {
        let mut all = Vec::new();
        for _ in 0..ROUNDS {
            let watched = self.watcher.of_service(service);
            if watched.is_empty() {
                break;
            }
            watched.iter().for_each(|pid| self.watcher.unwatch(*pid));
            all.extend(watched);
        }
        all
    }

    /// What was counted of a service until now.
    fn forget_series(&mut self, service: String) {
        self.sinks.metrics.forget(&service);
        self.exits.forget(&service);
        if let Some(probes) = &self.probes {
            probes.forget(&service);
        }
        if let Some(logs) = &mut self.logs {
            logs.forget(&service);
        }
        self.changes.tell(Tell::Forget { service });
    }

    /// What comes due with time: idle connections, processes that are gone, refusals, series of ended services.
    pub(super) fn tick(&mut self, now: u64) {
        let Self { sessions, registry, judging, sinks, live, watcher, changes, .. } = self;
        sessions.tick(now, &mut |exchange| finish(registry, judging, sinks, live, exchange));
        for pid in registry.vanished() {
            // The kernel side still watches what ended before it was watched: its id may be another process next.
            watcher.unwatch(pid);
            sessions.process_exit(pid, now, &mut |exchange| finish(registry, judging, sinks, live, exchange));
            if let Some((service, _)) = registry.service_of(pid).and_then(|index| registry.name(index)) {
                let (service, exit) = (service.to_owned(), Exit { code: None, oom: None });
                changes.tell(Tell::Exit { service, pid, at_ns: now, exit });
            }
            registry.remove_process(pid, now);
        }
        for pid in self.candidates.given_up() {
            // Children that it made since, and that listen on nothing themselves, are what it is.
            let theirs = |child: &u32| registry.service_of(*child).is_none() && !self.candidates.has(*child);
            // First: what it makes from here on is not watched.
            watcher.unwatch(pid);
            workers(pid, usize::MAX).into_iter().filter(theirs).for_each(|child| watcher.unwatch(child));
        }
        for service in registry.take_expired(now) {
            self.forget_series(service);
        }
        self.settle();
        let expired = self.candidates.expire(now);
        self.live.candidates_full.fetch_add(expired, Ordering::Relaxed);
        self.unheard.tell(&self.reader, &self.live, &self.scout);
        let Self { refused, registry, scout, .. } = self;
        refused.ask_for(registry.take_orphans());
        refused.tick(|pid| scout.asks.try_send(Ask::Again { pid }).is_ok());
    }
}
