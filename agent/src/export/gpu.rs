//! GPU families at a scrape, from the last NVML snapshot. What the driver does not tell has no series, and of processes
//! only the watched ones have any. Under MIG the driver tells no utilisation, so there is none here either.

use std::collections::BTreeMap;
use std::time::Instant;

use ::prometheus::proto::MetricFamily;
use rustc_hash::FxHashMap;

use super::{family::Family, metrics};
use crate::{
    poll::nvml::{
        DeviceReading, DeviceState, GpmReading, GpuSnapshot, MigReading, ProcessUtilization, throttle_reason_names,
    },
    services::{ServiceTable, owners},
};

const HEALTH_WORDS: [&str; 5] = ["ok", "absent", "hung", "failing", "starting"];

/// Families of the GPUs, and those about the GPU source itself.
pub fn families(gpu: &GpuSnapshot) -> Vec<MetricFamily> {
    let (mut devices, mut mig) = (Devices::new(), Mig::new());
    for device in gpu.devices.iter() {
        let index = device.index.to_string();
        devices.add(&[&index, &device.uuid, &device.name], device);
        for instance in &device.mig {
            mig.add(&index, device, instance);
        }
    }
    let all = devices.all().into_iter().chain(mig.all()).chain(source(gpu));
    all.filter_map(Family::finish).collect()
}

/// Families of the watched processes on GPUs.
pub fn processes(gpu: &GpuSnapshot, services: &ServiceTable) -> impl Iterator<Item = MetricFamily> {
    let owners = owners(services);
    let mut processes = Processes::new();
    for device in gpu.devices.iter() {
        processes.add(&device.index.to_string(), device, &owners);
    }
    processes.all().into_iter().filter_map(Family::finish)
}

/// How the GPU source goes.
fn source(gpu: &GpuSnapshot) -> [Family; 4] {
    let mut up = Family::new(&metrics::NVML_UP);
    for word in HEALTH_WORDS {
        up.add(&[word], f64::from(u8::from(word == gpu.health.word())));
    }
    let mut age = Family::new(&metrics::NVML_AGE);
    age.add_some(&[], gpu.age(Instant::now()).map(|age| age.as_secs_f64()));
    let mut errors = Family::new(&metrics::NVML_ERRORS);
    for ((call, error), count) in gpu.call_errors.iter() {
        errors.add(&[call, error], *count as f64);
    }
    let mut info = Family::new(&metrics::NVML_INFO);
    let versions = [&gpu.driver_version, &gpu.nvml_version, &gpu.cuda_version];
    if versions.iter().any(|version| version.is_some()) {
        info.add(&versions.map(|version| version.as_deref().unwrap_or_default()), 1.0);
    }
    [up, age, errors, info]
}

/// Families with one series per GPU.
struct Devices {
    info: Family,
    up: Family,
    memory: [Family; 3],
    power: Family,
    power_limit: Family,
    energy: Family,
    temperature: Family,
    xid: Family,
    mig_enabled: Family,
    parts: Parts,
}

/// Families with several series per GPU, told apart by one more label.
struct Parts {
    utilization: Family,
    clock: Family,
    throttled: Family,
    io: Family,
    nvlink: Family,
    errors: Family,
    activity: Family,
}

impl Devices {
    fn new() -> Self {
        Self {
            info: Family::new(&metrics::GPU_INFO),
            up: Family::new(&metrics::GPU_UP),
            memory: [&metrics::GPU_MEMORY_USAGE, &metrics::GPU_MEMORY_LIMIT, &metrics::GPU_MEMORY_RESERVED]
                .map(Family::new),
            power: Family::new(&metrics::GPU_POWER),
            power_limit: Family::new(&metrics::GPU_POWER_LIMIT),
            energy: Family::new(&metrics::GPU_ENERGY),
            temperature: Family::new(&metrics::GPU_TEMPERATURE),
            xid: Family::new(&metrics::GPU_XID),
            mig_enabled: Family::new(&metrics::GPU_MIG_ENABLED),
            parts: Parts {
                utilization: Family::new(&metrics::GPU_UTILIZATION),
                clock: Family::new(&metrics::GPU_CLOCK),
                throttled: Family::new(&metrics::GPU_THROTTLED),
                io: Family::new(&metrics::GPU_IO),
                nvlink: Family::new(&metrics::GPU_NVLINK),
                errors: Family::new(&metrics::GPU_ERRORS),
                activity: Family::new(&metrics::GPU_ACTIVITY),
            },
        }
    }

    fn add(&mut self, labels: &[&str; 3], device: &DeviceReading) {
        self.info.add(&[labels[0], labels[1], labels[2], &device.pci_bus_id], 1.0);
        self.up.add(labels, f64::from(u8::from(device.state == DeviceState::Ok)));
        if let Some(memory) = device.memory {
            let bytes = [memory.used_bytes, memory.total_bytes, memory.reserved_bytes];
            for (family, bytes) in self.memory.iter_mut().zip(bytes) {
                family.add(labels, bytes as f64);
            }
        }
        self.power.add_some(labels, device.power_watts);
        self.power_limit.add_some(labels, device.power_limit_watts);
        self.energy.add_some(labels, device.energy_joules);
        self.temperature.add_some(labels, device.temperature_celsius);
        self.xid.add_some(labels, device.xid_last.map(|xid| xid as f64));
        self.mig_enabled.add_some(labels, device.mig_enabled.map(|on| f64::from(u8::from(on))));
        self.parts.add(labels, device);
    }

    fn all(self) -> Vec<Family> {
        let Self { info, up, memory, power, power_limit, energy, temperature, xid, mig_enabled, parts } = self;
        let Parts { utilization, clock, throttled, io, nvlink, errors, activity } = parts;
        let mut all = vec![info, up, power, power_limit, energy, temperature, xid, mig_enabled];
        all.extend(memory);
        all.extend([utilization, clock, throttled, io, nvlink, errors, activity]);
        all
    }
}

impl Parts {
    fn add(&mut self, labels: &[&str; 3], device: &DeviceReading) {
        let with = |last| [labels[0], labels[1], labels[2], last];
        if device.mig_enabled != Some(true) {
            self.utilization.add_some(&with("general"), device.utilization_gpu);
            self.utilization.add_some(&with("memory"), device.utilization_memory);
        }
        self.clock.add_some(&with("sm"), device.sm_clock_hertz);
        self.clock.add_some(&with("memory"), device.memory_clock_hertz);
        if let Some(mask) = device.throttle_reasons {
            for reason in throttle_reason_names(u64::MAX) {
                let active = throttle_reason_names(mask).any(|active| active == reason);
                self.throttled.add(&with(reason), f64::from(u8::from(active)));
            }
        }
        self.io.add_some(&with("transmit"), device.pcie_tx_bytes_per_second);
        self.io.add_some(&with("receive"), device.pcie_rx_bytes_per_second);
        let count = |errors: Option<u64>| errors.map(|errors| errors as f64);
        self.errors.add_some(&with("ecc_corrected"), count(device.ecc_corrected));
        self.errors.add_some(&with("ecc_uncorrected"), count(device.ecc_uncorrected));
        self.errors.add_some(&with("xid"), count(device.xid_count));
        let Some(gpm) = device.gpm else { return };
        self.nvlink.add_some(&with("transmit"), gpm.nvlink_tx_bytes_per_second);
        self.nvlink.add_some(&with("receive"), gpm.nvlink_rx_bytes_per_second);
        for (unit, ratio) in units(&gpm) {
            self.activity.add_some(&with(unit), ratio);
        }
    }
}

fn units(gpm: &GpmReading) -> [(&'static str, Option<f64>); 4] {
    [("sm", gpm.sm_activity), ("sm_occupancy", gpm.sm_occupancy), ("tensor", gpm.tensor), ("dram", gpm.dram)]
}

/// Families of MIG devices.
struct Mig {
    usage: Family,
    limit: Family,
    activity: Family,
}

impl Mig {
    fn new() -> Self {
        Self {
            usage: Family::new(&metrics::GPU_MIG_MEMORY_USAGE),
            limit: Family::new(&metrics::GPU_MIG_MEMORY_LIMIT),
            activity: Family::new(&metrics::GPU_MIG_ACTIVITY),
        }
    }

    fn add(&mut self, gpu: &str, device: &DeviceReading, instance: &MigReading) {
        let id = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
        let (gi, ci) = (id(instance.gi), id(instance.ci));
        // Without a UUID of its own, the place on the GPU tells it from its neighbours.
        let uuid = match instance.uuid.as_str() {
            "" => format!("{}/{}", device.uuid, instance.index),
            uuid => uuid.to_owned(),
        };
        let labels: [&str; 5] = [gpu, &uuid, &device.name, &gi, &ci];
        self.usage.add_some(&labels, instance.memory.map(|memory| memory.used_bytes as f64));
        self.limit.add_some(&labels, instance.memory.map(|memory| memory.total_bytes as f64));
        for (unit, ratio) in instance.gpm.iter().flat_map(units) {
            self.activity.add_some(&[labels[0], labels[1], labels[2], labels[3], labels[4], unit], ratio);
        }
    }

    fn all(self) -> [Family; 3] {
        [self.usage, self.limit, self.activity]
    }
}

/// Families of watched processes.
struct Processes {
    utilization: Family,
    memory: Family,
}

impl Processes {
    fn new() -> Self {
        Self {
            utilization: Family::new(&metrics::PROCESS_GPU_UTILIZATION),
            memory: Family::new(&metrics::PROCESS_GPU_MEMORY),
        }
    }

    /// A process on several MIG devices of one GPU has one series, with the memory of all of them.
    fn add(&mut self, gpu: &str, device: &DeviceReading, owners: &FxHashMap<u32, (&str, &str)>) {
        let mut uses: BTreeMap<u32, (Option<u64>, Option<ProcessUtilization>)> = BTreeMap::new();
        for process in device.processes.iter().flatten() {
            let (memory, utilization) = uses.entry(process.pid).or_default();
            if let Some(bytes) = process.used_memory_bytes {
                *memory = Some(memory.unwrap_or(0).saturating_add(bytes));
            }
            *utilization = utilization.or(process.utilization);
        }
        for (pid, (memory, utilization)) in uses {
            let Some((service, comm)) = owners.get(&pid) else { continue };
            let pid = pid.to_string();
            let labels: [&str; 5] = [service, &pid, comm, gpu, &device.uuid];
            self.memory.add_some(&labels, memory.map(|bytes| bytes as f64));
            let Some(used) = utilization.filter(|_| device.mig_enabled != Some(true)) else { continue };
            for (unit, ratio) in
                [("sm", used.sm), ("memory", used.memory), ("encoder", used.encoder), ("decoder", used.decoder)]
            {
                self.utilization.add(&[labels[0], labels[1], labels[2], labels[3], labels[4], unit], ratio);
            }
        }
    }

    fn all(self) -> [Family; 2] {
        [self.utilization, self.memory]
    }
}

#[cfg(test)]
mod tests;
