//! `cargo xtask tidy`: the house rules that a program can check, on every file that git knows or would add.
//!
//! What formatting and clippy check already is not checked again.

mod links;
mod metrics_table;
mod rules;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{paths, process};

/// Check the house rules
#[derive(clap::Args)]
pub struct Args {
    /// Write the metrics table into README.md instead of comparing it
    #[arg(long)]
    fix: bool,
}

/// Something that a rule found, and whether it must go or only should.
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub says: String,
    pub must_go: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if args.fix {
        metrics_table::write()?;
    }
    if !check()? {
        bail!("the files above break the house rules: change them, or the rule in xtask/src/tidy");
    }
    Ok(())
}

/// Prints what the rules find; whether everything that must hold does.
pub fn check() -> Result<bool> {
    let root = paths::workspace();
    let listed =
        process::output(Command::new("git").current_dir(&root).args(["ls-files", "-co", "--exclude-standard"]))
            .context("tidy asks git which files there are")?;
    let (mut findings, mut pages) = (Vec::new(), BTreeMap::new());
    for path in listed.lines() {
        let file: PathBuf = root.join(path);
        // A file that is deleted but not yet committed, or a link.
        if !file.symlink_metadata().is_ok_and(|about| about.is_file()) {
            continue;
        }
        let bytes = fs::read(&file).with_context(|| format!("cannot read {path}"))?;
        rules::any_file(path, &bytes, &mut findings);
        match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("rs") => rules::rust_file(path, &String::from_utf8_lossy(&bytes), &mut findings),
            Some("md") => drop(pages.insert(path.to_owned(), String::from_utf8_lossy(&bytes).into_owned())),
            _ => {}
        }
    }
    links::check(&pages, |path| root.join(path).exists(), &mut findings);
    metrics_table::check(&mut findings)?;
    for finding in &findings {
        let mark = if finding.must_go { "error" } else { "note " };
        println!("{mark} {}:{}: {}", finding.path, finding.line, finding.says);
    }
    let errors = findings.iter().filter(|finding| finding.must_go).count();
    println!("tidy: {} files, {errors} errors, {} notes", listed.lines().count(), findings.len() - errors);
    Ok(errors == 0)
}
