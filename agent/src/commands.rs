//! The short commands and the log's start: what is between main and the modules that do the work.
#![forbid(unsafe_code)]

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;

use crate::{
    check::{self, Host, Tried},
    cli::{CheckArgs, PsArgs},
    config::{Log, LogFormat, LogLevel},
    discover::{Discovery, Rules},
    poll::nvml::{self, GpuSnapshot, NvmlHealth, NvmlOptions},
    ps, run,
};

/// How long the short commands wait for the GPU library.
const NVML_PATIENCE: Duration = Duration::from_millis(1500);

/// Starts the log on standard error.
pub fn start_log(log: Log) {
    let level = match log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let log_to = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => log_to.init(),
        LogFormat::Json => log_to.json().init(),
    }
}

fn gpus() -> std::sync::Arc<GpuSnapshot> {
    nvml::spawn(NvmlOptions::default()).first(NVML_PATIENCE)
}

/// `inferscope check`: exit code 0 if the main job can run.
pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let probes = run::try_probes(args.btf.as_deref()).map_err(|error| format!("{error:#}"));
    let gpus = gpus();
    let nvml = match &gpus.health {
        NvmlHealth::Ok => {
            Ok(format!("driver {}, {} GPU(s)", gpus.driver_version.as_deref().unwrap_or("unknown"), gpus.devices.len()))
        }
        NvmlHealth::Absent { reason } => Err(reason.to_string()),
        other => Err(other.word().to_owned()),
    };
    let report = check::check(&Host::new(args.btf.clone()), &Tried { probes, nvml });
    let mut out = io::stdout().lock();
    if args.json { report.write_json(&mut out) } else { report.write_words(&mut out) }?;
    Ok(ExitCode::from(report.exit_code()))
}

/// `inferscope ps`.
pub fn ps(args: &PsArgs) -> Result<()> {
    let found = Discovery::new(Rules::default()).scan();
    let gpus = if found.is_empty() { None } else { Some(gpus()) };
    let rows = ps::rows(&found, |pid| ps::GpuUse::of(gpus.as_deref()?, pid));
    let mut out = io::stdout().lock();
    if args.json { ps::write_json(&rows, &mut out) } else { ps::write_table(&rows, &mut out) }?;
    Ok(())
}
