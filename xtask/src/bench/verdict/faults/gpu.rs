//! A GPU that is busy and throttled. The servers here compute on CPUs, so what the GPU would make them wait is acted: while
//! the fake one is busy, the server's control group stands still for most of the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Fault, Kind, same};
use crate::bench::verdict::rig::Rig;

const STILL: Duration = Duration::from_millis(12);
const MOVING: Duration = Duration::from_millis(5);

pub const BUSY: Kind = Kind {
    name: "GPU busy and throttled",
    expected: "gpu_bound",
    missing: |rig| freezer(rig).is_none().then(|| "this host has no freezer to act the wait for a GPU with".into()),
    fault: || Box::new(Busy(None)),
    quiet: same,
    faulty: same,
};

struct Busy(Option<(Arc<AtomicBool>, JoinHandle<()>)>);

impl Fault for Busy {
    fn inject(&mut self, rig: &Rig) -> Result<()> {
        rig.gpu.busy()?;
        let file = freezer(rig).context("no freezer")?;
        let words = words(rig);
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                if let Err(error) = still(&file, words) {
                    eprintln!("the server could not be made to wait: {error}");
                    return;
                }
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
        if let Some(file) = freezer(rig) {
            fs::write(file, words(rig)[1]).context("cannot let the server go on")?;
        }
        rig.gpu.at_ease()
    }
}

/// Stands still once, and moves once.
fn still(file: &Path, [stop, go]: [&str; 2]) -> std::io::Result<()> {
    fs::write(file, stop)?;
    std::thread::sleep(STILL);
    fs::write(file, go)?;
    std::thread::sleep(MOVING);
    Ok(())
}

fn freezer(rig: &Rig) -> Option<PathBuf> {
    if rig.groups.is_unified() {
        return rig.groups.file("freezer", "cgroup.freeze");
    }
    rig.groups.file("freezer", "freezer.state")
}

fn words(rig: &Rig) -> [&'static str; 2] {
    if rig.groups.is_unified() { ["1", "0"] } else { ["FROZEN", "THAWED"] }
}
