//! One GPU's part of a round: what to ask, at which cadence, and in which units NVML answers.

#![forbid(unsafe_code)]

use std::time::Instant;

use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, PcieUtilCounter, TemperatureSensor};
use nvml_wrapper::{Device, Nvml};

use super::NvmlOptions;
use super::calls::{CallMemory, Calls};
use super::gpm::Gpm;
use super::process::Processes;
use super::raw;
use super::snapshot::{DeviceReading, DeviceState, MemoryReading, MigReading};
use super::xid::{XidCount, XidWatch};

/// A GPU that gave a handle.
pub(super) struct GpuSource<'n> {
    nvml: &'n Nvml,
    device: Device<'n>,
    memory: CallMemory,
    /// What the last slow reading said; the fast values in it are not used.
    slow: DeviceReading,
    slow_at: Option<Instant>,
    gpm: Gpm<'n>,
    mig: Vec<MigSource<'n>>,
    xid: XidWatch<'n>,
    processes: Processes,
}

struct MigSource<'n> {
    device: Device<'n>,
    memory: CallMemory,
    identity: MigReading,
    gpm: Gpm<'n>,
}

impl<'n> GpuSource<'n> {
    /// Reads the identity; what does not answer stays empty until a slow reading gets it.
    pub fn new(calls: &mut Calls<'_>, nvml: &'n Nvml, index: u32, device: Device<'n>) -> GpuSource<'n> {
        let mut memory = CallMemory::default();
        let slow = DeviceReading { index, ..DeviceReading::default() };
        let xid = XidWatch::new(calls, &mut memory, nvml, &device);
        let (gpm, mig, processes) = (Gpm::default(), Vec::new(), Processes::default());
        let mut source = GpuSource { nvml, device, memory, slow, slow_at: None, gpm, mig, xid, processes };
        source.identify(calls);
        source
    }

    fn identify(&mut self, calls: &mut Calls<'_>) {
        let (m, device) = (&mut self.memory, &self.device);
        let pci = calls.ask(m, "nvmlDeviceGetPciInfo_v3", || device.pci_info());
        self.slow.pci_bus_id = pci.map(|pci| pci.bus_id).unwrap_or_default();
        self.slow.name = calls.ask(m, "nvmlDeviceGetName", || device.name()).unwrap_or_default();
        self.slow.uuid = calls.ask(m, "nvmlDeviceGetUUID", || device.uuid()).unwrap_or_default();
    }

    /// The UUID, or nothing where it is not known.
    pub fn uuid(&self) -> &str {
        &self.slow.uuid
    }

    /// Whether the GPU was lost.
    pub fn lost(&self) -> bool {
        self.memory.lost.is_some()
    }

    /// One round. `None` when the round's time ran out half-way: the caller keeps the reading before.
    pub fn read(&mut self, calls: &mut Calls<'_>, options: &NvmlOptions, xid: &mut XidCount) -> Option<DeviceReading> {
        if self.slow_at.is_none_or(|at| at.elapsed() >= options.slow_interval) {
            self.read_slow(calls);
        }
        let mut reading = self.slow.clone();
        self.read_fast(calls, &mut reading);
        self.read_gpm(calls, &mut reading);
        reading.processes = self.processes.read(calls, &mut self.memory, &self.device, options.interval);
        let told = self.xid.read(calls, &mut self.memory, xid);
        (reading.xid_last, reading.xid_count) = (xid.last, told.then_some(xid.count));
        reading.at_ns = raw::monotonic_ns();
        if let Some(error) = &self.memory.lost {
            return Some(lost(&reading, error.clone()));
        }
        (!calls.spent()).then_some(reading)
    }

    fn read_fast(&mut self, calls: &mut Calls<'_>, reading: &mut DeviceReading) {
        let (m, device) = (&mut self.memory, &self.device);
        if let Ok(rates) = calls.ask(m, "nvmlDeviceGetUtilizationRates", || device.utilization_rates()) {
            reading.utilization_gpu = Some(f64::from(rates.gpu) / 100.0);
            reading.utilization_memory = Some(f64::from(rates.memory) / 100.0);
        }
        reading.memory = memory_of(calls, m, device);
        let power = calls.ask(m, "nvmlDeviceGetPowerUsage", || device.power_usage());
        reading.power_watts = power.ok().map(watts);
        let energy = calls.ask(m, "nvmlDeviceGetTotalEnergyConsumption", || device.total_energy_consumption());
        reading.energy_joules = energy.ok().map(|millijoules| millijoules as f64 / 1e3);
        let temperature = calls.ask(m, "nvmlDeviceGetTemperature", || device.temperature(TemperatureSensor::Gpu));
        reading.temperature_celsius = temperature.ok().map(f64::from);
        let clock = calls.ask(m, "nvmlDeviceGetClockInfo", || device.clock_info(Clock::SM));
        reading.sm_clock_hertz = clock.ok().map(hertz);
        let clock = calls.ask(m, "nvmlDeviceGetClockInfo", || device.clock_info(Clock::Memory));
        reading.memory_clock_hertz = clock.ok().map(hertz);
        let reasons = calls.ask(m, "nvmlDeviceGetCurrentClocksThrottleReasons", || device.current_throttle_reasons());
        reading.throttle_reasons = reasons.ok().map(|reasons| reasons.bits());
    }

    fn read_gpm(&mut self, calls: &mut Calls<'_>, reading: &mut DeviceReading) {
        if reading.mig_enabled == Some(true) {
            for mig in &mut self.mig {
                let mut now = mig.identity.clone();
                now.memory = memory_of(calls, &mut mig.memory, &mig.device);
                now.gpm = mig
                    .identity
                    .gi
                    .and_then(|gi| mig.gpm.read(calls, &mut self.memory, self.nvml, &self.device, Some(gi)));
                reading.mig.push(now);
            }
            return;
        }
        reading.gpm = self.gpm.read(calls, &mut self.memory, self.nvml, &self.device, None);
        if let Some(gpm) = &reading.gpm {
            reading.pcie_tx_bytes_per_second = gpm.pcie_tx_bytes_per_second.or(reading.pcie_tx_bytes_per_second);
            reading.pcie_rx_bytes_per_second = gpm.pcie_rx_bytes_per_second.or(reading.pcie_rx_bytes_per_second);
        }
    }

    fn read_slow(&mut self, calls: &mut Calls<'_>) {
        if self.slow.uuid.is_empty() {
            self.identify(calls);
        }
        let (m, device, slow) = (&mut self.memory, &self.device, &mut self.slow);
        let limit = calls.ask(m, "nvmlDeviceGetEnforcedPowerLimit", || device.enforced_power_limit());
        slow.power_limit_watts = limit.ok().map(watts);
        let mut ecc = |kind| {
            calls.ask(m, "nvmlDeviceGetTotalEccErrors", || device.total_ecc_errors(kind, EccCounter::Volatile)).ok()
        };
        slow.ecc_corrected = ecc(MemoryError::Corrected);
        slow.ecc_uncorrected = ecc(MemoryError::Uncorrected);
        // Each direction blocks for 20 ms or more, so only where GPM does not tell.
        if self.gpm.tells_pcie() {
            (slow.pcie_tx_bytes_per_second, slow.pcie_rx_bytes_per_second) = (None, None);
        } else {
            let mut rate = |direction| {
                let rate = calls.ask(m, "nvmlDeviceGetPcieThroughput", || device.pcie_throughput(direction));
                rate.ok().map(|kilobytes| f64::from(kilobytes) * 1024.0)
            };
            slow.pcie_tx_bytes_per_second = rate(PcieUtilCounter::Send);
            slow.pcie_rx_bytes_per_second = rate(PcieUtilCounter::Receive);
        }
        let mode = calls.ask(m, "nvmlDeviceGetMigMode", || device.mig_mode());
        slow.mig_enabled = mode.ok().map(|mode| mode.current != 0);
        self.find_mig(calls);
        self.slow_at = (!calls.spent()).then(Instant::now);
    }

    /// Takes up MIG devices that were made and lets go of those that were destroyed; the others keep their GPM sample.
    fn find_mig(&mut self, calls: &mut Calls<'_>) {
        let mut known = std::mem::take(&mut self.mig);
        if self.slow.mig_enabled != Some(true) {
            return;
        }
        let (m, device) = (&mut self.memory, &self.device);
        let most = calls.ask(m, "nvmlDeviceGetMaxMigDeviceCount", || device.mig_device_count()).unwrap_or(0);
        for index in 0..most {
            let found =
                calls.ask(m, "nvmlDeviceGetMigDeviceHandleByIndex", || match device.mig_device_by_index(index) {
                    // An index without an instance answers so, and says nothing about the call.
                    Err(nvml_wrapper::error::NvmlError::InvalidArg) => Err(nvml_wrapper::error::NvmlError::NotFound),
                    answer => answer,
                });
            let Ok(mig) = found else { continue };
            let source = MigSource::new(calls, index, mig);
            let kept = known.iter_mut().find(|old| old.identity.uuid == source.identity.uuid);
            let gpm = kept.map(|old| std::mem::take(&mut old.gpm)).unwrap_or_default();
            self.mig.push(MigSource { gpm, ..source });
        }
    }
}

impl<'n> MigSource<'n> {
    fn new(calls: &mut Calls<'_>, index: u32, device: Device<'n>) -> MigSource<'n> {
        let mut memory = CallMemory::default();
        let m = &mut memory;
        let identity = MigReading {
            index,
            uuid: calls.ask(m, "nvmlDeviceGetUUID", || device.uuid()).unwrap_or_default(),
            gi: calls.ask(m, "nvmlDeviceGetGpuInstanceId", || raw::gpu_instance_id(&device)).ok(),
            ci: calls.ask(m, "nvmlDeviceGetComputeInstanceId", || raw::compute_instance_id(&device)).ok(),
            ..MigReading::default()
        };
        MigSource { device, memory, identity, gpm: Gpm::default() }
    }
}

fn memory_of(calls: &mut Calls<'_>, memory: &mut CallMemory, device: &Device<'_>) -> Option<MemoryReading> {
    let answer = calls.ask(memory, "nvmlDeviceGetMemoryInfo_v2", || device.memory_info());
    let answer = answer.map(|info| MemoryReading {
        total_bytes: info.total,
        used_bytes: info.used,
        free_bytes: info.free,
        reserved_bytes: info.reserved,
    });
    answer.or_else(|_| calls.ask(memory, "nvmlDeviceGetMemoryInfo", || raw::memory_info_v1(device))).ok()
}

/// A lost GPU's reading: who it was, and nothing that could be taken for a value of now.
pub(super) fn lost(identity: &DeviceReading, error: String) -> DeviceReading {
    DeviceReading {
        index: identity.index,
        uuid: identity.uuid.clone(),
        name: identity.name.clone(),
        pci_bus_id: identity.pci_bus_id.clone(),
        state: DeviceState::Lost { error },
        at_ns: raw::monotonic_ns(),
        xid_last: identity.xid_last,
        xid_count: identity.xid_count,
        ..DeviceReading::default()
    }
}

fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1e3
}

fn hertz(megahertz: u32) -> f64 {
    f64::from(megahertz) * 1e6
}
