//! A memory limit below what the server works on: memory.high, or memory.limit_in_bytes of control groups of version 1.
//! Half of the model's pages no longer fit, so each pass over the weights reclaims some and reads others again.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Fault, Kind, same};
use crate::bench::verdict::rig::Rig;

/// The share of its file pages that the server keeps.
const KEPT: f64 = 0.5;

pub const LIMIT: Kind = Kind {
    name: "memory limit",
    expected: "memory_pressure",
    missing: |rig| {
        if rig.disk.is_none() {
            return Some("its weights are made up in anonymous memory, which cannot be reclaimed without swap".into());
        }
        file(rig, "memory.stat").is_none().then(|| "this host has no memory controller".into())
    },
    fault: || Box::new(Limit),
    quiet: same,
    faulty: same,
};

struct Limit;

impl Fault for Limit {
    fn inject(&mut self, rig: &Rig) -> Result<()> {
        let (usage, cache) = if rig.groups.is_unified() {
            (number(rig, "memory.current")?, stat(rig, "file")?)
        } else {
            (number(rig, "memory.usage_in_bytes")?, stat(rig, "cache")?)
        };
        let limit = usage - (cache as f64 * (1.0 - KEPT)) as u64;
        write(rig, &limit.to_string())
    }

    fn lift(&mut self, rig: &Rig) -> Result<()> {
        write(rig, if rig.groups.is_unified() { "max" } else { "-1" })
    }
}

fn file(rig: &Rig, name: &str) -> Option<std::path::PathBuf> {
    rig.groups.file("memory", name)
}

fn read(rig: &Rig, name: &str) -> Result<String> {
    let file = file(rig, name).with_context(|| format!("this host has no {name}"))?;
    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

fn number(rig: &Rig, name: &str) -> Result<u64> {
    read(rig, name)?.trim().parse().with_context(|| format!("{name} is no number"))
}

fn stat(rig: &Rig, name: &str) -> Result<u64> {
    value(&read(rig, "memory.stat")?, name).with_context(|| format!("memory.stat has no {name}"))
}

fn value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn write(rig: &Rig, limit: &str) -> Result<()> {
    let name = if rig.groups.is_unified() { "memory.high" } else { "memory.limit_in_bytes" };
    let file = file(rig, name).with_context(|| format!("this host has no {name}"))?;
    fs::write(&file, limit).with_context(|| format!("cannot write {limit} to {}", file.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_is_matched_whole() {
        let text = "cache 10\nrss 20\nrss_huge 5\n";
        assert_eq!(super::value(text, "rss"), Some(20));
        assert_eq!(super::value(text, "file"), None);
    }
}
