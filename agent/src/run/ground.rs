//! What a start can fail at: files, processes and addresses that the configuration names, the kernel programs, and the
//! rights for them. All of it is there before anything runs; then what only this needed is given back.

use std::{sync::Arc, sync::mpsc::SyncSender, thread::JoinHandle};

use anyhow::Result;

use super::{
    Hears,
    programs::{load, tell_refused},
    seat,
};
use crate::{
    config::Config,
    discover::{Discovery, Found},
    export::{http, jsonl, otlp, output::Out},
    pipeline::Pipeline,
    privacy,
    probe::Loaded,
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
    pub loaded: Loaded,
    /// The pipeline's thread, which waits for it.
    pub seat: SyncSender<Pipeline>,
    pub pipeline: JoinHandle<()>,
}

impl Ground {
    /// Errors: in words for whoever started the agent.
    pub fn lay(config: &Config, tasks: &Tasks, hears: &Hears) -> Result<Self> {
        privacy::forbid_dumps();
        let door = http::Door { current: Current::open(config.web.config_file.as_deref())?, counts: Arc::default() };
        let mut discovery = Discovery::new(config.discover.clone());
        let found = first_finds(config, &mut discovery)?;
        let out = config.records.as_deref().map(jsonl::open).transpose()?;
        let exporter = otlp::Exporter::open(&config.otlp)?;
        let syscalls = hears.timeline.as_ref().map(|timeline| timeline.syscalls);
        let stacks_hz = hears.profile.as_ref().map_or(0, |feed| feed.frequency_hz);
        let loaded = load(config, syscalls, stacks_hz)?;
        tell_refused(&loaded.reports);
        let (seat, pipeline) = seat::take(config, tasks.guard("pipeline"))?;
        seat::give_back(config);
        Ok(Self { door, discovery, found, out, exporter, loaded, seat, pipeline })
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
