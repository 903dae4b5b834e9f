//! The README's table of metrics, which the agent prints from its own: the two must be the same.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Finding;
use crate::{paths, process};

const README: &str = "README.md";
const BEGIN: &str = "<!-- metrics:begin -->";
const END: &str = "<!-- metrics:end -->";

pub fn check(findings: &mut Vec<Finding>) -> Result<()> {
    let Ok(readme) = fs::read_to_string(paths::workspace().join(README)) else { return Ok(()) };
    let Some(table) = printed() else {
        println!("note  {README}: the metrics table is not compared: build the agent first (`cargo xtask build`)");
        return Ok(());
    };
    let mut error = |says: &str| {
        findings.push(Finding { path: README.to_owned(), line: 1, says: says.to_owned(), must_go: true });
    };
    match section(&readme) {
        None => error("has no metrics table: put the marks metrics:begin and metrics:end where it belongs"),
        Some((from, to)) if readme[from..to].trim() != table.trim() => {
            error("the metrics table is not the agent's: run `cargo xtask tidy --fix`");
        }
        Some(_) => {}
    }
    Ok(())
}

/// Puts the agent's table between the marks.
pub fn write() -> Result<()> {
    let path = paths::workspace().join(README);
    let readme = fs::read_to_string(&path).context("cannot read README.md")?;
    let table = printed().context("the agent prints no table: run `cargo xtask build` first")?;
    let Some((from, to)) = section(&readme) else { bail!("README.md has no marks {BEGIN} and {END}") };
    let text = format!("{}\n{}\n{}", &readme[..from], table.trim(), &readme[to..]);
    fs::write(path, text).context("cannot write README.md")
}

/// What the built agent prints; None where there is none, or none that knows the command.
fn printed() -> Option<String> {
    let agent = ["release", "debug"].map(|profile| paths::target().join(profile).join("inferscope"));
    let newest = agent
        .into_iter()
        .filter(|path| path.exists())
        .max_by_key(|path| path.metadata().and_then(|about| about.modified()).ok())?;
    process::output(Command::new(newest).arg("metrics-table")).ok().filter(|table| !table.is_empty())
}

fn section(readme: &str) -> Option<(usize, usize)> {
    let from = readme.find(BEGIN)? + BEGIN.len();
    let to = readme[from..].find(END)? + from;
    Some((from, to))
}
