//! A short run of every fuzz target: enough to see that none has gone stale, and what the kept corpus reaches.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::report::Verdict;
use crate::libtest::Counts;
use crate::{paths, process, setup, step};

const SECONDS_EACH: &str = "10";
const LIMIT: Duration = Duration::from_secs(15 * 60);

pub fn run() -> Result<Verdict> {
    let workspace = paths::workspace();
    if !workspace.join("fuzz/Cargo.toml").exists() {
        return Ok(Verdict::skipped("there are no fuzz targets yet"));
    }
    if let Err(error) = setup::tools::ensure_fuzz() {
        return Ok(Verdict::skipped(&format!("fuzzing needs cargo-fuzz and a nightly toolchain: {error:#}")));
    }
    let targets = process::output(fuzz(&["list"]).current_dir(&workspace))?;
    let mut verdict = Verdict::done();
    for target in targets.lines() {
        // One unit is what cargo-fuzz takes for speed: it is minutes of one CPU here, for ten seconds of fuzzing.
        let mut command = fuzz(&["run", "--codegen-units", "16", target]);
        // What is found goes to the first folder, and is there for the next run; the kept corpus is the second.
        command.arg(paths::cache(&format!("fuzz/{target}"))?).arg(workspace.join("fuzz/corpus").join(target)).arg("--");
        command.args([&format!("-max_total_time={SECONDS_EACH}"), "-rss_limit_mb=2048", "-print_final_stats=1"]);
        let done = step::captured(&format!("fuzz {target}"), "10 seconds and its build", LIMIT, &mut command)?;
        if !done.status.success() {
            print!("{}", step::tail(&done.log, 40));
        }
        verdict.counts += Counts::one(done.status.success());
    }
    Ok(verdict)
}

/// Fuzz targets test parsers, so they do not need the kernel programs.
fn fuzz(args: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(paths::workspace()).args(["run", "nightly", "cargo", "fuzz"]).args(args);
    command.env("INFERSCOPE_SKIP_BPF", "1").env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}
