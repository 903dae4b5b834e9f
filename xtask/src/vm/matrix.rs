//! Every kernel, two at a time: `inferscope check` and the live tests, in one boot each.
//!
//! What each guest printed is kept in `.cache/matrix`.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::boot::{Guest, JobEnd, Outcome};
use super::fetch::Kernel;
use crate::libtest::Counts;
use crate::{build, cargo, paths, process, step};

/// The live tests that need nothing but the kernel: names of files in agent/tests.
const LIVE_TESTS: [&str; 8] = [
    "live_custom_probes",
    "live_listen",
    "live_process",
    "live_sched",
    "live_service",
    "live_socket",
    "live_start",
    "live_clock",
];
/// Much the same on every kernel: on the oldest only, which has the most of its own.
const ONCE: [&str; 2] = ["live_start", "live_clock"];
const AT_ONCE: usize = 2;
/// Without KVM a guest is some twenty times slower than its host: the oldest takes up to ten minutes.
const LIMIT: Duration = Duration::from_secs(1200);

/// A program of the matrix: what the table calls it, where it lies, what it is given.
struct Job {
    name: String,
    binary: PathBuf,
    args: Vec<String>,
}

/// Why a program is not run on a kernel.
fn left_out(release: &str, name: &str) -> Option<&'static str> {
    let major = release.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
    (ONCE.contains(&name) && major != 5).then_some("runs on the oldest kernel only")
}

/// Runs everything on KERNELS and prints a table.
pub fn run(kernels: &[Kernel]) -> Result<Counts> {
    let agent = build::agent(false)?;
    let small = tempfile::tempdir()?;
    let (jobs, helpers) = prepare(&agent, small.path())?;
    println!("{} kernels, {AT_ONCE} at a time: {}", kernels.len(), names(&jobs).join(", "));
    let queue: Mutex<VecDeque<&Kernel>> = Mutex::new(kernels.iter().collect());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(kernels.len()) {
            scope.spawn(|| {
                while let Some(kernel) = { queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() } {
                    let outcome = boot(kernel, &jobs, &helpers);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((kernel, outcome));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(kernel, _)| kernels.iter().position(|known| known.release == kernel.release));
    let mut total = Counts::default();
    print_header(&jobs);
    for (kernel, outcome) in results {
        total += print_row(kernel, &jobs, outcome.with_context(|| kernel.release.clone())?)?;
    }
    Ok(total)
}

/// Builds the live tests that exist. Their programs, the agent, and what the tests start, all small and in DIR.
fn prepare(agent: &Path, dir: &Path) -> Result<(Vec<Job>, Vec<PathBuf>)> {
    let check = Job { name: "check".into(), binary: agent.to_path_buf(), args: vec!["check".into(), "--json".into()] };
    let there = |name: &&str| paths::workspace().join(format!("agent/tests/{name}.rs")).exists();
    let present: Vec<&str> = LIVE_TESTS.into_iter().filter(there).collect();
    if present.is_empty() {
        return Ok((vec![check], Vec::new()));
    }
    let mut build = vec!["test", "--no-run", "--release", "--package", "agent"];
    present.iter().for_each(|name| build.extend(["--test", name]));
    let mut jobs = vec![check];
    for (name, binary) in cargo::programs(&build)?.into_iter().filter(|(name, _)| present.contains(&name.as_str())) {
        let args = vec!["--test-threads=1".to_owned()];
        jobs.push(Job { binary: stripped(&binary, dir, &name)?, name, args });
    }
    let helpers = cargo::programs(&["build", "--release", "--package", "support", "--bins"])?;
    let helpers = helpers.iter().map(|(name, binary)| stripped(binary, dir, name)).collect::<Result<_>>()?;
    Ok((jobs, helpers))
}

/// Debug information is most of a test program, and the guest has to unpack it.
fn stripped(binary: &Path, dir: &Path, name: &str) -> Result<PathBuf> {
    let small = dir.join(name);
    if !process::succeeds(Command::new("strip").args(["--strip-debug", "-o"]).args([&small, binary])) {
        fs::copy(binary, &small).with_context(|| format!("cannot copy {}", binary.display()))?;
    }
    Ok(small)
}

fn boot(kernel: &Kernel, jobs: &[Job], helpers: &[PathBuf]) -> Result<Outcome> {
    let mut guest = Guest::new(&kernel.image);
    guest.limit = LIMIT;
    for helper in helpers {
        guest.add_beside(helper)?;
    }
    for job in jobs.iter().filter(|job| left_out(&kernel.release, &job.name).is_none()) {
        guest.job(&job.binary, job.args.clone())?;
    }
    let mut outcome = guest.boot()?;
    if outcome.dead || outcome.jobs.is_empty() || outcome.console.contains("Oops: int3") {
        println!("  again    {}: the guest died:\n{}", kernel.release, outcome.console_tail());
        outcome = guest.boot()?;
    }
    let text: String = outcome.jobs.iter().map(|job| format!("{}exit code {:?}\n", job.output, job.code)).collect();
    let file = paths::cache("matrix")?.join(&kernel.release);
    fs::write(file, text + "\nkernel messages:\n" + &outcome.console).context("cannot write .cache/matrix")?;
    Ok(outcome)
}

/// What a program said of its failure; of one that did not come to its end, where it and the kernel were.
fn failure(end: &JobEnd, outcome: &Outcome) -> String {
    if end.code.is_none() {
        let (said, kernel) = (step::last_lines(&end.output, 15), step::last_lines(&outcome.console, 60));
        return format!("{said}  the kernel's last messages:\n{kernel}");
    }
    let said = end.output.split_once("\nfailures:\n").map_or(&*end.output, |(_, said)| said);
    said.lines().take(80).map(|line| format!("    {line}\n")).collect()
}

fn names(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.name.as_str()).collect()
}

fn print_header(jobs: &[Job]) {
    let columns: String = names(jobs).iter().map(|name| format!("{name:<24}")).collect();
    println!("{:<34}{columns}time", "kernel");
}

fn print_row(kernel: &Kernel, jobs: &[Job], outcome: Outcome) -> Result<Counts> {
    let (mut total, mut row) = (Counts::default(), format!("{:<34}", kernel.release));
    let mut ran = outcome.jobs.iter();
    for job in jobs {
        if let Some(reason) = left_out(&kernel.release, &job.name) {
            println!("  skipped  {} on {}: {reason}", job.name, kernel.release);
            total.skipped += 1;
            row += &format!("{:<24}", "skipped");
            continue;
        }
        let (counts, cell) = match ran.next() {
            None => (Counts::one(false), "never ran".to_owned()),
            Some(end) if job.name == "check" => {
                let good = end.code == Some(0);
                (Counts::one(good), if good { "ok".into() } else { format!("FAILED ({:?})", end.code) })
            }
            Some(end) => {
                let counts = Counts::of(&end.output, end.code == Some(0));
                if counts.failed > 0 {
                    println!("{} on {} failed:\n{}", job.name, kernel.release, failure(end, &outcome));
                }
                (counts, format!("{}/{}/{}", counts.passed, counts.failed, counts.skipped))
            }
        };
        total += counts;
        row += &format!("{cell:<24}");
    }
    println!("{row}{}", step::seconds(outcome.wall));
    Ok(total)
}
