//! Processes on a GPU: the three lists, and utilisation samples.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::*;

use super::{Call, on_device, put_list, unix_us};
use crate::script::Kind;

const NO_INSTANCE: u32 = u32::MAX;

fn listed(call: &Call, kind: Kind) -> Vec<nvmlProcessInfo_t> {
    let gpu = &call.world.script.gpus[call.handle.gpu];
    let mig = call.handle.mig.and_then(|index| gpu.mig.as_ref()?.get(index));
    let here = |gi, ci| mig.is_none_or(|mig| gi == Some(mig.gi) && ci == Some(mig.ci));
    let processes = call.state().processes.into_iter().filter(|(_, p)| p.kind == kind && here(p.gi, p.ci));
    processes
        .map(|(pid, process)| nvmlProcessInfo_t {
            pid,
            usedGpuMemory: process.memory,
            gpuInstanceId: process.gi.unwrap_or(NO_INSTANCE),
            computeInstanceId: process.ci.unwrap_or(NO_INSTANCE),
        })
        .collect()
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: nvmlDevice_t,
    count: *mut c_uint,
    infos: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    let name = "nvmlDeviceGetComputeRunningProcesses_v3";
    on_device(name, device, |call| put_list(&listed(call, Kind::Compute), infos, count))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetComputeRunningProcesses_v2(
    device: nvmlDevice_t,
    count: *mut c_uint,
    infos: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    let name = "nvmlDeviceGetComputeRunningProcesses_v2";
    on_device(name, device, |call| put_list(&listed(call, Kind::Compute), infos, count))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v3(
    device: nvmlDevice_t,
    count: *mut c_uint,
    infos: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    let name = "nvmlDeviceGetGraphicsRunningProcesses_v3";
    on_device(name, device, |call| put_list(&listed(call, Kind::Graphics), infos, count))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v2(
    device: nvmlDevice_t,
    count: *mut c_uint,
    infos: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    let name = "nvmlDeviceGetGraphicsRunningProcesses_v2";
    on_device(name, device, |call| put_list(&listed(call, Kind::Graphics), infos, count))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
    device: nvmlDevice_t,
    count: *mut c_uint,
    infos: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    let name = "nvmlDeviceGetMPSComputeRunningProcesses_v3";
    on_device(name, device, |call| put_list(&listed(call, Kind::Mps), infos, count))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMPSComputeRunningProcesses_v2(
    device: nvmlDevice_t,
    count: *mut c_uint,
    infos: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    let name = "nvmlDeviceGetMPSComputeRunningProcesses_v2";
    on_device(name, device, |call| put_list(&listed(call, Kind::Mps), infos, count))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetProcessUtilization(
    device: nvmlDevice_t,
    place: *mut nvmlProcessUtilizationSample_t,
    count: *mut c_uint,
    last_seen_us: c_ulonglong,
) -> nvmlReturn_t {
    on_device("nvmlDeviceGetProcessUtilization", device, |call| {
        call.whole_gpu()?;
        if call.world.script.gpus[call.handle.gpu].mig.is_some() {
            return Err(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
        }
        let start_us = unix_us(0.0) as f64;
        // Half a millisecond of slack: the caller hands back our own rounded stamps.
        let after = (last_seen_us as f64 - start_us) / 1e6 + 5e-4;
        let samples = call.world.samples(call.handle.gpu, after, call.t);
        if samples.is_empty() {
            return Err(nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
        }
        let mut samples: Vec<_> = samples
            .into_iter()
            .map(|(t, pid, process)| nvmlProcessUtilizationSample_t {
                pid,
                timeStamp: unix_us(t),
                smUtil: process.sm,
                memUtil: process.mem,
                encUtil: process.enc,
                decUtil: process.dec,
            })
            .collect();
        if !place.is_null() && !count.is_null() {
            // SAFETY: NVML's contract: `count` points to the number of samples that `place` has room for.
            // A sample that fell due since the caller asked for the size waits for the next call.
            samples.truncate(unsafe { count.read() } as usize);
        }
        put_list(&samples, place, count)
    })
}
