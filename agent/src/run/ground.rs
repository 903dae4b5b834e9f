//! What a start can fail at: files, processes and addresses that the configuration names, the kernel programs, and the
//! rights for them. All of it is there before anything runs; then what only this needed is given back.

use std::{
    sync::{Arc, atomic::AtomicBool, mpsc::SyncSender},
    thread::JoinHandle,
};

use anyhow::{Result, anyhow};

use super::{
    Hears, files,
    programs::{load, tell_refused},
    seat,
};
use crate::{
    config::Config,
    custom::{Probes, Rules, probes::follow},
    discover::{Discovery, Found},
    export::{http, jsonl, otlp, output::Out},
    pipeline::Pipeline,
    privacy,
    probe::Loaded,
    services::SharedServices,
    tasks::Tasks,
    webconfig::Current,
};

/// What everything else stands on.
pub(super) struct Ground {
    pub door: http::Door,
    pub discovery: Discovery,
    pub found: Vec<Found>,
    /// Where records go.
    pub out: Option<Out>,
    pub exporter: Option<otlp::Exporter>,
    /// Metrics of the configuration.
    pub custom: Rules,
    /// Those of them that are made of probes, which hang already.
    pub probes: Option<Arc<Probes>>,
    pub services: SharedServices,
    /// Ends what runs.
    pub stop: Arc<AtomicBool>,
    pub loaded: Loaded,
    /// The pipeline's thread, which waits for it.
    pub seat: SyncSender<Pipeline>,
    pub pipeline: JoinHandle<()>,
}

impl Ground {
    /// Errors: in words for whoever started the agent.
    pub fn lay(config: &Config, tasks: &Tasks, hears: &Hears) -> Result<Self> {
        privacy::forbid_dumps();
        files::raise_limit();
        let door = http::Door { current: Current::open(config.web.config_file.as_deref())?, counts: Arc::default() };
        let mut discovery = Discovery::new(config.discover.clone());
        let found = first_finds(config, &mut discovery)?;
        let out = config.records.as_deref().map(jsonl::open).transpose()?;
        let exporter = otlp::Exporter::open(&config.otlp)?;
        let syscalls = hears.timeline.as_ref().map(|timeline| timeline.syscalls);
        let stacks_hz = hears.profile.as_ref().map_or(0, |feed| feed.frequency_hz);
        let custom = rules(config)?;
        let mut loaded = load(config, &custom, syscalls, stacks_hz)?;
        tell_refused(&loaded.reports);
        let probes = loaded.custom.take().map(|kernel| Probes::start(custom.probes().clone(), kernel));
        let (seat, pipeline) = seat::take(config, tasks.guard("pipeline"))?;
        let (services, stop) = (SharedServices::default(), Arc::new(AtomicBool::new(false)));
        if let Some(probes) = probes.as_ref().filter(|probes| probes.follows()) {
            let (config, services, stop) = (config.clone(), services.clone(), Arc::clone(&stop));
            follow(probes, services, stop, tasks.guard("probes"), move || seat::give_back_but_probes(&config))?;
        }
        seat::give_back(config);
        Ok(Self { door, discovery, found, out, exporter, custom, probes, services, stop, loaded, seat, pipeline })
    }
}

/// The metrics of the configuration, checked.
fn rules(config: &Config) -> Result<Rules> {
    Rules::new(&config.metrics.custom).map_err(|wrong| {
        let reasons: Vec<String> = wrong.into_iter().map(|(_, reason)| reason).collect();
        anyhow!("metrics.custom: {}", reasons.join("; "))
    })
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
