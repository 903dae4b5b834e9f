//! The map of the agent: one thread takes the ring's records through every stage, and owns all state on the way.
//!
//! ```text
//! ring -> decode -> registry (who)  -> watcher (kernel side)
//!                -> sessions (what) -> correlate -> metrics, records, OTLP, attach
//! scout (thread) -> finds ----^             scrapes (HTTP) read: services, live, metrics, kernel counters, polls
//! ```
#![forbid(unsafe_code)]

mod closes;
mod logs;
mod progress;
mod timeline;
mod unheard;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use inferscope_abi::{ExecEvent, ExitEvent, Kind, ListenEvent};

use crate::{
    candidates::{CANDIDATES, Candidates},
    changes::{Exit, Tell, Teller, Used},
    clock::monotonic_ns,
    correlate::{self, GpuHistory, Judge, Labels, Request},
    custom::Probes,
    decode::{Event, decode},
    events::Record,
    exits::{Cause, Exits, KILL},
    export::{lines::Queue, otlp, perfetto::Timeline, requests::RequestMetrics, web::History},
    poll::nvml::NvmlHandle,
    privacy::Guard,
    probe::{CounterReader, CpuEvents, Watcher},
    profile::{Feed, Times},
    refused::Refused,
    registry::Registry,
    ring::Ring,
    scout::{Ask, Find, Scout},
    services::SharedServices,
    session::{
        Sessions,
        exchange::{Ending, Exchange, Role},
    },
    shared::{Live, Snapshot},
};

/// Records of one turn.
const BATCH: usize = 65_536;
/// The least time between two turns: records gather meanwhile, so that a busy server does not mean a busy agent.
const PAUSE: Duration = Duration::from_millis(10);
/// The time between two turns if the kernel side does not ask for one before: each takes a CPU from whatever runs there.
const PATIENCE: Duration = Duration::from_millis(100);
const PUBLISH_NS: u64 = 200_000_000;
const TICK_NS: u64 = 1_000_000_000;
const CLOSES_NS: u64 = 10 * TICK_NS;
const SWEEP_NS: u64 = 60 * TICK_NS;

pub use logs::Logs;
pub use progress::Progress;
pub use unheard::Unheard;

/// Sees every finished LLM request; must not wait.
pub type Each = Box<dyn FnMut(&Arc<Request>) + Send>;

/// Where finished requests go.
pub struct Sinks {
    pub metrics: Arc<RequestMetrics>,
    pub progress: Progress,
    /// For the page and the API.
    pub history: Arc<History>,
    pub records: Option<Queue>,
    pub otlp: Option<otlp::Queue>,
    /// What of contents may go into records.
    pub guard: Arc<Guard>,
    /// For `attach`.
    pub watcher: Option<Each>,
    /// Hears of requests that load something, and which models were used.
    pub changes: Teller,
    pub used: Used,
}

/// What gives each request its verdict, and what the GPUs did meanwhile.
#[derive(Default)]
pub struct Judging {
    pub judge: Judge,
    pub gpus: GpuHistory,
    pub nvml: Option<Arc<NvmlHandle>>,
    /// For what ends without a record.
    pub counters: Option<CounterReader>,
}

/// Every stage with its state, owned by its thread.
pub struct Pipeline {
    /// Hears of every run of a thread and more, if there is one.
    pub timeline: Option<Arc<Timeline>>,
    /// Takes stacks, if they are wanted.
    pub profile: Option<Feed>,
    pub ring: Ring,
    pub watcher: Watcher,
    pub reader: CounterReader,
    /// Looks now and then which CPUs there are.
    pub cpu_events: CpuEvents,
    /// Metrics of the configuration that the kernel side counts.
    pub probes: Option<Arc<Probes>>,
    pub sessions: Sessions,
    pub registry: Registry,
    pub judging: Judging,
    pub scout: Scout,
    pub sinks: Sinks,
    pub services: SharedServices,
    pub live: Arc<Live>,
    pub candidates: Candidates,
    pub refused: Refused,
    pub exits: Exits,
    pub unheard: Unheard,
    /// None: what the servers write to their logs is not looked at.
    pub logs: Option<Logs>,
    pub changes: Teller,
    pub stop: Arc<AtomicBool>,
}

/// A request that began while its process was a candidate ends as the service's that it belongs to by now.
fn taken_over(registry: &Registry, mut exchange: Exchange) -> Exchange {
    if exchange.service == CANDIDATES {
        exchange.service = registry.service_of(exchange.tgid).unwrap_or(CANDIDATES);
    }
    exchange
}

/// Ends requests of candidates: the first one in a dialect asks for the service that they belong to.
fn finish_candidate(candidates: &mut Candidates, scout: &Scout, live: &Live, exchange: Exchange) {
    if let Some((dialect, port)) = candidates.keep(&exchange) {
        if candidates.asks(exchange.tgid, exchange.end.at_ns) {
            scout.ask(Ask::Wire { pid: exchange.tgid, dialect, port });
        }
        if !candidates.push(exchange) {
            live.candidates_full.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the service's threads did since the last record of a response that was cut off, by its counters as they are now.
/// Not those of another service that has its place by now, and not those that all candidates share.
fn take_on(registry: &Registry, counters: Option<&CounterReader>, exchange: &mut Exchange) {
    let service = exchange.end.service;
    if exchange.ending != Ending::Complete
        && service != CANDIDATES
        && registry.service_of(exchange.tgid) == Some(service)
        && let Some(sums) = counters.and_then(|counters| counters.service(service))
    {
        correlate::take_on(&mut exchange.end, &sums.at(monotonic_ns()));
    }
}

/// Ends requests: everything between the session layer and the sinks.
fn finish(registry: &Registry, judging: &mut Judging, sinks: &mut Sinks, live: &Live, mut exchange: Exchange) {
    if exchange.service == CANDIDATES {
        return;
    }
    let Some((service, engine)) = registry.name(exchange.service) else {
        live.unknown_service.fetch_add(1, Ordering::Relaxed);
        return;
    };
    take_on(registry, judging.counters.as_ref(), &mut exchange);
    let model = registry.entry(exchange.service).and_then(|entry| entry.found.model.as_deref());
    let (index, end_ns) = (exchange.service, exchange.end.at_ns);
    let said = exchange.said.take();
    let last_content_ns = exchange.last_content.map(|mark| mark.at_ns);
    let mut request = correlate::request(exchange, &Labels { service, engine, model });
    request.home = registry.home(index);
    let gpu = judging.gpus.window(|| registry.processes(index), request.start_ns, end_ns);
    judging.judge.judge(&mut request, gpu);
    let request = Arc::new(request);
    sinks.metrics.observe(&request);
    sinks.history.observe(&request);
    sinks.changes.request(&mut sinks.used, index, &request, end_ns);
    if request.operation.is_some() {
        sinks.progress.ended(index, if request.error_type.is_none() { Some(end_ns) } else { last_content_ns });
        // Contents go where logs go, and are not kept by anything here.
        let content = said.and_then(|said| sinks.guard.content(*said, request.model.as_deref()));
        let told = Record::Request(Arc::clone(&request), content.map(Arc::new));
        if let Some(records) = &sinks.records {
            records.send(told.clone());
        }
        if let Some(otlp) = &sinks.otlp {
            otlp.send(told);
        }
        if let Some(watcher) = &mut sinks.watcher {
            watcher(&request);
        }
    }
}

impl Pipeline {
    /// Runs until `stop` is set; then takes what is in the ring and ends.
    pub fn run(&mut self) {
        let mut next_publish = 0;
        self.begin_timeline();
        let mut next_tick = monotonic_ns() + TICK_NS;
        let (mut next_closes, mut next_sweep) = (next_tick + CLOSES_NS, next_tick + SWEEP_NS);
        while !self.stop.load(Ordering::Relaxed) {
            let gathered = self.turn();
            let now = monotonic_ns();
            if now >= next_tick {
                self.tick(now);
                next_tick = now + TICK_NS;
            }
            if now >= next_closes {
                self.end_unseen_closes(now);
                self.unheard.count_missed_runs(&self.reader);
                self.cpu_events.follow();
                next_closes = now + CLOSES_NS;
            }
            if now >= next_sweep {
                self.watcher.sweep_threads(now);
                self.watcher.sweep_connections(|socket| self.sessions.knows(socket));
                next_sweep = now + SWEEP_NS;
            }
            if now >= next_publish {
                self.publish(now);
                next_publish = now + PUBLISH_NS;
            }
            if gathered < BATCH {
                let drained = Instant::now();
                self.ring.wait(PATIENCE);
                std::thread::sleep(PAUSE.saturating_sub(drained.elapsed()));
            }
        }
        self.turn();
        self.end_timeline();
        if let Some(profile) = &self.profile {
            for open in self.sessions.in_flight().filter(|open| open.is_llm && open.role == Role::Server) {
                let (start_ns, first_content_ns, streams) = (open.start_ns, open.first_content_ns, open.streams);
                profile.in_flight(open.service, Times { start_ns, first_content_ns, streams, end_ns: None });
            }
        }
        self.publish(monotonic_ns());
    }

    /// How many records there were.
    fn turn(&mut self) -> usize {
        while let Ok(find) = self.scout.finds.try_recv() {
            match find {
                Find::Service(found) => self.found(*found),
                Find::Candidate(pid) => self.candidate(pid),
                Find::Unwanted(root) => self.let_go(root),
                Find::NoCandidates => self.let_candidates_go(),
            }
        }
        self.tell_found();
        self.drain()
    }

    /// Takes what is in the ring through every stage; how many records there were.
    fn drain(&mut self) -> usize {
        if let Some(nvml) = &self.judging.nvml {
            self.judging.gpus.push(nvml.snapshot());
        }
        let Self { ring, watcher, sessions, registry, judging, scout, sinks, live, .. } = self;
        let Self { exits, candidates, logs, changes, .. } = self;
        let (timeline, profile) = (&self.timeline, &self.profile);
        let mut ended = |registry: &Registry, exchange: Exchange| {
            let exchange = taken_over(registry, exchange);
            if exchange.service == CANDIDATES {
                finish_candidate(candidates, scout, live, exchange);
            } else {
                finish(registry, judging, sinks, live, exchange);
            }
        };
        let batch = ring.drain(BATCH, |record| match decode(record) {
            Ok(Event::Payload(payload)) => {
                live.count(Kind::Payload);
                if let Some(timeline) = &*timeline {
                    timeline.socket(&payload.head);
                }
                if registry.service_of(payload.head.header.tgid).is_none() {
                    registry.add_process(payload.head.service, payload.head.header.tgid);
                }
                sessions.payload(&payload, &mut |exchange| ended(registry, exchange));
            }
            Ok(Event::Close(close)) => {
                live.count(Kind::Close);
                sessions.close(&close, &mut |exchange| ended(registry, exchange));
            }
            Ok(event @ (Event::Sched(_) | Event::Syscall(_) | Event::Block(_) | Event::Stall(_))) => {
                timeline::draw(timeline.as_deref(), live, &event);
            }
            Ok(Event::Sample(sample)) => {
                live.count(Kind::Sample);
                if let Some(profile) = &*profile {
                    profile.sample(&sample);
                }
            }
            Ok(Event::Log(write)) => {
                live.count(Kind::Log);
                logs::written(logs, registry, sessions, watcher, &write);
            }
            Ok(Event::Exec(exec)) => {
                live.count(Kind::Exec);
                if exec.watched != 0 {
                    timeline::executed(timeline.as_deref(), profile.as_ref(), &exec);
                }
                executed(registry, scout, &exec);
            }
            Ok(Event::Listen(listen)) => {
                live.count(Kind::Listen);
                scout.ask(began_to_listen(&listen));
            }
            Ok(Event::Fork(fork)) => {
                live.count(Kind::Fork);
                registry.add_process(fork.service, fork.child_tgid);
            }
            Ok(Event::Exit(exit)) => {
                live.count(Kind::Exit);
                let (tgid, at_ns) = (exit.header.tgid, exit.header.at_ns);
                logs::ended(logs, registry, sessions, &exit);
                sessions.process_exit(tgid, at_ns, &mut |exchange| ended(registry, exchange));
                ended_process(registry, exits, changes, &exit);
                registry.remove_process(tgid, at_ns);
            }
            Err(error) => {
                if live.undecodable.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(%error, "a record of the ring cannot be read; more of these are only counted");
                }
            }
        });
        if batch != 0 {
            live.batch.store(batch as u64, Ordering::Relaxed);
        }
        for socket in sessions.take_useless() {
            watcher.ignore_connection(socket);
        }
        batch
    }

    fn publish(&mut self, now: u64) {
        if let Some(table) = self.registry.take_table() {
            self.services.publish(table, self.registry.homes());
        }
        let mut snapshot = Snapshot {
            stats: self.sessions.stats().clone(),
            connections: self.sessions.connections(),
            exits: self.exits.counts().map(|(key, count)| (key.clone(), *count)).collect(),
            exits_overflow: self.exits.overflow,
            logs: self.logs.as_ref().map(Logs::figures),
            ..Snapshot::default()
        };
        // They are walked once, and may be thousands; services and ports are few.
        let mut ports: BTreeMap<(u32, u16), u64> = BTreeMap::new();
        let mut llm_in_flight = 0;
        let open = self.sessions.in_flight().inspect(|request| llm_in_flight += u64::from(request.is_llm));
        let served = open.filter(|request| request.role == Role::Server);
        let counted = served.inspect(|request| *ports.entry((request.service, request.server_port)).or_default() += 1);
        for (service, flight) in self.sinks.progress.at(now, counted) {
            if let Some((name, _)) = self.registry.name(service) {
                snapshot.flights.insert(name.to_owned(), flight);
            }
        }
        snapshot.llm_in_flight = llm_in_flight;
        for ((service, port), requests) in ports {
            if let Some((name, _)) = self.registry.name(service) {
                *snapshot.in_flight.entry((name.to_owned(), port)).or_default() += requests;
            }
        }
        self.live.publish(snapshot);
        self.live.turned_ns.store(now, Ordering::Relaxed);
    }
}

fn executed(registry: &mut Registry, scout: &Scout, exec: &ExecEvent) {
    let pid = exec.header.tgid;
    if exec.watched != 0 {
        registry.renamed(pid);
        return;
    }
    let len = (exec.filename_len as usize).min(exec.filename.len());
    // What a full queue leaves out is caught up with: see `unheard`.
    scout.ask(Ask::Exec { pid, filename: exec.filename[..len].to_vec() });
}

fn began_to_listen(listen: &ListenEvent) -> Ask {
    let ListenEvent { header, socket, network, port, .. } = *listen;
    Ask::Listen { pid: header.tgid, network, socket, port }
}

fn ended_process(registry: &Registry, exits: &mut Exits, changes: &Teller, exit: &ExitEvent) {
    let Some((service, _)) = registry.name(exit.service) else { return };
    let (code, pid, at_ns) = (exit.exit_code, exit.header.tgid, exit.header.at_ns);
    let killed = code & 0x7f == KILL;
    let oom = if killed { changes.oom.killed(exit.service, Instant::now()) } else { None };
    exits.count(service, Cause::new(code, oom.is_some()));
    let exit = Exit { code: Some(code), oom };
    changes.tell(Tell::Exit { service: service.to_owned(), pid, at_ns, exit });
}
