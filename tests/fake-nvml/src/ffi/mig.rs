//! MIG: mode, MIG devices by index, their GPU and compute instance ids.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::*;

use super::{Answer, Call, Handle, on_device, put};
use crate::script::MigLine;

fn mine(call: &Call) -> Result<&MigLine, nvmlReturn_t> {
    let devices = call.world.script.gpus[call.handle.gpu].mig.as_ref();
    let index = call.handle.mig.ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    devices.and_then(|devices| devices.get(index)).ok_or(nvmlReturn_enum_NVML_ERROR_NOT_FOUND)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMigMode(device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetMigMode", device, |call| {
        let on = c_uint::from(call.world.script.gpus[call.handle.gpu].mig.is_some());
        put(current, on)?;
        put(pending, on)
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMaxMigDeviceCount(device: nvmlDevice_t, count: *mut c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetMaxMigDeviceCount", device, |call| {
        put(count, if call.world.script.gpus[call.handle.gpu].mig.is_some() { 7 } else { 0 })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvmlDevice_t,
    index: c_uint,
    mig: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    on_device("nvmlDeviceGetMigDeviceHandleByIndex", device, |call| {
        let handle = Handle { gpu: call.handle.gpu, mig: Some(index as usize) };
        mine(&Call { world: call.world.clone(), handle, t: call.t })?;
        put(mig, handle.encode())
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(
    mig: nvmlDevice_t,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    on_device("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", mig, |call| {
        put(device, Handle { gpu: call.handle.gpu, mig: None }.encode())
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceIsMigDeviceHandle(device: nvmlDevice_t, answer: *mut c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceIsMigDeviceHandle", device, |call| put(answer, c_uint::from(call.handle.mig.is_some())))
}

fn put_id(call: &Call, id: *mut c_uint, of: impl Fn(&MigLine) -> u32) -> Answer {
    put(id, of(mine(call)?))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetGpuInstanceId(device: nvmlDevice_t, id: *mut c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetGpuInstanceId", device, |call| put_id(call, id, |mig| mig.gi))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetComputeInstanceId(device: nvmlDevice_t, id: *mut c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetComputeInstanceId", device, |call| put_id(call, id, |mig| mig.ci))
}
