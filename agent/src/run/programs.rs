//! The kernel programs at the start: loaded as the configuration wants, or only tried, and what was refused told.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, anyhow};

use super::files;
use crate::{
    check::{self, Host},
    config::Config,
    custom::Rules,
    probe::{self, LoadOptions, Loaded, custom::CustomRoom},
    profile::FREQUENCY_HZ,
};

/// Loads and attaches. Errors: in words that say what this host lacks.
pub(super) fn load(config: &Config, custom: &Rules, timeline: Option<Duration>, stacks_hz: u32) -> Result<Loaded> {
    let options = LoadOptions {
        btf: config.btf.as_deref(),
        ring_bytes: config.capture.ring_bytes,
        processes: config.limits.processes,
        services: config.limits.services,
        connections: config.limits.connections,
        capture_head_bytes: config.capture.head_bytes,
        capture_tail_bytes: config.capture.tail_bytes,
        capture_request_bytes: config.capture.request_bytes,
        timeline,
        stacks_hz,
        engines: config.capture.engines,
        logs: config.logs.enabled.then_some(config.logs.bytes_per_second),
        custom: custom.probes().room(),
    };
    probe::load(&options).map_err(|error| match check::obstacle(&Host::new(config.btf.clone())) {
        Some(sentence) => anyhow!("{sentence} (the kernel programs did not load: {})", error.root_cause()),
        None => error,
    })
}

/// Says which probes there are none of.
pub(super) fn tell_refused(reports: &[probe::ProbeReport]) {
    for report in reports.iter().filter(|report| report.hook.is_none()) {
        let error = report.error.as_deref().unwrap_or("no reason given");
        tracing::warn!(probe = report.probe, error, "no {}: the kernel refused the probe", report.gives);
    }
}

/// `inferscope check`'s part that needs the kernel: loads, attaches, reports, and takes it all away again.
pub fn try_probes(btf: Option<&Path>) -> Result<Vec<probe::ProbeReport>> {
    files::raise_limit();
    // What a timeline, stacks and metrics of probes need is tried too: of programs that are the same, one.
    let (timeline, stacks_hz) = (Some(Duration::ZERO), FREQUENCY_HZ);
    let custom = Some(CustomRoom { tracepoints: 1, uprobes: 1, rows: 1, host: false });
    let options = LoadOptions { btf, timeline, stacks_hz, custom, ..LoadOptions::default() };
    Ok(probe::load_reporting(&options).context("no kernel program could be loaded")?.reports)
}
