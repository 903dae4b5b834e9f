//! What only the tests and the benches use: the fuzzer, the peers that benches compare with, Prometheus' own
//! checker, an OTLP collector, a browser.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{apt, python};
use crate::{paths, process, step};

const FUZZ_VERSION: &str = "0.13.1";
/// `perf bench`, and runqlat and offcputime as peers.
const BENCH_PACKAGES: [&str; 2] = ["linux-perf", "libbpf-tools"];

const ROTEL: python::Set = python::Set {
    name: "rotel",
    pins: include_str!("../../pins/rotel.txt"),
    python: "python3",
    expect: "5 seconds, 10 MB",
};

/// What the benches compare with.
pub fn peers() -> Result<()> {
    apt::ensure(&BENCH_PACKAGES, "30 seconds")
}

pub fn ensure() -> Result<()> {
    peers()?;
    promtool()?;
    rotel()?;
    browser()?;
    ensure_fuzz()
}

/// An OTLP collector, which the tests send through.
pub fn rotel() -> Result<()> {
    python::ensure(&ROTEL, &paths::cache("tools")?.join("rotel"))
}

/// What the tests of the page run in.
pub struct Browser {
    pub chromium: PathBuf,
    /// The module that drives it.
    pub playwright: PathBuf,
}

/// Chromium and Node from Debian, and playwright-core from npm, pinned by hash, under `.cache`.
pub fn browser() -> Result<Browser> {
    const LOCK: &str = include_str!("../../../tests/web/package-lock.json");
    const PACKAGE: &str = include_str!("../../../tests/web/package.json");
    for (program, package, expect) in [
        ("node", "nodejs", "20 seconds, 60 MB"),
        ("npm", "npm", "1 minute, 100 MB"),
        ("chromium", "chromium", "1 minute, 400 MB"),
    ] {
        match paths::program(program) {
            Some(_) => step::already(program),
            None => apt::ensure(&[package], expect)?,
        }
    }
    let chromium = paths::program("chromium").context("Debian's chromium has no program of that name")?;
    let dir = paths::cache("tools/web")?;
    let playwright = dir.join("node_modules/playwright-core/index.mjs");
    let stamp = dir.join("installed.txt");
    if playwright.exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == LOCK) {
        step::already("playwright-core");
        return Ok(Browser { chromium, playwright });
    }
    fs::write(dir.join("package.json"), PACKAGE)?;
    fs::write(dir.join("package-lock.json"), LOCK)?;
    let mut npm = Command::new("npm");
    // It drives the browser that is there and fetches none.
    npm.current_dir(&dir).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    step::run("npm ci playwright-core", "10 seconds, 10 MB", &mut npm)?;
    fs::write(stamp, LOCK).context("cannot note that the install is complete")?;
    Ok(Browser { chromium, playwright })
}

/// cargo-fuzz; the nightly toolchain it needs is the user's, and is never installed for it.
pub fn ensure_fuzz() -> Result<()> {
    if !process::succeeds(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])) {
        bail!("no nightly toolchain: rustup toolchain install nightly");
    }
    if paths::program("cargo-fuzz").is_some() {
        step::already("cargo-fuzz");
        return Ok(());
    }
    let mut install = Command::new("cargo");
    install.args(["install", "cargo-fuzz", "--locked", "--version", FUZZ_VERSION]);
    step::run("cargo install cargo-fuzz", "1 minute", &mut install)
}

/// Prometheus' checker, taken out of Debian's package: installing that would start a Prometheus.
pub fn promtool() -> Result<PathBuf> {
    if let Some(found) = paths::program("promtool") {
        return Ok(found);
    }
    let dir = paths::cache("tools")?;
    let program = dir.join("prometheus/usr/bin/promtool");
    if program.exists() {
        step::already("promtool");
        return Ok(program);
    }
    step::work("promtool", "10 seconds, 30 MB", || {
        let download =
            || process::output(Command::new("apt-get").current_dir(&dir).args(["-q", "download", "prometheus"]));
        // The index of a fresh machine is empty or old.
        download()
            .or_else(|_| process::output(Command::new("apt-get").args(["-q", "update"])).and_then(|_| download()))
            .context("promtool is in Debian's package prometheus, which apt cannot fetch")?;
        let unpack = "dpkg-deb -x prometheus_*.deb prometheus && rm prometheus_*.deb";
        process::output(Command::new("sh").current_dir(&dir).args(["-c", unpack]))
    })?;
    Ok(program)
}
