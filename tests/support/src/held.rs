//! Kernel programs and maps that a process holds, by their ids, so that a test can see that they went with it.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub programs: BTreeSet<u32>,
    pub maps: BTreeSet<u32>,
}

impl Held {
    /// What a process' descriptors refer to.
    pub fn by(pid: u32) -> Result<Self> {
        let mut held = Self::default();
        let folder = format!("/proc/{pid}/fdinfo");
        for entry in std::fs::read_dir(&folder).context(folder)? {
            let Ok(text) = std::fs::read_to_string(entry?.path()) else { continue };
            let id = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<u32>().ok());
            held.programs.extend(id("prog_id:"));
            held.maps.extend(id("map_id:"));
        }
        Ok(held)
    }

    /// Waits until none of them is in the kernel any more: it frees them a moment after the last descriptor.
    pub fn wait_gone(&self, within: Duration, there: impl Fn() -> Held) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let there = there();
            let left = Held {
                programs: self.programs.intersection(&there.programs).copied().collect(),
                maps: self.maps.intersection(&there.maps).copied().collect(),
            };
            if left == Held::default() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "still in the kernel: {left:?}");
            std::thread::yield_now();
        }
    }
}
