//! What a GPU says about itself: identity, utilisation, memory, power, energy, temperature, clocks, PCIe, ECC, fields.

use std::ffi::{c_char, c_int, c_uint, c_ulonglong};
use std::time::Duration;

use nvml_wrapper_sys::bindings::*;

use super::{Answer, Call, fixed, on_device, put, put_text, unix_us};

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetUUID(device: nvmlDevice_t, uuid: *mut c_char, length: c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetUUID", device, |call| {
        let gpu = &call.world.script.gpus[call.handle.gpu];
        match call.handle.mig {
            Some(index) => put_text(&gpu.uuid.replace("GPU-fa4e0000", &format!("MIG-fa4e{index:04}")), uuid, length),
            None => put_text(&gpu.uuid, uuid, length),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetName(device: nvmlDevice_t, name: *mut c_char, length: c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetName", device, |call| {
        let gpu = &call.world.script.gpus[call.handle.gpu];
        let suffix = if call.handle.mig.is_some() { " MIG" } else { "" };
        put_text(&format!("{}{suffix}", gpu.name), name, length)
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetIndex(device: nvmlDevice_t, index: *mut c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetIndex", device, |call| put(index, call.handle.mig.unwrap_or(call.handle.gpu) as c_uint))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetPciInfo_v3(device: nvmlDevice_t, pci: *mut nvmlPciInfo_t) -> nvmlReturn_t {
    on_device("nvmlDeviceGetPciInfo_v3", device, |call| {
        let id = &call.world.script.gpus[call.handle.gpu].bus_id;
        let mut numbers = id.split([':', '.']).map(|part| u32::from_str_radix(part, 16).unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        let info = nvmlPciInfo_t {
            busIdLegacy: fixed(id.get(4..).unwrap_or(id)),
            domain: next(),
            bus: next(),
            device: next(),
            pciDeviceId: 0x2330_10de,
            pciSubSystemId: 0x16c1_10de,
            busId: fixed(id),
        };
        put(pci, info)
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetUtilizationRates(device: nvmlDevice_t, rates: *mut nvmlUtilization_t) -> nvmlReturn_t {
    on_device("nvmlDeviceGetUtilizationRates", device, |call| {
        call.whole_gpu()?;
        let state = call.state();
        put(rates, nvmlUtilization_t { gpu: state.util, memory: state.mem_util })
    })
}

/// Total, reserved and used bytes of the device or MIG device.
fn memory_of(call: &Call) -> (u64, u64, u64) {
    let gpu = &call.world.script.gpus[call.handle.gpu];
    let state = call.state();
    let Some(mig) = call.handle.mig.and_then(|index| gpu.mig.as_ref()?.get(index)) else {
        return (gpu.memory_total, gpu.memory_reserved, state.memory_in_use());
    };
    let mine = state.processes.values().filter(|process| process.gi == Some(mig.gi) && process.ci == Some(mig.ci));
    (mig.memory_total, 0, mine.map(|process| process.memory).sum())
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: nvmlDevice_t, memory: *mut nvmlMemory_v2_t) -> nvmlReturn_t {
    on_device("nvmlDeviceGetMemoryInfo_v2", device, |call| {
        if memory.is_null() {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: NVML's contract: the caller sets `version` before the call.
        let version = unsafe { (*memory).version };
        if version != (size_of::<nvmlMemory_v2_t>() | 2 << 24) as u32 {
            return Err(nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        let (total, reserved, used) = memory_of(call);
        let free = total.saturating_sub(reserved + used);
        put(memory, nvmlMemory_v2_t { version, total, reserved, free, used })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMemoryInfo(device: nvmlDevice_t, memory: *mut nvmlMemory_t) -> nvmlReturn_t {
    on_device("nvmlDeviceGetMemoryInfo", device, |call| {
        let (total, reserved, used) = memory_of(call);
        // Version 1 has no field for the reserve and counts it as used.
        let used = used + reserved;
        put(memory, nvmlMemory_t { total, free: total.saturating_sub(used), used })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetPowerUsage(device: nvmlDevice_t, power: *mut c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetPowerUsage", device, |call| {
        call.whole_gpu()?;
        put(power, call.state().milliwatts)
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetEnforcedPowerLimit(device: nvmlDevice_t, limit: *mut c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetEnforcedPowerLimit", device, |call| {
        call.whole_gpu()?;
        put(limit, 700_000)
    })
}

fn energy(call: &Call) -> u64 {
    call.world.energy_mj(call.handle.gpu, call.t) as u64
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetTotalEnergyConsumption(device: nvmlDevice_t, total: *mut c_ulonglong) -> nvmlReturn_t {
    on_device("nvmlDeviceGetTotalEnergyConsumption", device, |call| {
        call.whole_gpu()?;
        put(total, energy(call))
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetTemperature(device: nvmlDevice_t, sensor: c_uint, temperature: *mut c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetTemperature", device, |call| {
        call.whole_gpu()?;
        if sensor != 0 {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        put(temperature, call.state().temp)
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetClockInfo(device: nvmlDevice_t, clock: c_uint, mhz: *mut c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetClockInfo", device, |call| {
        call.whole_gpu()?;
        let state = call.state();
        put(mhz, if clock == nvmlClockType_enum_NVML_CLOCK_MEM { state.mem_clock } else { state.sm_clock })
    })
}

fn throttle(call: &Call, reasons: *mut c_ulonglong) -> Answer {
    call.whole_gpu()?;
    put(reasons, call.state().throttle)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(
    device: nvmlDevice_t,
    reasons: *mut c_ulonglong,
) -> nvmlReturn_t {
    on_device("nvmlDeviceGetCurrentClocksThrottleReasons", device, |call| throttle(call, reasons))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCurrentClocksEventReasons(device: nvmlDevice_t, reasons: *mut c_ulonglong) -> nvmlReturn_t {
    on_device("nvmlDeviceGetCurrentClocksEventReasons", device, |call| throttle(call, reasons))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetPcieThroughput(device: nvmlDevice_t, counter: c_uint, rate: *mut c_uint) -> nvmlReturn_t {
    on_device("nvmlDeviceGetPcieThroughput", device, |call| {
        call.whole_gpu()?;
        // The real call measures for 20 ms.
        std::thread::sleep(Duration::from_millis(20));
        let state = call.state();
        put(
            rate,
            if counter == nvmlPcieUtilCounter_enum_NVML_PCIE_UTIL_TX_BYTES { state.pcie_tx } else { state.pcie_rx },
        )
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: nvmlDevice_t,
    kind: c_uint,
    _counter: c_uint,
    count: *mut c_ulonglong,
) -> nvmlReturn_t {
    on_device("nvmlDeviceGetTotalEccErrors", device, |call| {
        call.whole_gpu()?;
        let state = call.state();
        let corrected = kind == nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_CORRECTED;
        put(count, if corrected { state.ecc_corrected } else { state.ecc_uncorrected })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    values: *mut nvmlFieldValue_t,
) -> nvmlReturn_t {
    on_device("nvmlDeviceGetFieldValues", device, |call| {
        let count = usize::try_from(count).map_err(|_| nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        if values.is_null() {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: NVML's contract: `values` points to `count` field values that the caller initialised.
        for value in unsafe { std::slice::from_raw_parts_mut(values, count) } {
            answer_field(call, value);
        }
        Ok(())
    })
}

fn answer_field(call: &Call, field: &mut nvmlFieldValue_t) {
    field.timestamp = i64::try_from(unix_us(call.t)).unwrap_or(i64::MAX);
    field.latencyUsec = 1;
    field.nvmlReturn = nvmlReturn_enum_NVML_SUCCESS;
    match field.fieldId {
        field_id::NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION => {
            field.valueType = nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
            field.value.ullVal = energy(call);
        }
        field_id::NVML_FI_DEV_POWER_AVERAGE | field_id::NVML_FI_DEV_POWER_INSTANT => {
            field.valueType = nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT;
            field.value.uiVal = call.state().milliwatts;
        }
        _ => field.nvmlReturn = nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED,
    }
}
