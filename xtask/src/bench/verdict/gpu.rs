//! A fake GPU on which the server's processes run: at ease, or busy and throttled, as the bench says.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use support::clock::now_ns;
use support::locate;

/// The script's seconds of which the GPU is busy, and that it is always at when it is at ease.
const BUSY_S: u64 = 10;
const NEVER_NS: u64 = 1 << 62;

pub struct Gpu {
    dir: PathBuf,
}

impl Gpu {
    /// Copies the library into DIR, where its script and what controls it lie beside it.
    pub fn new(dir: &Path, pids: &[u32]) -> Result<Self> {
        let library = locate::helper("libfake_nvml.so").context("cargo build --release -p fake-nvml makes it")?;
        fs::copy(library, dir.join("libfake_nvml.so"))?;
        fs::write(dir.join("fake-nvml.jsonl"), script(pids))?;
        let gpu = Self { dir: dir.to_owned() };
        gpu.at_ease()?;
        Ok(gpu)
    }

    pub fn library(&self) -> PathBuf {
        self.dir.join("libfake_nvml.so")
    }

    pub fn at_ease(&self) -> Result<()> {
        self.second_zero(NEVER_NS)
    }

    pub fn busy(&self) -> Result<()> {
        self.second_zero(now_ns().saturating_sub((BUSY_S + 1) * 1_000_000_000))
    }

    /// In one step: the library reads the file at every call.
    fn second_zero(&self, at_ns: u64) -> Result<()> {
        let new = self.dir.join("fake-nvml.control.new");
        fs::write(&new, format!("epoch_ns={at_ns}\n"))?;
        fs::rename(new, self.dir.join("fake-nvml.control")).context("cannot control the fake GPU")
    }
}

/// Throttled: software power cap and hardware thermal slowdown (nvml.h: 0x4 and 0x40).
fn script(pids: &[u32]) -> String {
    let mut text = String::from(
        "{\"gpu\": 0, \"name\": \"NVIDIA H100 80GB HBM3\", \"memory_total\": 85520809984}\n\
         {\"t\": 0, \"gpu\": 0, \"util\": 12, \"mem_util\": 6, \"mW\": 120000, \"temp\": 40, \"sm_clock\": 1980, \
         \"mem_clock\": 2619, \"throttle\": 0, \"gpm\": {\"2\": 10.0, \"3\": 8.0}}\n",
    );
    let busy = format!(
        "{{\"t\": {BUSY_S}, \"gpu\": 0, \"util\": 100, \"mem_util\": 96, \"mW\": 699000, \"temp\": 88, \
         \"sm_clock\": 1100, \"throttle\": 68, \"gpm\": {{\"2\": 99.0, \"3\": 97.0}}}}\n"
    );
    let process = |t: u64, pid: &u32, sm: u32| {
        format!("{{\"t\": {t}, \"gpu\": 0, \"pid\": {pid}, \"sm\": {sm}, \"mem\": {sm}, \"memory\": 4000000000}}\n")
    };
    pids.iter().for_each(|pid| text.push_str(&process(0, pid, 10)));
    text.push_str(&busy);
    pids.iter().for_each(|pid| text.push_str(&process(BUSY_S, pid, 99)));
    text
}
