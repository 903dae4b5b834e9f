//! The short commands and the log's start: what is between main and the modules that do the work.
#![forbid(unsafe_code)]

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{
    check::{self, Host, Privilege, Tried},
    cli::CheckArgs,
    config::{Config, Kubernetes, Log, LogFormat, LogLevel},
    discover::Discovery,
    export::output::{Out, write_within},
    identity,
    poll::cgroup,
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

/// An error and its causes in one line; a cause that the text before it tells already is left out.
pub fn in_words(error: &anyhow::Error) -> String {
    words(error.chain().map(ToString::to_string))
}

fn words(causes: impl Iterator<Item = String>) -> String {
    causes.fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        told if told.contains(&cause) => text,
        _ => format!("{text}: {cause}"),
    })
}

/// Whether standard output's reader has gone.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(broken))
}

/// Says something on standard error, which may be the same pipe as a standard output that nobody reads: the end of a
/// command must not wait for that.
pub fn say(text: String) {
    const PATIENCE: Duration = Duration::from_secs(1);
    // There is nowhere else to say that it was not heard.
    let _ = write_within(Out::stderr(), text, PATIENCE);
}

/// An error if this process has no right to load kernel programs.
pub fn may_watch() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let finding = Privilege::read(&status).programs();
    if finding.blocks() {
        bail!("{}: {}", finding.detail, finding.next_step.unwrap_or_default());
    }
    Ok(())
}

fn gpus(options: NvmlOptions) -> std::sync::Arc<GpuSnapshot> {
    nvml::spawn(options).first(NVML_PATIENCE)
}

/// `inferscope check`: exit code 0 if the main job can run.
pub fn check(args: &CheckArgs, config: &Config) -> Result<ExitCode> {
    // Advice to run this very command is of no use here.
    let reason = |error: anyhow::Error| {
        words(error.chain().map(ToString::to_string).filter(|cause| !cause.contains("`inferscope check`")))
    };
    let probes = run::try_probes(config.btf.as_deref()).map_err(reason);
    let gpus = gpus(run::nvml_options(config));
    let nvml = match &gpus.health {
        NvmlHealth::Ok => {
            Ok(format!("driver {}, {} GPU(s)", gpus.driver_version.as_deref().unwrap_or("unknown"), gpus.devices.len()))
        }
        NvmlHealth::Absent { reason } => Err(reason.to_string()),
        other => Err(other.word().to_owned()),
    };
    let served = check::served(config);
    let tried = Tried { probes, nvml, served, custom: check::custom(config), pod: pod(config) };
    let report = check::check(&Host::new(config.btf.clone()), &tried);
    let mut out = io::stdout().lock();
    if args.json { report.write_json(&mut out) } else { report.write_words(&mut out) }?;
    Ok(ExitCode::from(report.exit_code()))
}

/// Asks the cluster, if this is a pod of one.
fn pod(config: &Config) -> check::Pod {
    if config.kubernetes.enabled == Some(false) {
        return check::Pod::Off;
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none_or(|host| host.is_empty()) {
        return check::Pod::No;
    }
    // Wanted, so that what is missing is an error here.
    let wanted = Kubernetes { enabled: Some(true), ..config.kubernetes.clone() };
    let settings = match identity::Settings::of(&wanted, |name| std::env::var(name).ok()) {
        Ok(Some(settings)) => settings,
        Ok(None) => return check::Pod::No,
        Err(error) => return check::Pod::Unsettled(in_words(&error)),
    };
    match identity::ask(&settings) {
        Ok(answers) => check::Pod::Asked {
            answers,
            node: settings.node,
            api: settings.api,
            cgroups: config.cgroups.clone().unwrap_or_else(|| cgroup::HOSTS.into()),
        },
        Err(error) => check::Pod::Unsettled(error.to_string()),
    }
}

/// `inferscope ps`: what `run` with the same configuration finds at its start.
pub fn ps(json: bool, config: &Config) -> Result<()> {
    let found = Discovery::new(config.discover.clone()).scan();
    let asked = config.nvml.enabled && !found.is_empty();
    let gpus = asked.then(|| gpus(run::nvml_options(config)));
    let rows = ps::rows(&found, |pid| ps::GpuUse::of(gpus.as_deref()?, pid));
    let mut out = io::stdout().lock();
    if json { ps::write_json(&rows, &mut out) } else { ps::write_table(&rows, &mut out) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_cause_is_told_once() {
        let missing = || io::Error::other("no such file");
        let error = Err::<(), _>(missing()).context("cannot read x: no such file").context("no types").unwrap_err();
        assert_eq!(in_words(&error), "no types: cannot read x: no such file");
        assert_eq!(in_words(&anyhow::Error::from(missing()).context("cannot read x")), "cannot read x: no such file");
    }

    #[test]
    fn a_broken_pipe_is_seen_through_its_context() {
        let broken = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot print");
        assert!(is_broken_pipe(&broken));
        assert!(!is_broken_pipe(&anyhow::anyhow!("no process 7")));
    }
}
