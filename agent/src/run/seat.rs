//! The rights of the threads: the pipeline's precedence is taken, then what only the start needed is given back.
#![forbid(unsafe_code)]

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    thread::JoinHandle,
};

use rustix::thread::CapabilitySet;

use crate::{config::Config, pipeline::Pipeline, privileges, probe, tasks::Guard};

/// Starts the pipeline's thread while there is still a right to its precedence; it waits for the pipeline.
pub fn take(config: &Config, guard: Guard) -> std::io::Result<(SyncSender<Pipeline>, JoinHandle<()>)> {
    let (seat, comes) = sync_channel::<Pipeline>(1);
    let config = config.clone();
    let thread = std::thread::Builder::new().name("pipeline".into()).spawn(move || {
        go_first();
        give_back(&config);
        // Nothing comes if the start fails; whoever started says why.
        let Ok(mut pipeline) = comes.recv() else { return };
        // The guard goes before the pipeline, with which the scout ends.
        let _guard = guard;
        pipeline.run();
    })?;
    Ok((seat, thread))
}

/// The calling thread, and those that it starts, keep what a running agent needs.
pub fn give_back(config: &Config) {
    keep(config, privileges::needed(probe::kernel_version(), config.nvml.enabled));
}

/// The calling thread keeps the right to hang probes into programs too.
pub fn give_back_but_probes(config: &Config) {
    keep(config, privileges::needed(probe::kernel_version(), config.nvml.enabled) | privileges::PROBES);
}

fn keep(config: &Config, kept: CapabilitySet) {
    if !config.process.drop_privileges {
        return;
    }
    match privileges::drop_to(kept) {
        Ok(()) => tracing::debug!(kept = privileges::names(kept), "privileges are dropped"),
        Err(error) => tracing::warn!(%error, "privileges could not be dropped: everything works, with more rights"),
    }
}

/// Beside many busy threads this one would come too late to the ring, and records would be lost for want of a CPU that
/// it needs only for a moment.
fn go_first() {
    const NICE: i32 = -15;
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the pipeline has no precedence: more may be lost beside busy servers");
    }
}
