//! Debian packages: what is there, what is missing, and one install with one retry.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{paths, process, step};

/// Installs those of PACKAGES that are missing. EXPECT is shown to the user.
pub fn ensure(packages: &[&str], expect: &str) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        step::already(&packages.join(" "));
        return Ok(());
    }
    let list = missing.join(" ");
    if paths::program("apt-get").is_none() {
        bail!("this host has no apt: install what its own packages call {list}, then run this again");
    }
    if !process::is_root() {
        bail!("packages are missing: sudo apt-get update && sudo apt-get install --no-install-recommends {list}");
    }
    // The index of a fresh machine is empty or old, so it is fetched first, and once more before the retry.
    let install = || -> Result<()> {
        step::run("apt-get update", "10 seconds", apt_get().arg("update"))?;
        let what = format!("apt-get install {list}");
        step::run(&what, expect, apt_get().args(["install", "-y", "--no-install-recommends"]).args(&missing))
    };
    install().or_else(|error| {
        println!("  retry    {error:#}");
        install()
    })
}

/// Whether apt knows PACKAGE, installed or not.
pub fn available(package: &str) -> bool {
    process::output(Command::new("apt-cache").args(["policy", package]))
        .is_ok_and(|policy| policy.contains("Candidate:") && !policy.contains("Candidate: (none)"))
}

pub fn installed(package: &str) -> bool {
    process::output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=120"]);
    command
}
