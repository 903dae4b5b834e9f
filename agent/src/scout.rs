//! The thread that looks for inference servers: at start, at each exec that is worth a look, at each process that begins
//! to listen, and from time to time at all. It reads /proc so that the pipeline need not; what it finds goes to the
//! pipeline.
#![forbid(unsafe_code)]

mod listeners;
mod pace;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    clock::thread_cpu_time,
    discover::{Discovery, Found, Rules},
    shared::Live,
    tasks::Guard,
};
use listeners::Listeners;
use pace::{Pace, SOON};

/// After an exec a server still has to load its libraries, take its title and open its port.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(8),
];
/// The first of these looks at which a program that is no engine's is asked whether it listens: most have ended by then.
const LISTENS_FROM: usize = 3;
/// Looks, and messages in either direction, that may be outstanding: what is more is left to a scan that then comes soon.
const PENDING: usize = 4096;

/// What the pipeline asks of the scout.
#[derive(Debug)]
pub enum Ask {
    /// A process ran a program.
    Exec { pid: u32, filename: Vec<u8> },
    /// A process began to listen. `network`: inode of the socket's network namespace; `socket`: its own; 0 is not known.
    Listen { pid: u32, network: u32, socket: u64, port: u16 },
    /// Some of what would have been told so was lost.
    Missed,
    /// An unrecognised process speaks a dialect.
    Wire { pid: u32, dialect: &'static str, port: u16 },
    /// There was no room for a service or a candidate, or its place in another service is free: tell of it again.
    Again { pid: u32 },
    /// New rules, after a reload.
    Rules(Box<Rules>),
}

/// What the scout tells the pipeline.
#[derive(Debug)]
pub enum Find {
    /// A service, or something new about one.
    Service(Box<Found>),
    /// An unrecognised process that listens: what it speaks will show what it is.
    Candidate(u32),
    /// The service of this root is one under earlier rules only.
    Unwanted(u32),
    /// All candidates are so under earlier rules only; those that still are follow.
    NoCandidates,
}

/// The thread and the two queues to it; dropping `asks` ends it.
pub struct Scout {
    pub asks: SyncSender<Ask>,
    pub finds: Receiver<Find>,
    live: Arc<Live>,
    thread: Option<JoinHandle<()>>,
}

struct Look {
    pid: u32,
    /// Whether its program may be an engine's; if it is none, only whether it listens is asked.
    engine: bool,
    next: usize,
    at: Instant,
}

struct State {
    discovery: Discovery,
    wire: bool,
    looks: Vec<Look>,
    listeners: Listeners,
    pace: Pace,
    known: Vec<Found>,
    /// These are told, changed or not, from that instant on or at the next scan.
    again: BTreeSet<u32>,
    again_at: Option<Instant>,
    finds: SyncSender<Find>,
    live: Arc<Live>,
}

impl State {
    /// Sends what is new or has changed; false when nobody listens any more.
    fn report(&mut self, found: Found) -> bool {
        match self.known.iter_mut().find(|known| known.process.pid == found.process.pid) {
            Some(known) if *known == found => return true,
            Some(known) => *known = found.clone(),
            None => self.known.push(found.clone()),
        }
        self.finds.send(Find::Service(Box::new(found))).is_ok()
    }

    fn look(&mut self, now: Instant) -> bool {
        let mut due: Vec<Look> = Vec::new();
        self.looks.retain_mut(|look| {
            if look.at > now {
                return true;
            }
            due.push(Look { ..*look });
            false
        });
        for look in due {
            let found = if look.engine { self.discovery.inspect(look.pid) } else { None };
            let ask = found.is_none() && self.wire && look.next >= LISTENS_FROM;
            let candidate = ask && self.discovery.candidate(look.pid);
            if candidate && self.finds.send(Find::Candidate(look.pid)).is_err() {
                return false;
            }
            let alive = std::path::Path::new(&format!("/proc/{}", look.pid)).exists();
            if alive && let Some(wait) = LOOKS.get(look.next) {
                self.looks.push(Look { next: look.next + 1, at: now + *wait, ..look });
            }
            if let Some(found) = found
                && !self.report(found)
            {
                return false;
            }
        }
        true
    }

    fn scan(&mut self) -> bool {
        self.pace.missed = false;
        let cpu = thread_cpu_time();
        let before = self.known.clone();
        let turn = self.discovery.turn(&mut self.known, self.wire);
        let going = self.tell_known(&before)
            && turn.found.into_iter().all(|found| self.report(found))
            && self.tell(turn.candidates);
        self.pace.ended(Instant::now(), thread_cpu_time().saturating_sub(cpu));
        going
    }

    /// Looks again at services with these roots; tells of them where something has changed, and of those that are to be
    /// told again.
    fn tell_changed(&mut self, roots: &BTreeSet<u32>) -> bool {
        let before = self.known.clone();
        self.discovery.refresh_roots(&mut self.known, roots);
        self.tell_known(&before)
    }

    fn tell_known(&mut self, before: &[Found]) -> bool {
        self.again_at = None;
        let again = std::mem::take(&mut self.again);
        self.known.iter().all(|found| {
            let pid = found.process.pid;
            let was = before.iter().find(|before| before.process.pid == pid);
            let is_told = was != Some(found) || again.contains(&pid);
            !is_told || self.finds.send(Find::Service(Box::new(found.clone()))).is_ok()
        })
    }

    fn tell_again(&mut self) -> bool {
        let roots = self.again.clone();
        self.tell_changed(&roots)
    }

    fn tell(&self, candidates: Vec<u32>) -> bool {
        candidates.into_iter().all(|pid| self.finds.send(Find::Candidate(pid)).is_ok())
    }

    fn look_later(&mut self, look: Look) {
        if self.looks.len() < PENDING {
            self.looks.push(look);
        } else {
            self.live.asks_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answer(&mut self, ask: Ask, now: Instant) -> bool {
        match ask {
            Ask::Exec { pid, filename } => {
                let engine = self.discovery.worth_a_look(&filename);
                if engine || self.wire {
                    self.look_later(Look { pid, engine, next: 1, at: now + LOOKS[0] });
                }
                true
            }
            // Asked before the rules changed.
            Ask::Wire { .. } if !self.wire => true,
            Ask::Wire { pid, dialect, port } => {
                let found = self.discovery.from_wire(pid, dialect, port);
                found.is_none_or(|found| self.report(found))
            }
            Ask::Listen { pid, network, socket, port } => {
                self.began_to_listen(pid, network, socket, port);
                true
            }
            Ask::Missed => {
                self.missed();
                true
            }
            Ask::Again { pid } => {
                if self.known.iter().any(|known| known.process.pid == pid) {
                    self.again.insert(pid);
                    self.again_at.get_or_insert(now + SOON);
                } else {
                    self.discovery.report_again(pid);
                }
                true
            }
            Ask::Rules(rules) => self.take_over(*rules) && self.scan(),
        }
    }

    /// Takes new rules over and tells what is not wanted under them.
    fn take_over(&mut self, rules: Rules) -> bool {
        self.wire = rules.enabled && rules.wire;
        self.pace.interval = rules.interval;
        if !self.discovery.set_rules(rules) {
            return true;
        }
        let unwanted = self.known.extract_if(.., |found| !self.discovery.is_wanted(found));
        let roots: Vec<u32> = unwanted.map(|found| found.process.pid).collect();
        // A service that ends can leave another one's processes behind.
        self.again.extend(self.known.iter().map(|found| found.process.pid));
        let told = roots.into_iter().map(Find::Unwanted).chain([Find::NoCandidates]);
        told.into_iter().all(|find| self.finds.send(find).is_ok())
    }
}

fn run(mut state: State, asks: &Receiver<Ask>) {
    loop {
        let now = Instant::now();
        let others = state.listeners.next().into_iter().chain(state.again_at);
        let wake = state.looks.iter().map(|look| look.at).chain(others).fold(state.pace.next(), Instant::min);
        let going = match asks.recv_timeout(wake.saturating_duration_since(now)) {
            Ok(ask) => state.answer(ask, Instant::now()),
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let now = Instant::now();
        let going = going && state.look(now) && state.look_at_listeners();
        let going = going && (state.again_at.is_none_or(|at| now < at) || state.tell_again());
        let going = going && (now < state.pace.next() || state.scan());
        if !going {
            return;
        }
    }
}

impl Scout {
    /// Starts the thread. `told`: from now on the kernel tells of each socket that begins to listen. `first` is what was
    /// found before; it is sent on at once.
    pub fn start(
        mut discovery: Discovery,
        rules: &Rules,
        told: bool,
        first: Vec<Found>,
        live: Arc<Live>,
        guard: Guard,
    ) -> std::io::Result<Self> {
        let (asks, asked) = sync_channel(PENDING);
        let (finds, found) = sync_channel(PENDING.max(first.len()));
        for found in &first {
            let _ = finds.send(Find::Service(Box::new(found.clone())));
        }
        if told {
            discovery.is_told_of_listeners();
        }
        let wire = rules.enabled && rules.wire;
        let mut state = State {
            discovery,
            wire,
            looks: Vec::new(),
            listeners: Listeners::new(),
            pace: Pace::new(rules.interval, told),
            known: first,
            again: BTreeSet::new(),
            again_at: None,
            finds,
            live: Arc::clone(&live),
        };
        let thread = std::thread::Builder::new().name("scout".into()).spawn(move || {
            let _guard = guard;
            let candidates = if wire { state.discovery.candidates() } else { Vec::new() };
            if state.tell(candidates) {
                run(state, &asked);
            }
        })?;
        Ok(Self { asks, finds: found, live, thread: Some(thread) })
    }

    /// Asks, without waiting; what there is no room for is counted.
    pub fn ask(&self, ask: Ask) {
        if self.asks.try_send(ask).is_err() {
            self.live.asks_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        // The thread ends when its sender goes; it is not waited for, because it may be deep in /proc.
        let (asks, _) = sync_channel(1);
        self.asks = asks;
        drop(self.thread.take());
    }
}
