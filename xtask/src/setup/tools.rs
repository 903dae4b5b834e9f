//! What only the tests and the benches use: the fuzzer, the peers that benches compare with, Prometheus' own
//! checker, an OTLP collector.

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

const KUBERNETES: python::Set = python::Set {
    name: "helm and kubernetes-validate",
    pins: include_str!("../../pins/kubernetes.txt"),
    python: "python3",
    expect: "5 seconds, 25 MB",
};

/// What the benches compare with.
pub fn peers() -> Result<()> {
    apt::ensure(&BENCH_PACKAGES, "30 seconds")
}

pub fn ensure() -> Result<()> {
    peers()?;
    promtool()?;
    rotel()?;
    kubernetes()?;
    ensure_fuzz()
}

/// An OTLP collector, which the tests send through.
pub fn rotel() -> Result<()> {
    python::ensure(&ROTEL, &paths::cache("tools")?.join("rotel"))
}

/// Helm, and the schemas of Kubernetes; the environment that they are in.
pub fn kubernetes() -> Result<PathBuf> {
    let dir = paths::cache("tools")?.join("kubernetes");
    python::ensure(&KUBERNETES, &dir)?;
    Ok(dir)
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
