//! The Helm chart and the manifests that it renders, against the schemas of every Kubernetes that they are for.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::report::Verdict;
use crate::libtest::Counts;
use crate::{paths, setup, step};

const LIMIT: Duration = Duration::from_secs(5 * 60);

/// The script's own cases; what it leaves out for want of promtool counts as skipped.
pub fn run() -> Result<Verdict> {
    let tools = match setup::tools::kubernetes() {
        Ok(tools) => tools,
        Err(error) => return Ok(Verdict::skipped(&format!("the chart is rendered by helm: {error:#}"))),
    };
    let mut script = Command::new(tools.join("bin/python"));
    script.current_dir(paths::workspace()).env("PYTHONDONTWRITEBYTECODE", "1");
    script.args(["tests/kubernetes/validate.py", "--helm"]).arg(tools.join("bin/helm"));
    if let Ok(promtool) = setup::tools::promtool() {
        script.arg("--promtool").arg(promtool);
    }
    let done = step::captured("chart and manifests", "15 seconds", LIMIT, &mut script)?;
    if !done.status.success() {
        print!("{}", step::tail(&done.log, 40));
    }
    let said = std::fs::read_to_string(&done.log)?;
    Ok(Verdict::from(Counts::of_sum(&said, done.status.success())))
}
