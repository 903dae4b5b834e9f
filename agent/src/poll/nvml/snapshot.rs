//! What the poller publishes. Units: ratios 0..1, bytes, bytes per second, watts, joules, hertz, degrees Celsius.
//! `None` means that this GPU or driver does not say, or did not this round; never zero.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nvml_wrapper::bitmasks::device::ThrottleReasons;

/// One round's readings of every GPU.
#[derive(Debug, Clone)]
pub struct GpuSnapshot {
    /// CLOCK_MONOTONIC nanoseconds at the end of the round; 0 before the first.
    pub at_ns: u64,
    /// The same instant, to tell the age; `None` before the first round.
    pub at: Option<Instant>,
    pub health: NvmlHealth,
    /// The library loaded, and what it says of itself.
    pub library: Option<PathBuf>,
    pub driver_version: Option<String>,
    pub nvml_version: Option<String>,
    /// CUDA version that the driver supports, e.g. `12.4`.
    pub cuda_version: Option<String>,
    /// By index. A GPU that was lost stays, with its state.
    pub devices: Arc<[DeviceReading]>,
    /// Rounds finished since the start.
    pub rounds: u64,
    /// Failed calls since the start by (call, error), calls that a device does not support left out.
    pub call_errors: Arc<BTreeMap<(&'static str, &'static str), u64>>,
}

impl GpuSnapshot {
    /// Before the first round.
    pub fn empty() -> GpuSnapshot {
        GpuSnapshot {
            at_ns: 0,
            at: None,
            health: NvmlHealth::Starting,
            library: None,
            driver_version: None,
            nvml_version: None,
            cuda_version: None,
            devices: Arc::new([]),
            rounds: 0,
            call_errors: Arc::default(),
        }
    }

    /// How old the values are; `None` before the first round.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.at.map(|at| now.saturating_duration_since(at))
    }

    /// Every use of a GPU by a process, with the GPU.
    pub fn uses_of(&self, pid: u32) -> impl Iterator<Item = (&DeviceReading, &ProcessReading)> {
        self.devices.iter().flat_map(move |device| {
            let processes = device.processes.iter().flatten();
            processes.filter(move |process| process.pid == pid).map(move |process| (device, process))
        })
    }
}

/// How polling goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NvmlHealth {
    /// The library is being loaded for the first time.
    Starting,
    Ok,
    /// No library, or it does not initialise: no GPU here, or no driver. Tried again every `retry_interval`.
    Absent {
        reason: String,
    },
    /// A call has not returned since then. The values keep their age.
    Hung {
        call: &'static str,
        since: Instant,
    },
    /// A call failed in the last round; the other values are good.
    Failing {
        call: &'static str,
        error: String,
    },
}

impl NvmlHealth {
    /// One lower-case word, for labels.
    pub fn word(&self) -> &'static str {
        match self {
            NvmlHealth::Starting => "starting",
            NvmlHealth::Ok => "ok",
            NvmlHealth::Absent { .. } => "absent",
            NvmlHealth::Hung { .. } => "hung",
            NvmlHealth::Failing { .. } => "failing",
        }
    }
}

/// Whether a GPU answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceState {
    #[default]
    Ok,
    /// Fell off the bus, needs a reset, or gave no handle; the text is NVML's.
    Lost { error: String },
}

/// One GPU.
#[derive(Debug, Clone, Default)]
pub struct DeviceReading {
    pub index: u32,
    pub uuid: String,
    pub name: String,
    /// `domain:bus:device.function`, as in /sys/bus/pci/devices but with an 8-digit domain.
    pub pci_bus_id: String,
    pub state: DeviceState,
    /// CLOCK_MONOTONIC nanoseconds of this reading: older than the snapshot's when a round ran out of time.
    pub at_ns: u64,
    /// Time share with a kernel running, over the driver's sample period (1/6 to 1 s). Not under MIG.
    pub utilization_gpu: Option<f64>,
    /// Time share with device memory read or written.
    pub utilization_memory: Option<f64>,
    pub memory: Option<MemoryReading>,
    /// The driver's average over one second; on A100 and H100 it samples a quarter of that time, so trust energy over power.
    pub power_watts: Option<f64>,
    pub power_limit_watts: Option<f64>,
    /// A counter since the driver was loaded.
    pub energy_joules: Option<f64>,
    pub temperature_celsius: Option<f64>,
    pub sm_clock_hertz: Option<f64>,
    pub memory_clock_hertz: Option<f64>,
    /// NVML's bit mask; [`throttle_reason_names`] spells it.
    pub throttle_reasons: Option<u64>,
    /// GPU to host. From GPM over the last round where there is GPM, else 20 ms sampled every `slow_interval`.
    pub pcie_tx_bytes_per_second: Option<f64>,
    /// Host to GPU, likewise.
    pub pcie_rx_bytes_per_second: Option<f64>,
    /// Errors since the driver was loaded.
    pub ecc_corrected: Option<u64>,
    pub ecc_uncorrected: Option<u64>,
    /// The last XID error since the agent started (999: NVML does not know which).
    pub xid_last: Option<u64>,
    /// XID events since the agent started; `None` where events are not supported.
    pub xid_count: Option<u64>,
    pub mig_enabled: Option<bool>,
    pub mig: Vec<MigReading>,
    /// Hopper and later; under MIG see each instance.
    pub gpm: Option<GpmReading>,
    /// `None`: the list could not be read this round.
    pub processes: Option<Vec<ProcessReading>>,
}

/// Device memory in bytes; `used` leaves the driver's reserve out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryReading {
    pub total_bytes: u64,
    pub used_bytes: u64,
    pub free_bytes: u64,
    /// Kept by the driver; 0 where an old driver counts it as used.
    pub reserved_bytes: u64,
}

/// GPU performance monitoring counters over the last round: ratios and bytes per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GpmReading {
    /// Share of time that SMs had at least one warp.
    pub sm_activity: Option<f64>,
    /// Share of an SM's warp slots in use.
    pub sm_occupancy: Option<f64>,
    /// Share of time that tensor pipes of any kind were busy.
    pub tensor: Option<f64>,
    /// Share of DRAM bandwidth.
    pub dram: Option<f64>,
    pub pcie_tx_bytes_per_second: Option<f64>,
    pub pcie_rx_bytes_per_second: Option<f64>,
    pub nvlink_tx_bytes_per_second: Option<f64>,
    pub nvlink_rx_bytes_per_second: Option<f64>,
}

/// One MIG device: a compute instance in a GPU instance.
#[derive(Debug, Clone, Default)]
pub struct MigReading {
    pub index: u32,
    pub uuid: String,
    /// GPU instance id.
    pub gi: Option<u32>,
    /// Compute instance id.
    pub ci: Option<u32>,
    pub memory: Option<MemoryReading>,
    /// Of the whole GPU instance.
    pub gpm: Option<GpmReading>,
}

/// Which of NVML's lists a process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessKind {
    Compute,
    Graphics,
    /// A client of the multi-process service.
    Mps,
}

/// One process on one GPU, or on one MIG instance of it.
#[derive(Debug, Clone)]
pub struct ProcessReading {
    /// In the host's PID namespace.
    pub pid: u32,
    pub kind: ProcessKind,
    pub used_memory_bytes: Option<u64>,
    pub gi: Option<u32>,
    pub ci: Option<u32>,
    /// `None` where the driver does not tell, as under MIG, and in the first round, of which it tells no begin; idle is zero.
    pub utilization: Option<ProcessUtilization>,
}

/// A process's share of a GPU's engines: the mean of the driver's samples since the last round, ratios.
/// Without a new sample the last mean stands for 1.5 s, as drivers sample each process for itself up to once a second; then it is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessUtilization {
    pub sm: f64,
    pub memory: f64,
    pub encoder: f64,
    pub decoder: f64,
}

/// Spells a mask of clock throttle reasons; bits unknown to this version are left out.
pub fn throttle_reason_names(mask: u64) -> impl Iterator<Item = &'static str> {
    [
        (ThrottleReasons::GPU_IDLE, "gpu_idle"),
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "applications_clocks_setting"),
        (ThrottleReasons::SW_POWER_CAP, "sw_power_cap"),
        (ThrottleReasons::HW_SLOWDOWN, "hw_slowdown"),
        (ThrottleReasons::SYNC_BOOST, "sync_boost"),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, "sw_thermal_slowdown"),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, "hw_thermal_slowdown"),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "hw_power_brake_slowdown"),
        (ThrottleReasons::DISPLAY_CLOCK_SETTING, "display_clock_setting"),
    ]
    .into_iter()
    .filter_map(move |(reason, name)| (mask & reason.bits() != 0).then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_mask_is_spelled() {
        assert_eq!(throttle_reason_names(0).count(), 0);
        assert_eq!(
            throttle_reason_names(0x45).collect::<Vec<_>>(),
            ["gpu_idle", "sw_power_cap", "hw_thermal_slowdown"]
        );
        assert_eq!(throttle_reason_names(1 << 40).count(), 0);
    }
}
