//! Puts the agent together: load, discover, start the pipeline, serve, and take all of it down again in order.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::{
    candidates::Candidates,
    check::{self, Host},
    cli::{LogArgs, RunArgs},
    config::{Config, changes},
    discover::{Discovery, Found},
    exits::Exits,
    export::{http, jsonl::Records, prometheus::Sources, requests::RequestMetrics, routes::Routes},
    pipeline::{Each, Pipeline, Sinks},
    poll::{
        nvml::{self, NvmlOptions},
        procfs::{ProcPoller, ProcReader},
    },
    probe::{self, LoadOptions, Loaded},
    registry::Registry,
    ring::Ring,
    scout::{Ask, Scout},
    services::SharedServices,
    session::{Limits, Sessions},
    shared::Live,
};

const PROC_INTERVAL: Duration = Duration::from_secs(2);

/// A running agent. Dropping `ebpf` takes every program and map out of the kernel.
pub struct Running {
    pub sources: Arc<Sources>,
    pub asks: std::sync::mpsc::SyncSender<Ask>,
    ended: oneshot::Receiver<()>,
    stop: Arc<AtomicBool>,
    pipeline: Option<JoinHandle<()>>,
    _ebpf: Ebpf,
}

impl Running {
    /// Done when the pipeline has ended, which it does by itself only if it failed.
    pub async fn pipeline_ended(&mut self) {
        let _ = (&mut self.ended).await;
    }

    /// Ends the pipeline and hands its panic on, if there was one.
    pub fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.pipeline.take().map(JoinHandle::join) {
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

/// Every given process must be there; the rest is found now and later.
fn first_finds(config: &Config, discovery: &mut Discovery) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for pid in &config.discover.include.pids {
        found.push(discovery.given(*pid)?);
    }
    // Without discovery the scan finds only what the rules include.
    for service in discovery.scan() {
        let covered =
            |known: &Found| known.process.pid == service.process.pid || known.children.contains(&service.process.pid);
        if !found.iter().any(covered) {
            found.push(service);
        }
    }
    Ok(found)
}

fn nvml_options(config: &Config) -> NvmlOptions {
    NvmlOptions { lib_path: config.nvml.library.clone(), interval: config.nvml.interval, ..NvmlOptions::default() }
}

fn load(config: &Config) -> Result<Loaded> {
    let options = LoadOptions {
        btf: config.btf.as_deref(),
        ring_bytes: config.capture.ring_bytes,
        processes: config.limits.processes,
        services: config.limits.services,
        connections: config.limits.connections,
        capture_head_bytes: config.capture.head_bytes,
        capture_tail_bytes: config.capture.tail_bytes,
    };
    probe::load(&options).map_err(|error| match check::obstacle(&Host::new(config.btf.clone())) {
        Some(sentence) => anyhow!("{sentence} (the kernel programs did not load: {})", error.root_cause()),
        None => error,
    })
}

/// Starts everything but the HTTP server. `each` sees every finished LLM request.
pub fn start(config: &Config, each: Option<Each>) -> Result<Running> {
    let began = Instant::now();
    let mut discovery = Discovery::new(config.discover.clone());
    let found = first_finds(config, &mut discovery)?;
    let records = config.records.as_deref().map(Records::open).transpose()?;
    let Loaded { ebpf, ring, watcher, reader, reports } = load(config)?;
    for report in reports.iter().filter(|report| report.hook.is_none()) {
        let error = report.error.as_deref().unwrap_or("no reason given");
        tracing::warn!(probe = report.probe, error, "no {}: the kernel refused the probe", report.gives);
    }
    let pids: Vec<u32> = found
        .iter()
        .flat_map(|found| std::iter::once(found.process.pid).chain(found.children.iter().copied()))
        .collect();
    let scout = Scout::start(discovery, &config.discover, found)?;
    let asks = scout.asks.clone();
    let (services, live) = (SharedServices::default(), Arc::new(Live::default()));
    let metrics = Arc::new(RequestMetrics::new(
        config.limits.series as usize,
        Routes::new(config.metrics.route_templates.clone()),
    ));
    let sources = Arc::new(Sources {
        reader: reader.clone(),
        reports,
        services: services.clone(),
        live: Arc::clone(&live),
        requests: Arc::clone(&metrics),
        records_lost: records.as_ref().map(Records::lost),
        nvml: config.nvml.enabled.then(|| nvml::spawn(nvml_options(config))),
        procfs: ProcPoller::spawn(ProcReader::new(), PROC_INTERVAL)?,
        per_process: config.metrics.per_process,
        started: SystemTime::now(),
    });
    sources.procfs.watch(&pids);
    let stop = Arc::new(AtomicBool::new(false));
    let limits = Limits { connections: config.limits.connections as usize, ..Limits::default() };
    let pipeline = Pipeline {
        ring: Ring::new(ring),
        watcher,
        reader,
        sessions: Sessions::new(limits),
        registry: Registry::new(config.limits.services),
        scout,
        sinks: Sinks { metrics, records, watcher: each },
        services,
        live,
        candidates: Candidates::default(),
        exits: Exits::default(),
        stop: Arc::clone(&stop),
    };
    let (ending, ended) = oneshot::channel();
    let pipeline = std::thread::Builder::new().name("pipeline".into()).spawn(move || {
        let _ending = ending;
        go_first();
        pipeline.run();
    })?;
    tracing::info!(after_ms = began.elapsed().as_millis() as u64, "watching this host");
    Ok(Running { sources, asks, ended, stop, pipeline: Some(pipeline), _ebpf: ebpf })
}

/// Beside many busy threads this one would come too late to the ring, and records would be lost for want of a CPU that
/// it needs only for a moment.
fn go_first() {
    const NICE: i32 = -15;
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the pipeline has no precedence: more may be lost beside busy servers");
    }
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
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut running = start(&config, None)?;
    tracing::info!("listening on http://{address}/metrics");
    let (stop_server, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(http::serve(listener, Arc::clone(&running.sources), async {
        let _ = stopped.await;
    }));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = running.pipeline_ended() => break,
            _ = hangup.recv() => reload(args, log, &mut config, &running),
        }
    }
    tracing::info!("ending");
    drop(stop_server);
    let _ = tokio::time::timeout(Duration::from_millis(500), server).await;
    running.finish()
}

/// SIGHUP: takes over what can change while running and names what cannot.
fn reload(args: &RunArgs, log: &LogArgs, config: &mut Config, running: &Running) {
    let new = match args.config(log) {
        Ok(new) => new,
        Err(error) => {
            tracing::error!("the configuration is not taken over: {error}");
            return;
        }
    };
    for change in changes(config, &new) {
        let needs = if change.restart { "; takes effect after a restart" } else { "" };
        tracing::info!(key = change.key, "configuration changed{needs}");
    }
    running.sources.requests.set_routes(Routes::new(new.metrics.route_templates.clone()));
    if running.asks.try_send(Ask::Rules(Box::new(new.discover.clone()))).is_err() {
        tracing::warn!("the rules of discovery were not taken over: try again");
    }
    // What needs a restart stays as it is in force, so that the next reload names it again.
    config.discover = new.discover;
    config.metrics.route_templates = new.metrics.route_templates;
}

/// `inferscope check`'s part that needs the kernel: loads, attaches, reports, and takes it all away again.
pub fn try_probes(btf: Option<&Path>) -> Result<Vec<probe::ProbeReport>> {
    let options = LoadOptions { btf, ..LoadOptions::default() };
    Ok(probe::load_reporting(&options).context("no kernel program could be loaded")?.reports)
}
