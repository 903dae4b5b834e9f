//! The model's pages are thrown out again and again, and come back from a disk that control groups slow down. It is not the
//! server that reclaims: it only reads.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Fault, Kind, same};
use crate::bench::verdict::rig::Rig;

/// About a fifth of a second for half of the model.
const BYTES_PER_SECOND: u64 = 250_000_000;
/// Between two throws.
const PAUSE: Duration = Duration::from_millis(400);
const ALL: &str = "200M";

pub const SLOW_DISK: Kind = Kind {
    name: "model read from a slow disk",
    expected: "io_bound",
    missing,
    fault: || Box::new(SlowDisk(None)),
    quiet: same,
    faulty: same,
};

fn missing(rig: &Rig) -> Option<String> {
    if rig.disk.is_none() {
        return Some("its weights are made up, there is no model to read".into());
    }
    let files = [limit(rig), evict(rig)];
    files.contains(&None).then(|| "this host's control groups cannot slow a disk down or throw pages out".into())
}

/// Throws pages out on a thread of its own while it is in.
struct SlowDisk(Option<(Arc<AtomicBool>, JoinHandle<()>)>);

impl Fault for SlowDisk {
    fn inject(&mut self, rig: &Rig) -> Result<()> {
        slow(rig, Some(BYTES_PER_SECOND))?;
        let how_much = if rig.groups.is_unified() { ALL } else { "0" };
        let file = evict(rig).context("no way to throw pages out")?;
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                // It fails when less could be thrown out than was asked for.
                let _ = fs::write(&file, how_much);
                std::thread::sleep(PAUSE);
            }
        });
        self.0 = Some((over, thread));
        Ok(())
    }

    fn lift(&mut self, rig: &Rig) -> Result<()> {
        if let Some((over, thread)) = self.0.take() {
            over.store(true, Ordering::Relaxed);
            // A panic in the thread has printed itself.
            let _ = thread.join();
        }
        slow(rig, None)
    }
}

fn limit(rig: &Rig) -> Option<PathBuf> {
    if rig.groups.is_unified() {
        return rig.groups.file("io", "io.max");
    }
    rig.groups.file("blkio", "blkio.throttle.read_bps_device")
}

/// The file that throws pages of a control group out when written to.
fn evict(rig: &Rig) -> Option<PathBuf> {
    let name = if rig.groups.is_unified() { "memory.reclaim" } else { "memory.force_empty" };
    rig.groups.file("memory", name)
}

fn slow(rig: &Rig, bytes_per_second: Option<u64>) -> Result<()> {
    let file = limit(rig).context("no way to slow a disk down")?;
    let number = rig.disk.as_ref().context("no disk")?.number()?;
    let unlimited = if rig.groups.is_unified() { "max" } else { "0" };
    let limit = bytes_per_second.map_or(unlimited.to_owned(), |limit| limit.to_string());
    let line = if rig.groups.is_unified() { format!("{number} rbps={limit}") } else { format!("{number} {limit}") };
    fs::write(&file, &line).with_context(|| format!("cannot write {line} to {}", file.display()))
}
