//! GPUs as the API tells them, from NVML's last round.

use std::{borrow::Cow, time::Instant};

use super::{
    answers::{Gpu, Gpus, known},
    source::Source,
};
use crate::{
    poll::nvml::{DeviceReading, DeviceState, NvmlHealth, throttle_reason_names},
    services::{ServiceTable, owners},
};

/// All GPUs, by index.
pub fn all(source: &dyn Source) -> Gpus {
    let Some(gpu) = source.gpus() else {
        let source = Cow::Borrowed("off");
        return Gpus { source, source_error: None, age_s: None, driver_version: None, gpus: Vec::new() };
    };
    let services = source.services();
    Gpus {
        source: Cow::Borrowed(gpu.health.word()),
        source_error: match &gpu.health {
            NvmlHealth::Absent { reason } => Some(reason.clone()),
            NvmlHealth::Hung { call, .. } => Some(format!("{call} does not return")),
            NvmlHealth::Failing { call, error } => Some(format!("{call}: {error}")),
            NvmlHealth::Starting | NvmlHealth::Ok => None,
        },
        age_s: known(gpu.age(Instant::now()).map(|age| age.as_secs_f64())),
        driver_version: gpu.driver_version.clone(),
        gpus: gpu.devices.iter().map(|device| one(device, &services)).collect(),
    }
}

fn one(device: &DeviceReading, services: &ServiceTable) -> Gpu {
    let owners = owners(services);
    let users = device.processes.iter().flatten().filter_map(|process| owners.get(&process.pid));
    let mut users: Vec<String> = users.map(|(service, _)| (*service).to_owned()).collect();
    users.sort();
    users.dedup();
    Gpu {
        index: device.index,
        uuid: device.uuid.clone(),
        name: device.name.clone(),
        lost: match &device.state {
            DeviceState::Ok => None,
            DeviceState::Lost { error } => Some(error.clone()),
        },
        // As in the metrics: under MIG the driver tells none.
        utilization_ratio: known(device.utilization_gpu.filter(|_| device.mig_enabled != Some(true))),
        memory_utilization_ratio: known(device.utilization_memory.filter(|_| device.mig_enabled != Some(true))),
        memory_used_bytes: device.memory.map(|memory| memory.used_bytes),
        memory_total_bytes: device.memory.map(|memory| memory.total_bytes),
        power_watts: known(device.power_watts),
        power_limit_watts: known(device.power_limit_watts),
        temperature_celsius: known(device.temperature_celsius),
        sm_clock_hertz: known(device.sm_clock_hertz),
        throttle_reasons: device.throttle_reasons.map(|mask| throttle_reason_names(mask).collect()),
        services: users,
    }
}
