//! `cargo xtask test`: sets up what is missing and runs every test there is; the last line is the whole result.
//!
//! Goes on after a failing step, so that one run shows all that is broken. What cannot run here says why.

mod containers;
mod dashboards;
mod fuzz;
mod kubernetes;
mod package;
mod report;
mod rules;
mod targets;
mod web;

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::libtest::Counts;
use crate::servers::{Engine, Options, Server};
use crate::{build, cargo, process, setup, tidy, vm};
use report::{Report, Verdict};

/// Set up what is missing and run every test
#[derive(clap::Args)]
pub struct Args {
    /// Leave out the kernel matrix
    #[arg(long)]
    no_vm: bool,
    /// Leave out what needs root and the kernel, and the real servers
    #[arg(long)]
    no_live: bool,
    /// Also run the tests on a real vLLM, which takes 6 GB
    #[arg(long)]
    vllm: bool,
    /// Only try the dashboards on a real Prometheus
    #[arg(long)]
    dashboards: bool,
    /// With --dashboards: leave that Prometheus up for so many seconds, for a Grafana to look at it
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    hold: u64,
    /// Only tests whose name contains this
    #[arg(long)]
    filter: Option<String>,
}

const LIMIT: Duration = Duration::from_secs(30 * 60);

pub fn run(args: &Args) -> Result<()> {
    let mut report = Report::default();
    if args.dashboards {
        on_prometheus(&mut report, args);
        return report.finish();
    }
    report.step("set-up", || prepare(args));
    static_checks(&mut report);
    let targets = targets::find()?;
    report.step("unit and replay", || {
        let mut cargo = cargo::command(&["test", "--no-fail-fast", "--lib", "--bins"]);
        targets.plain.iter().for_each(|name| {
            cargo.args(["--test", name]);
        });
        tested("unit and replay", filtered(&mut cargo, args, false))
    });
    report.step("Prometheus rules", rules::run);
    report.step("Kubernetes", kubernetes::run);
    if args.no_live {
        report.step("live", || Ok(Verdict::skipped("--no-live was given")));
    } else {
        live(&mut report, args, &targets);
        report.step("containers", containers::run);
    }
    report.step("package", package::run);
    report.step("web page", || web::run(args.filter.as_deref()));
    report.step("fuzz", fuzz::run);
    if args.no_vm {
        report.step("kernel matrix", || Ok(Verdict::skipped("--no-vm was given")));
    } else {
        report.step("kernel matrix", || vm::matrix(&[]).map(Verdict::from));
    }
    report.step("tidy", || tidy::check().map(|good| Verdict::from(Counts::one(good))));
    report.finish()
}

fn prepare(args: &Args) -> Result<Verdict> {
    setup::bpf::ensure()?;
    setup::bpf::ensure_clippy()?;
    if let Err(error) = setup::tools::promtool() {
        println!("  note     no promtool: {error:#}");
    }
    if let Err(error) = setup::tools::rotel() {
        println!("  note     no rotel: {error:#}");
    }
    if !args.no_vm {
        setup::ensure_vm()?;
    }
    if !args.no_live {
        crate::servers::install(Engine::Llama)?;
    }
    build::agent(false)?;
    Ok(Verdict::done())
}

fn static_checks(report: &mut Report) {
    report.step("format", || checked("cargo fmt", &mut cargo::command(&["fmt", "--all", "--check"])));
    report.step("clippy, host", || {
        checked("clippy host", cargo::command(&["clippy", "--all-targets"]).args(["--", "-D", "warnings"]))
    });
    report.step("clippy, kernel programs", || {
        checked("clippy bpf", setup::bpf::cargo("clippy")?.args(["--", "-D", "warnings"]))
    });
}

/// The tests on the real kernel, then those on real servers.
fn live(report: &mut Report, args: &Args, targets: &targets::Targets) {
    if !process::is_root() {
        let why = "the live tests load kernel programs: run this as root";
        report.step("live", || Ok(Verdict::skipped(why)));
        on_prometheus(report, args);
        return;
    }
    // Tests that time things get the release build, and their helper programs beside it.
    report.step("live", || {
        if targets.live.is_empty() {
            return Ok(Verdict::skipped("there are no live tests yet"));
        }
        build_helpers()?;
        tested("live", filtered(&mut release_tests(&targets.live), args, true))
    });
    on_prometheus(report, args);
    report.step("llama.cpp", || on_server(Engine::Llama, &targets.llama, "INFERSCOPE_LLAMA_URL", args));
    if args.vllm {
        report.step("vLLM", || on_server(Engine::Vllm, &targets.vllm, "INFERSCOPE_VLLM_URL", args));
    } else {
        report.step("vLLM", || Ok(Verdict::skipped("give --vllm to run it: it takes 6 GB")));
    }
}

fn on_prometheus(report: &mut Report, args: &Args) {
    report.step("dashboards", || {
        if !process::is_root() {
            return Ok(Verdict::skipped("the dashboards are tried on a live agent: run this as root"));
        }
        if std::env::var_os("INFERSCOPE_BIN").is_none() {
            build::agent(false)?;
            build_helpers()?;
        }
        dashboards::run(Duration::from_secs(args.hold))
    });
}

fn on_server(engine: Engine, names: &[String], variable: &str, args: &Args) -> Result<Verdict> {
    if names.is_empty() {
        return Ok(Verdict::skipped(&format!("there are no tests on {} yet", engine.name())));
    }
    build_helpers()?;
    let server = Server::start(engine, &Options::default())?;
    let mut cargo = release_tests(names);
    cargo.env(variable, format!("http://127.0.0.1:{}", server.port));
    cargo.env(format!("{}_PID", variable.trim_end_matches("_URL")), server.pid().to_string());
    tested(engine.name(), filtered(&mut cargo, args, true))
}

fn release_tests(names: &[String]) -> Command {
    let mut cargo = cargo::command(&["test", "--release", "--no-fail-fast", "--package", "agent"]);
    names.iter().for_each(|name| {
        cargo.args(["--test", name]);
    });
    cargo
}

fn build_helpers() -> Result<()> {
    let mut helpers = cargo::command(&["build", "--release", "--package", "support", "--bins"]);
    // The fake GPU library is a library, not a program.
    helpers.args(["--package", "fake-nvml", "--lib"]);
    crate::step::run("build the tests' helpers", "1 minute", &mut helpers)
}

fn filtered<'a>(cargo: &'a mut Command, args: &Args, one_at_a_time: bool) -> &'a mut Command {
    cargo.arg("--");
    if one_at_a_time {
        cargo.arg("--test-threads=1");
    }
    cargo.args(args.filter.as_deref())
}

/// A step that is one case: it passes or it fails.
fn checked(what: &str, command: &mut Command) -> Result<Verdict> {
    let done = crate::step::captured(what, "up to 2 minutes", LIMIT, command)?;
    if !done.status.success() {
        print!("{}", report::failures(&String::from_utf8_lossy(&std::fs::read(&done.log)?)));
    }
    Ok(Verdict::from(Counts::one(done.status.success())))
}

/// A step that runs test binaries.
fn tested(what: &str, command: &mut Command) -> Result<Verdict> {
    let done = crate::step::captured(&format!("tests {what}"), "up to 10 minutes", LIMIT, command)?;
    let output = String::from_utf8_lossy(&std::fs::read(&done.log)?).into_owned();
    let verdict = Verdict::of_tests(&output, done.status.success());
    if verdict.counts.failed > 0 {
        print!("{}", report::failures(&output));
    }
    if process::interrupted() {
        bail!("interrupted");
    }
    Ok(verdict)
}
