//! GPUs through NVML: one thread, its own cadence, the last value published with its time.
//! A call that hangs is reported, never waited for, and never piled up on: there is one thread, and readers take no lock that it
//! holds during a call. `session` is one load of the library, `device` one GPU's round, `snapshot` what comes out.

mod calls;
mod cell;
mod device;
mod gpm;
mod library;
mod process;
mod raw;
mod session;
mod snapshot;
mod xid;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use snapshot::{
    DeviceReading, DeviceState, GpmReading, GpuSnapshot, MemoryReading, MigReading, NvmlHealth, ProcessKind,
    ProcessReading, ProcessUtilization, throttle_reason_names,
};

use cell::Cell;

/// How to poll. `Default` is what `inferscope run` uses.
#[derive(Debug, Clone)]
pub struct NvmlOptions {
    /// The library to load, and no other. `None`: the dynamic linker's search, then the places containers put it.
    pub lib_path: Option<PathBuf>,
    /// From the start of one round to the start of the next.
    pub interval: Duration,
    /// For one call before it counts as hung, and for a round before the rest of it is put off; ten times this for loading.
    pub deadline: Duration,
    /// Between readings that are slow or change rarely: PCIe without GPM, ECC, power limit, MIG layout, device count.
    pub slow_interval: Duration,
    /// Between attempts to load a library that is missing or does not initialise, and to reach a GPU that was lost.
    pub retry_interval: Duration,
    /// Until a call that a device does not support is tried again.
    pub unsupported_interval: Duration,
}

impl Default for NvmlOptions {
    fn default() -> NvmlOptions {
        NvmlOptions {
            lib_path: None,
            interval: Duration::from_secs(1),
            deadline: Duration::from_secs(3),
            slow_interval: Duration::from_secs(10),
            retry_interval: Duration::from_secs(60),
            unsupported_interval: Duration::from_secs(600),
        }
    }
}

/// The running poller. Dropping it stops the thread; a thread inside a hung call is left behind and ends with the process.
#[derive(Debug)]
pub struct NvmlHandle {
    cell: Arc<Cell>,
}

/// Starts the poller. Never fails: what is wrong is in the snapshot's `health`.
pub fn spawn(options: NvmlOptions) -> NvmlHandle {
    let cell = Arc::new(Cell::new(options.deadline));
    let thread_cell = Arc::clone(&cell);
    let spawned = std::thread::Builder::new().name("nvml".into()).spawn(move || session::run(&thread_cell, &options));
    if let Err(error) = spawned {
        cell.publish_absent(format!("cannot start the NVML thread: {error}"));
        cell.finish();
    }
    NvmlHandle { cell }
}

impl NvmlHandle {
    /// The last published values, at once: it never waits for the driver. Health is as of now, the values as of `at_ns`.
    pub fn snapshot(&self) -> Arc<GpuSnapshot> {
        self.cell.snapshot()
    }

    /// The first news, good or bad, waited for at most `patience`: for `inferscope check`. Still `Starting` when that is over.
    pub fn first(&self, patience: Duration) -> Arc<GpuSnapshot> {
        self.cell.first(patience)
    }
}

impl Drop for NvmlHandle {
    fn drop(&mut self) {
        self.cell.stop(Duration::from_millis(250));
    }
}
