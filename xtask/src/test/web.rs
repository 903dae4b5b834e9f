//! The page in a headless browser, over the agent's own server under made-up load: `tests/web`. Needs neither root nor
//! kernel programs.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::report::{Verdict, failures};
use crate::libtest::Counts;
use crate::{cargo, paths, setup, step};

const LIMIT: Duration = Duration::from_secs(10 * 60);

/// FILTER: only tests whose name contains it.
pub fn run(filter: Option<&str>) -> Result<Verdict> {
    let browser = match setup::tools::browser() {
        Ok(browser) => browser,
        Err(error) => return Ok(Verdict::skipped(&format!("the page's tests need chromium, node and npm: {error:#}"))),
    };
    let mut build = cargo::command(&["build", "--release", "--package", "agent", "--example", "web_load"]);
    step::run("build the page's server", "up to 2 minutes", &mut build)?;
    let mut node = Command::new("node");
    node.current_dir(paths::workspace().join("tests/web"));
    node.args(["--test", "--test-concurrency=1", "--test-reporter=tap"]);
    node.args(filter.map(|filter| format!("--test-name-pattern={filter}")));
    node.env("INFERSCOPE_WEB_LOAD", paths::target().join("release/examples/web_load"));
    node.env("INFERSCOPE_CHROMIUM", browser.chromium).env("INFERSCOPE_PLAYWRIGHT", browser.playwright);
    let done = step::captured("tests web page", "1 minute", LIMIT, &mut node)?;
    let output = String::from_utf8_lossy(&std::fs::read(&done.log)?).into_owned();
    for said in output.lines().filter_map(told) {
        println!("  page     {said}");
    }
    if !done.status.success() {
        print!("{}", failures(&output));
    }
    Ok(Verdict::from(counts(&output, done.status.success())))
}

/// What the tests measured.
fn told(line: &str) -> Option<&str> {
    let said = line.trim().trim_start_matches("# ");
    ["LOADED in ", "history: "].iter().any(|begin| said.starts_with(begin)).then_some(said)
}

/// The sums that Node prints at the end; a run that broke off before them is a failed case.
fn counts(output: &str, good: bool) -> Counts {
    let sum = |word: &str| {
        let line = output.lines().rev().find_map(|line| line.strip_prefix(&format!("# {word} ")));
        line.and_then(|digits| digits.trim().parse().ok())
    };
    let (Some(passed), Some(failed)) = (sum("pass"), sum("fail")) else { return Counts::one(false) };
    let skipped = sum("skipped").unwrap_or(0);
    Counts { passed, failed: if good { failed } else { failed.max(1) }, skipped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_at_the_end_count() {
        let output = "# LOADED in 300 ms\nok 1 - a\n# tests 12\n# pass 10\n# fail 1\n# cancelled 0\n# skipped 1\n";
        assert_eq!(counts(output, false), Counts { passed: 10, failed: 1, skipped: 1 });
        assert_eq!(counts("# pass 3\n# fail 0\n", false).failed, 1);
        assert_eq!(counts("node: bad option", false), Counts::one(false));
        assert_eq!(output.lines().filter_map(told).collect::<Vec<_>>(), ["LOADED in 300 ms"]);
    }
}
