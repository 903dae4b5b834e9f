//! The few NVML calls that nvml-wrapper has no safe form of, and the clock. The only unsafe code of the poller.

use std::ffi::c_uint;

use nvml_wrapper::Device;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper_sys::bindings::{nvmlMemory_t, nvmlProcessInfo_v2_t, nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE};

use super::snapshot::MemoryReading;

/// The GPU instance id of a MIG device. Errors: NVML's.
pub(super) fn gpu_instance_id(device: &Device<'_>) -> Result<u32, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetGpuInstanceId.as_ref())?;
    let mut id: c_uint = 0;
    // SAFETY: the handle lives as long as the borrowed Nvml, and `id` is valid for one write.
    nvml_try(unsafe { call(device.handle(), &raw mut id) })?;
    Ok(id)
}

/// The compute instance id of a MIG device. Errors: NVML's.
pub(super) fn compute_instance_id(device: &Device<'_>) -> Result<u32, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetComputeInstanceId.as_ref())?;
    let mut id: c_uint = 0;
    // SAFETY: the handle lives as long as the borrowed Nvml, and `id` is valid for one write.
    nvml_try(unsafe { call(device.handle(), &raw mut id) })?;
    Ok(id)
}

/// Memory by version 1 of the call, for drivers before 510; they count their reserve as used. Errors: NVML's.
pub(super) fn memory_info_v1(device: &Device<'_>) -> Result<MemoryReading, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetMemoryInfo.as_ref())?;
    let mut memory = nvmlMemory_t { total: 0, free: 0, used: 0 };
    // SAFETY: the handle lives as long as the borrowed Nvml, and `memory` is valid for one write.
    nvml_try(unsafe { call(device.handle(), &raw mut memory) })?;
    Ok(MemoryReading { total_bytes: memory.total, used_bytes: memory.used, free_bytes: memory.free, reserved_bytes: 0 })
}

/// Clients of the multi-process service by version 2 of the call, for drivers before 510. Errors: NVML's.
pub(super) fn mps_processes_v2(device: &Device<'_>) -> Result<Vec<ProcessInfo>, NvmlError> {
    /// For processes that come between the question how many there are and the question which.
    const SPARE: c_uint = 5;
    const NO_INSTANCE: c_uint = c_uint::MAX;
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetMPSComputeRunningProcesses_v2.as_ref())?;
    let mut count: c_uint = 0;
    // SAFETY: the handle lives as long as the borrowed Nvml, and there is room for none, so only `count` is written.
    let code = unsafe { call(device.handle(), &raw mut count, std::ptr::null_mut()) };
    if code != nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE {
        return nvml_try(code).map(|()| Vec::new());
    }
    count = count.saturating_add(SPARE);
    let empty =
        nvmlProcessInfo_v2_t { pid: 0, usedGpuMemory: 0, gpuInstanceId: NO_INSTANCE, computeInstanceId: NO_INSTANCE };
    let mut processes = vec![empty; count as usize];
    // SAFETY: as above, and `processes` has room for `count`.
    nvml_try(unsafe { call(device.handle(), &raw mut count, processes.as_mut_ptr()) })?;
    processes.truncate(count as usize);
    Ok(processes.into_iter().map(ProcessInfo::from).collect())
}

/// CLOCK_MONOTONIC in nanoseconds.
pub(super) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the call to fill; CLOCK_MONOTONIC always exists, so it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
