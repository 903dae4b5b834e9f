//! The thread: loads the library, plays rounds over its GPUs, and starts anew when the driver went away or a GPU was lost.

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nvml_wrapper::Nvml;
use rustc_hash::FxHashMap;
use tracing::{info, warn};

use super::NvmlOptions;
use super::calls::{CallErrors, CallMemory, Calls};
use super::cell::Cell;
use super::device::{self, GpuSource};
use super::library;
use super::raw;
use super::snapshot::{DeviceReading, GpuSnapshot, NvmlHealth};
use super::xid::XidCount;

/// What outlives one load of the library. Bounded: by GPUs, and by calls times error words.
#[derive(Default)]
struct Carried {
    rounds: u64,
    errors: CallErrors,
    /// By UUID, or by index where the UUID is not known.
    xids: FxHashMap<String, XidCount>,
    /// The last reading of each GPU by index, for its name when it gives no handle any more.
    readings: Vec<DeviceReading>,
}

/// Why a session ended.
enum End {
    Stop,
    /// Load again at once: a GPU came, went, or may have come back.
    Reopen,
    /// Load again later.
    Gone(String),
}

/// Tells the cell that the thread is over, also when it panics.
struct Finish<'c>(&'c Cell);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.publish_absent("the NVML thread ended by a defect; please report it".into());
        }
        self.0.finish();
    }
}

/// The thread's body; returns when the cell says stop.
pub(super) fn run(cell: &Cell, options: &NvmlOptions) {
    let _finish = Finish(cell);
    let mut carried = Carried::default();
    let mut told = String::new();
    while !cell.stopping() {
        let opened =
            cell.calling_within("nvmlInit_v2", options.deadline * 10, || library::open(options.lib_path.as_ref()));
        let reason = match opened {
            Ok((nvml, path)) => {
                let end = play(cell, options, &mut carried, &nvml, &path);
                cell.calling("nvmlShutdown", || drop(nvml));
                match end {
                    End::Stop => return,
                    End::Reopen => continue,
                    End::Gone(reason) => reason,
                }
            }
            Err(reason) => reason,
        };
        if told != reason {
            info!(reason, "no NVML; GPU metrics are left out until there is");
        }
        cell.publish_absent(reason.clone());
        told = reason;
        if !cell.sleep_until(Instant::now() + options.retry_interval) {
            return;
        }
    }
}

/// Rounds over the GPUs of one load of the library.
fn play(cell: &Cell, options: &NvmlOptions, carried: &mut Carried, nvml: &Nvml, path: &Path) -> End {
    let began = Instant::now();
    let mut memory = CallMemory::default();
    let begin = |carried: &mut Carried, start: Instant, share: u32| {
        Calls::new(
            cell,
            start + options.deadline * share,
            options.unsupported_interval,
            std::mem::take(&mut carried.errors),
        )
    };
    // The first contact wakes GPUs that are not in persistence mode, which takes seconds.
    let mut calls = begin(carried, began, 10);
    let mut snapshot = identify(&mut calls, &mut memory, nvml, path);
    let Ok(count) = calls.ask(&mut memory, "nvmlDeviceGetCount_v2", || nvml.device_count()) else {
        carried.errors = calls.errors;
        return End::Gone(calls.failure.map_or("the device count cannot be read".into(), |(_, error)| error));
    };
    let mut gpus = enumerate(&mut calls, nvml, count, carried);
    let (mut started, mut first, mut lost_since) = (Instant::now(), 0, None);
    carried.errors = calls.errors;
    loop {
        let mut calls = begin(carried, started, 1);
        round(&mut calls, options, carried, &mut gpus, first);
        let recount = calls.ask(&mut memory, "nvmlDeviceGetCount_v2", || nvml.device_count());
        carried.rounds += 1;
        carried.errors = std::mem::take(&mut calls.errors);
        if let Some(reason) = calls.session_over.take() {
            return End::Gone(reason);
        }
        publish(cell, carried, &mut snapshot, calls.failure.take());
        let any_lost = gpus.iter().any(|gpu| gpu.as_ref().is_none_or(GpuSource::lost));
        lost_since = if any_lost { lost_since.or(Some(started)) } else { None };
        let changed = recount.is_ok_and(|now| now != count);
        if changed || lost_since.is_some_and(|since| since.elapsed() >= options.retry_interval) {
            return End::Reopen;
        }
        first = if gpus.is_empty() { 0 } else { (first + 1) % gpus.len() };
        started = (started + options.interval).max(Instant::now());
        if !cell.sleep_until(started) {
            return End::Stop;
        }
    }
}

fn identify(calls: &mut Calls<'_>, memory: &mut CallMemory, nvml: &Nvml, path: &Path) -> GpuSnapshot {
    let driver = calls.ask(memory, "nvmlSystemGetDriverVersion", || nvml.sys_driver_version()).ok();
    info!(library = %path.display(), driver = driver.as_deref().unwrap_or("unknown"), "NVML loaded");
    GpuSnapshot {
        library: Some(path.to_path_buf()),
        driver_version: driver,
        nvml_version: calls.ask(memory, "nvmlSystemGetNVMLVersion", || nvml.sys_nvml_version()).ok(),
        cuda_version: calls
            .ask(memory, "nvmlSystemGetCudaDriverVersion_v2", || nvml.sys_cuda_driver_version())
            .ok()
            .map(|version| format!("{}.{}", version / 1000, version % 1000 / 10)),
        ..GpuSnapshot::empty()
    }
}

/// A source per GPU; `None` where there is no handle, with a reading that says so.
fn enumerate<'n>(
    calls: &mut Calls<'_>,
    nvml: &'n Nvml,
    count: u32,
    carried: &mut Carried,
) -> Vec<Option<GpuSource<'n>>> {
    carried.readings.resize_with(count as usize, DeviceReading::default);
    (0..count)
        .map(|index| {
            let mut memory = CallMemory::default();
            let handle = calls.ask(&mut memory, "nvmlDeviceGetHandleByIndex_v2", || nvml.device_by_index(index));
            let known = &mut carried.readings[index as usize];
            known.index = index;
            match handle {
                Ok(handle) => Some(GpuSource::new(calls, nvml, index, handle)),
                Err(miss) => {
                    let error = memory.lost.unwrap_or_else(|| format!("no handle ({miss:?})").to_lowercase());
                    warn!(index, error, "GPU is out of reach");
                    *known = device::lost(known, error);
                    None
                }
            }
        })
        .collect()
}

/// One round, beginning with GPU `first`, so that a round that runs out of time does not always starve the same ones.
fn round(
    calls: &mut Calls<'_>,
    options: &NvmlOptions,
    carried: &mut Carried,
    gpus: &mut [Option<GpuSource<'_>>],
    first: usize,
) {
    let count = gpus.len();
    for index in (0..count).map(|step| (first + step) % count) {
        let Some(gpu) = &mut gpus[index] else {
            continue;
        };
        let was_lost = gpu.lost();
        let who = if gpu.uuid().is_empty() { index.to_string() } else { gpu.uuid().to_owned() };
        let xid = carried.xids.entry(who).or_default();
        match gpu.read(calls, options, xid) {
            Some(reading) => carried.readings[index] = reading,
            None if calls.session_over.is_none() => calls.fail("round", "deadline"),
            None => return,
        }
        if gpu.lost() && !was_lost {
            warn!(index, uuid = gpu.uuid(), "GPU is lost");
        }
    }
}

fn publish(cell: &Cell, carried: &Carried, last: &mut GpuSnapshot, failure: Option<(&'static str, String)>) {
    last.at_ns = raw::monotonic_ns();
    last.at = Some(Instant::now());
    last.devices = carried.readings.clone().into();
    last.rounds = carried.rounds;
    last.call_errors = Arc::new(carried.errors.clone());
    last.health = match failure {
        None => NvmlHealth::Ok,
        Some((call, error)) => NvmlHealth::Failing { call, error },
    };
    cell.publish(last.clone());
}
