//! Python packages, pinned by version and hash, each set in a virtual environment of its own under `.cache`.
//!
//! pip is asked by package name only, so the user's own pip configuration (index, proxy, certificates) holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::apt;
use crate::{paths, process, step};

/// A pinned set: what it is called, its requirements, the interpreter it needs, and what to tell the user.
pub struct Set {
    pub name: &'static str,
    pub pins: &'static str,
    pub python: &'static str,
    pub expect: &'static str,
}

/// Installs SET into DIR unless exactly this set is there.
pub fn ensure(set: &Set, dir: &Path) -> Result<()> {
    // Written last, so that an interrupted install is not taken for a complete one.
    let stamp = dir.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == set.pins) {
        step::already(&format!("{} in {}", set.name, dir.display()));
        return Ok(());
    }
    let python = interpreter(set.python)?;
    let pins = dir.with_extension("txt");
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::write(&pins, set.pins)?;
    if !dir.join("bin/pip").exists() {
        step::run("python -m venv", "5 seconds", Command::new(python).args(["-m", "venv", "--clear"]).arg(dir))?;
    }
    // Not bin/pip, whose first line has the folder that it was made in: a checkout may have been moved.
    let mut pip = Command::new(dir.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--require-hashes",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-input",
        "--requirement",
    ]);
    step::run(&format!("pip install {}", set.name), set.expect, pip.arg(&pins))?;
    fs::write(stamp, set.pins).context("cannot note that the install is complete")
}

/// The packages' directory inside DIR.
pub fn site_packages(dir: &Path) -> Result<PathBuf> {
    let lib = dir.join("lib");
    let entries = fs::read_dir(&lib).with_context(|| format!("{} is not installed", dir.display()))?;
    let found = entries.flatten().map(|entry| entry.path().join("site-packages")).find(|path| path.is_dir());
    found.with_context(|| format!("no site-packages in {}: remove it and run this again", lib.display()))
}

/// The system's own interpreter where it has one: an unprivileged server cannot read one in root's home.
fn interpreter(version: &str) -> Result<PathBuf> {
    let find = || [PathBuf::from("/usr/bin").join(version)].into_iter().chain(paths::program(version)).find(works);
    if let Some(found) = find() {
        return Ok(found);
    }
    apt::ensure(&["python3", "python3-venv"], "20 seconds")?;
    find().with_context(|| format!("the pinned packages want {version}: install it with its venv module"))
}

fn works(python: &PathBuf) -> bool {
    process::succeeds(Command::new(python).args(["-c", "import venv, ensurepip"]))
}
