//! Puts the agent together: load, discover, start the pipeline, serve, and take all of it down again in order.

mod files;
mod ground;
mod programs;
mod seat;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, anyhow};
use aya::Ebpf;
use tokio::sync::oneshot;

use crate::{
    candidates::Candidates,
    changes::{self, Tell, Teller},
    cli::{LogArgs, RunArgs},
    config::{self, Config},
    custom::{self, CustomMetrics},
    discover::Found,
    events::Journal,
    exits::Exits,
    export::{
        http, jsonl::Records, otlp, perfetto::Timeline, prometheus::Sources, requests::RequestMetrics, routes::Routes,
        web::History,
    },
    identity,
    pipeline::{self, Each, Judging, Pipeline, Progress, Sinks, Unheard},
    poll::{
        cgroup::Cgroups,
        nvml::{self, NvmlOptions},
        procfs::{ProcPoller, ProcReader},
    },
    privacy::{self, Guard},
    probe::{self, Loaded},
    profile::Feed,
    refused::Refused,
    registry::Registry,
    ring::Ring,
    scout::{Ask, Scout},
    session::{Limits, Sessions},
    shared::Live,
    tasks::{Signals, Tasks, supervised, until_end},
};

use ground::Ground;
pub use programs::try_probes;

const PROC_INTERVAL: Duration = Duration::from_secs(2);
/// What changes is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(2);
/// Chunks per request that a timeline shows.
const CHUNK_TIMES: usize = 8192;

/// A running agent. Dropping it takes every program and map out of the kernel.
pub struct Running {
    pub sources: Arc<Sources>,
    pub asks: std::sync::mpsc::SyncSender<Ask>,
    /// What of contents may be kept.
    pub guard: Arc<Guard>,
    stop: Arc<AtomicBool>,
    pipeline: Option<JoinHandle<()>>,
    changes: Option<(Teller, Option<changes::Ending>)>,
    records: Option<Records>,
    otlp: Option<otlp::Running>,
    _kubernetes: Option<identity::Running>,
    _ebpf: Arc<Mutex<Ebpf>>,
}

impl Running {
    /// Ends the pipeline, and what it writes to; hands its panic on, if there was one. The counters can be read after it.
    pub fn finish(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let pipeline = self.pipeline.take().map(JoinHandle::join);
        if let Some((teller, ending)) = self.changes.take() {
            drop(teller);
            if ending.is_some_and(|ending| !ending.wait(PATIENCE)) {
                tracing::warn!(
                    "a file of a server, or its control group, does not answer: the last changes are not told"
                );
            }
        }
        self.sources.journal.close();
        if let Some(records) = self.records.take() {
            records.end();
        }
        if let Some(otlp) = self.otlp.take() {
            otlp.end();
        }
        match pipeline {
            Some(Err(_)) => Err(anyhow!("the pipeline failed: please report the message above")),
            _ => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Where the GPU library is and how often it is asked.
pub fn nvml_options(config: &Config) -> NvmlOptions {
    NvmlOptions { lib_path: config.nvml.library.clone(), interval: config.nvml.interval, ..NvmlOptions::default() }
}

/// Who hears of what happens beside the metrics.
#[derive(Default)]
pub struct Hears {
    /// Every finished LLM request.
    pub each: Option<Each>,
    /// Every run of a watched thread, and more; costs an event each.
    pub timeline: Option<Arc<Timeline>>,
    /// Stacks, as often as it wants them.
    pub profile: Option<Feed>,
}

/// Starts everything but the HTTP server. `tasks` hears of a thread that fails.
pub fn start(config: &Config, tasks: &Tasks, hears: Hears) -> Result<Running> {
    let began = Instant::now();
    let Ground { door, discovery, found, out, exporter, custom, probes, services, stop, loaded, seat, pipeline } =
        Ground::lay(config, tasks, &hears)?;
    let Loaded { ebpf, ring, watcher, reader, reports, cpu_events, .. } = loaded;
    let ebpf = Arc::new(Mutex::new(ebpf));
    let records = out.map(|out| Records::start(out, tasks.guard("records"))).transpose()?;
    let (identities, kubernetes) = identity::begin(&config.kubernetes, tasks)?.unzip();
    let (pids, groups) = (pids(&found), Cgroups::new(config.cgroups.as_deref()));
    let live = Arc::new(Live::default());
    let told = probe::tells_listeners(&reports);
    let scout = Scout::start(discovery, &config.discover, told, found, Arc::clone(&live), tasks.guard("scout"))?;
    let asks = scout.asks.clone();
    let journal = journal(records.as_ref(), exporter.as_ref());
    let sources = Arc::new(Sources {
        reader: reader.clone(),
        reports,
        services: services.clone(),
        live: Arc::clone(&live),
        requests: request_metrics(config, &custom),
        probes: probes.clone(),
        history: Arc::new(History::new(config.limits.services as usize)),
        journal: Arc::clone(&journal),
        changes: Arc::default(),
        records_lost: records.as_ref().map(Records::lost),
        otlp: exporter.as_ref().map(otlp::Exporter::counts),
        door,
        // Its end is told in inferscope_nvml_up and nothing else needs it: it holds no guard.
        nvml: config.nvml.enabled.then(|| Arc::new(nvml::spawn(nvml_options(config)))),
        identities: identities.clone(),
        procfs: ProcPoller::spawn(ProcReader::new(), groups.clone(), PROC_INTERVAL, tasks.guard("procfs"))?,
        per_process: config.metrics.per_process,
        started: SystemTime::now(),
    });
    sources.procfs.watch(&pids);
    let (teller, changing) = follow_changes(config, &sources, groups, tasks)?;
    let limits = limits(config, hears.timeline.is_some(), &custom);
    let guard = privacy::guard(&config.privacy);
    let sinks = sinks(&sources, records.as_ref(), exporter.as_ref(), &guard, &teller, hears.each);
    let judging = Judging { nvml: sources.nvml.clone(), counters: Some(reader.clone()), ..Judging::default() };
    let stages = Pipeline {
        timeline: hears.timeline,
        profile: hears.profile,
        ring: Ring::new(ring)?,
        watcher,
        reader,
        cpu_events: cpu_events.of(&ebpf),
        probes,
        sessions: Sessions::new(limits).guarded(Arc::clone(&guard)),
        registry: Registry::new(config.limits.services, identities),
        judging,
        scout,
        sinks,
        services,
        live,
        candidates: Candidates::default(),
        refused: Refused::default(),
        exits: Exits::default(),
        unheard: Unheard::default(),
        logs: config.logs.enabled.then(|| pipeline::Logs::new(&journal, config.logs)),
        changes: teller.clone(),
        stop: Arc::clone(&stop),
    };
    let otlp = exporter.map(|exporter| start_otlp(exporter, &sources, tasks)).transpose()?;
    seat.send(stages).map_err(|_| anyhow!("the pipeline's thread has ended: please report the message above"))?;
    tracing::info!(after_ms = began.elapsed().as_millis() as u64, "watching this host");
    Ok(Running {
        sources,
        asks,
        guard,
        stop,
        pipeline: Some(pipeline),
        changes: Some((teller, changing)),
        records,
        otlp,
        _kubernetes: kubernetes,
        _ebpf: ebpf,
    })
}

/// What happens beside the requests goes where records and spans go.
fn journal(records: Option<&Records>, exporter: Option<&otlp::Exporter>) -> Arc<Journal> {
    let journal = Arc::<Journal>::default();
    journal.open(records.map(Records::queue), exporter.and_then(otlp::Exporter::queue));
    journal
}

/// What the session layer may keep, and must read.
fn limits(config: &Config, timeline: bool, custom: &custom::Rules) -> Limits {
    let chunk_times = if timeline { CHUNK_TIMES } else { 0 };
    let connections = config.limits.connections as usize;
    Limits { connections, chunk_times, wanted: custom.wanted(), ..Limits::default() }
}

/// The families of finished requests.
fn request_metrics(config: &Config, custom: &custom::Rules) -> Arc<RequestMetrics> {
    let routes = Routes::new(config.metrics.route_templates.clone());
    Arc::new(RequestMetrics::with(config.limits.series as usize, routes, CustomMetrics::new(custom)))
}

/// Where finished requests go.
fn sinks(
    sources: &Sources,
    records: Option<&Records>,
    exporter: Option<&otlp::Exporter>,
    guard: &Arc<Guard>,
    changes: &Teller,
    watcher: Option<Each>,
) -> Sinks {
    Sinks {
        metrics: Arc::clone(&sources.requests),
        progress: Progress::default(),
        history: Arc::clone(&sources.history),
        records: records.map(Records::queue),
        otlp: exporter.and_then(otlp::Exporter::queue),
        guard: Arc::clone(guard),
        watcher,
        changes: changes.clone(),
        used: changes::Used::default(),
    }
}

fn follow_changes(
    config: &Config,
    sources: &Sources,
    groups: Cgroups,
    tasks: &Tasks,
) -> std::io::Result<(Teller, Option<changes::Ending>)> {
    let needs = changes::Needs {
        groups,
        journal: Arc::clone(&sources.journal),
        counts: Arc::clone(&sources.changes),
        live: Arc::clone(&sources.live),
        nvml: sources.nvml.clone(),
    };
    changes::start(&config.changes, needs, tasks)
}

fn pids(found: &[Found]) -> Vec<u32> {
    let of = |found: &Found| std::iter::once(found.process.pid).chain(found.children.clone());
    found.iter().flat_map(of).collect()
}

fn start_otlp(exporter: otlp::Exporter, sources: &Arc<Sources>, tasks: &Tasks) -> std::io::Result<otlp::Running> {
    let families = Arc::clone(sources);
    exporter.start(Box::new(move || families.families()), sources.started, tasks.guard("otlp"))
}

/// `inferscope run`.
pub fn run(args: &RunArgs, log: &LogArgs, config: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(args, log, config));
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

async fn serve(args: &RunArgs, log: &LogArgs, mut config: Config) -> Result<()> {
    let listener = http::bind(config.listen).await?;
    let address = listener.local_addr()?;
    let mut signals = Signals::new()?;
    let (tasks, mut ended) = supervised();
    let mut running = start(&config, &tasks, Hears::default())?;
    let rules = running.sources.door.current.rules();
    let scheme = if rules.tls.is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{address}/, metrics at /metrics");
    if let Some(exposed) = http::exposure(address, &rules) {
        tracing::warn!("{address} is no loopback address, and is served {exposed}; see --web-config");
    }
    let (stop_server, stopped) = oneshot::channel::<()>();
    let mut server = tokio::spawn(http::serve(listener, Arc::clone(&running.sources), async {
        let _ = stopped.await;
    }));
    let reload = || reload(args, log, &mut config, &running);
    let outcome = until_end(&mut signals, &mut ended, &mut server, reload).await;
    tracing::info!("ending");
    drop(stop_server);
    if !server.is_finished() {
        let _ = tokio::time::timeout(Duration::from_millis(500), server).await;
    }
    let finished = running.finish();
    outcome.and(finished)
}

/// SIGHUP: takes over what can change while running and names what cannot.
fn reload(args: &RunArgs, log: &LogArgs, config: &mut Config, running: &Running) {
    // It says itself what it found.
    running.sources.door.current.look();
    let new = match args.config(log) {
        Ok(new) => new,
        Err(error) => {
            tracing::error!("the configuration is not taken over: {error}");
            return;
        }
    };
    for change in config::changes(config, &new) {
        let needs = if change.restart { "; takes effect after a restart" } else { "" };
        tracing::info!(key = change.key, "configuration changed{needs}");
        if let Some((teller, _)) = &running.changes {
            teller.tell(Tell::Agent { key: change.key, restart: change.restart });
        }
    }
    running.sources.requests.set_routes(Routes::new(new.metrics.route_templates.clone()));
    if running.asks.try_send(Ask::Rules(Box::new(new.discover.clone()))).is_err() {
        tracing::warn!("the rules of discovery were not taken over: try again");
    }
    running.guard.change(&new.privacy);
    // What needs a restart stays as it is in force, so that the next reload names it again.
    config.privacy = new.privacy;
    config.discover = new.discover;
    config.metrics.route_templates = new.metrics.route_templates;
}
