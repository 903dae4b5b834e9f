//! A CPU quota of a quarter of what the server would use: cpu.max, or cpu.cfs_quota_us of control groups of version 1.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{Fault, Kind, same};
use crate::bench::verdict::rig::Rig;

/// Of each 100 ms, over all CPUs; both servers compute on two.
const QUOTA_US: u32 = 50_000;

pub const QUOTA: Kind = Kind {
    name: "CPU quota",
    expected: "cpu_throttled",
    missing: |rig| file(rig).is_none().then(|| "this kernel has no CPU quota (CFS_BANDWIDTH)".into()),
    fault: || Box::new(Quota),
    quiet: same,
    faulty: same,
};

struct Quota;

impl Fault for Quota {
    fn inject(&mut self, rig: &Rig) -> Result<()> {
        write(rig, &QUOTA_US.to_string())
    }

    fn lift(&mut self, rig: &Rig) -> Result<()> {
        write(rig, if rig.groups.is_unified() { "max" } else { "-1" })
    }
}

fn file(rig: &Rig) -> Option<PathBuf> {
    rig.groups.file("cpu", if rig.groups.is_unified() { "cpu.max" } else { "cpu.cfs_quota_us" })
}

fn write(rig: &Rig, quota: &str) -> Result<()> {
    let file = file(rig).context("no CPU quota")?;
    fs::write(&file, quota).with_context(|| format!("cannot write {quota} to {}", file.display()))
}
