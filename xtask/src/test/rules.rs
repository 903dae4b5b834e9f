//! The Prometheus rules of deploy/ by promtool: that they load, and that each of their cases comes true; so do those of
//! the dashboards' queries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::report::Verdict;
use crate::libtest::Counts;
use crate::{paths, setup, step};

const LIMIT: Duration = Duration::from_secs(5 * 60);

/// One case per file of rules and per file of tests.
pub fn run() -> Result<Verdict> {
    let promtool = match setup::tools::promtool() {
        Ok(promtool) => promtool,
        Err(error) => return Ok(Verdict::skipped(&format!("the rules are tested by promtool: {error:#}"))),
    };
    let mut verdict = Verdict::done();
    for (verb, dir, end) in [
        ("check", "deploy/prometheus", ".rules.yaml"),
        ("test", "deploy/prometheus/tests", ".test.yaml"),
        ("test", "deploy/grafana/tests", ".test.yaml"),
    ] {
        for file in files(&paths::workspace().join(dir), end)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut command = Command::new(&promtool);
            let done =
                step::captured(&format!("{verb} {name}"), "1 second", LIMIT, command.args([verb, "rules"]).arg(&file))?;
            if !done.status.success() {
                print!("{}", step::tail(&done.log, 40));
            }
            verdict.counts += Counts::one(done.status.success());
        }
    }
    Ok(verdict)
}

fn files(dir: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.to_string_lossy().ends_with(end));
    files.sort();
    Ok(files)
}
