//! Every kernel, two at a time: `inferscope check` and the live tests, in one boot each.
//!
//! What each guest printed is kept in `.cache/matrix`.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::boot::{Guest, Outcome};
use super::fetch::Kernel;
use crate::libtest::Counts;
use crate::{build, paths, process, step};

/// The live tests that need nothing but the kernel: names of files in agent/tests.
const LIVE_TESTS: [&str; 3] = ["live_process", "live_sched", "live_socket"];
const AT_ONCE: usize = 2;
/// Without KVM a guest is some twenty times slower than its host.
const LIMIT: Duration = Duration::from_secs(300);

/// A program of the matrix: what the table calls it, where it lies, what it is given.
struct Job {
    name: String,
    binary: PathBuf,
    args: Vec<String>,
}

/// Runs everything on KERNELS and prints a table.
pub fn run(kernels: &[Kernel]) -> Result<Counts> {
    let agent = build::agent(false)?;
    let stripped = tempfile::tempdir()?;
    let jobs = jobs(&agent, stripped.path())?;
    println!("{} kernels, {AT_ONCE} at a time: {}", kernels.len(), names(&jobs).join(", "));
    let queue: Mutex<VecDeque<&Kernel>> = Mutex::new(kernels.iter().collect());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(kernels.len()) {
            scope.spawn(|| {
                while let Some(kernel) = { queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() } {
                    let outcome = boot(kernel, &agent, &jobs);
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

fn jobs(agent: &Path, dir: &Path) -> Result<Vec<Job>> {
    let check = Job { name: "check".into(), binary: agent.to_path_buf(), args: vec!["check".into(), "--json".into()] };
    let mut jobs = vec![check];
    for (name, binary) in live_tests()? {
        let small = dir.join(&name);
        // Debug information is most of a test program, and the guest has to unpack it.
        if !process::succeeds(Command::new("strip").args(["--strip-debug", "-o"]).args([&small, &binary])) {
            fs::copy(&binary, &small).with_context(|| format!("cannot copy {}", binary.display()))?;
        }
        let args = vec!["--test-threads=1".to_owned()];
        jobs.push(Job { name, binary: small, args });
    }
    Ok(jobs)
}

/// Builds those of the live tests that exist; their names and programs.
fn live_tests() -> Result<Vec<(String, PathBuf)>> {
    let there = |name: &&str| paths::workspace().join(format!("agent/tests/{name}.rs")).exists();
    let present: Vec<&str> = LIVE_TESTS.into_iter().filter(there).collect();
    if present.is_empty() {
        return Ok(Vec::new());
    }
    let mut cargo = Command::new("cargo");
    cargo.current_dir(paths::workspace());
    cargo.args(["test", "--no-run", "--release", "--package", "agent", "--message-format=json-render-diagnostics"]);
    for name in &present {
        cargo.args(["--test", name]);
    }
    let done = cargo.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo")?;
    if !done.status.success() {
        bail!("the live tests did not build: the compiler's reason is above");
    }
    let messages = String::from_utf8_lossy(&done.stdout);
    Ok(messages.lines().filter_map(test_program).collect())
}

fn test_program(message: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let name = message["target"]["name"].as_str().filter(|name| LIVE_TESTS.contains(name))?;
    Some((name.to_owned(), PathBuf::from(message["executable"].as_str()?)))
}

fn boot(kernel: &Kernel, agent: &Path, jobs: &[Job]) -> Result<Outcome> {
    let mut guest = Guest::new(&kernel.image);
    guest.limit = LIMIT;
    // Tests start the agent by the path that cargo compiled into them.
    guest.add_path(agent)?;
    for job in jobs {
        guest.job(&job.binary, job.args.clone())?;
    }
    let outcome = guest.boot()?;
    let text: String = outcome.jobs.iter().map(|job| format!("{}exit code {:?}\n", job.output, job.code)).collect();
    let file = paths::cache("matrix")?.join(&kernel.release);
    fs::write(file, text + "\nkernel messages:\n" + &outcome.console).context("cannot write .cache/matrix")?;
    Ok(outcome)
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
    for (at, job) in jobs.iter().enumerate() {
        let (counts, cell) = match outcome.jobs.get(at) {
            None => (Counts::one(false), "never ran".to_owned()),
            Some(end) if job.name == "check" => {
                let good = end.code == Some(0);
                (Counts::one(good), if good { "ok".into() } else { format!("FAILED ({:?})", end.code) })
            }
            Some(end) => {
                let counts = Counts::of(&end.output, end.code == Some(0));
                (counts, format!("{}/{}/{}", counts.passed, counts.failed, counts.skipped))
            }
        };
        total += counts;
        row += &format!("{cell:<24}");
    }
    println!("{row}{}", step::seconds(outcome.wall));
    Ok(total)
}
