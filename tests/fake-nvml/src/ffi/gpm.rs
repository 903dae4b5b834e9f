//! GPM (Hopper and later): samples, and metrics between two samples. A sample here is only its GPU and its time.

use std::ffi::{c_char, c_uint};

use nvml_wrapper_sys::bindings::*;

use super::{Call, on_device, plain, put};

/// What a sample handle points to.
struct Sample {
    gpu: usize,
    gi: Option<u32>,
    t: f64,
}

#[unsafe(no_mangle)]
extern "C" fn nvmlGpmQueryDeviceSupport(device: nvmlDevice_t, support: *mut nvmlGpmSupport_t) -> nvmlReturn_t {
    on_device("nvmlGpmQueryDeviceSupport", device, |call| {
        let gpu = &call.world.script.gpus[call.handle.gpu];
        put(support, nvmlGpmSupport_t { version: 1, isSupportedDevice: u32::from(gpu.gpm_support) })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlGpmSampleAlloc(sample: *mut nvmlGpmSample_t) -> nvmlReturn_t {
    plain("nvmlGpmSampleAlloc", |_| {
        if sample.is_null() {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        put(sample, Box::into_raw(Box::new(Sample { gpu: 0, gi: None, t: -1.0 })).cast())
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlGpmSampleFree(sample: nvmlGpmSample_t) -> nvmlReturn_t {
    if sample.is_null() {
        return nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
    }
    // SAFETY: NVML's contract: the handle comes from nvmlGpmSampleAlloc, which made it with Box::into_raw, and is freed once.
    drop(unsafe { Box::from_raw(sample.cast::<Sample>()) });
    nvmlReturn_enum_NVML_SUCCESS
}

fn fill(call: &Call, sample: nvmlGpmSample_t, gi: Option<u32>) -> super::Answer {
    if !call.world.script.gpus[call.handle.gpu].gpm_support {
        return Err(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
    }
    put(sample.cast(), Sample { gpu: call.handle.gpu, gi, t: call.t })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlGpmSampleGet(device: nvmlDevice_t, sample: nvmlGpmSample_t) -> nvmlReturn_t {
    on_device("nvmlGpmSampleGet", device, |call| fill(call, sample, None))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlGpmMigSampleGet(device: nvmlDevice_t, gi: c_uint, sample: nvmlGpmSample_t) -> nvmlReturn_t {
    on_device("nvmlGpmMigSampleGet", device, |call| fill(call, sample, Some(gi)))
}

/// Answers with the script's values at the later sample. Stricter than the driver: samples less than 100 ms apart, or of
/// different GPUs, are an invalid argument.
#[unsafe(no_mangle)]
extern "C" fn nvmlGpmMetricsGet(request: *mut nvmlGpmMetricsGet_t) -> nvmlReturn_t {
    plain("nvmlGpmMetricsGet", |world| {
        // SAFETY: NVML's contract: `request` is null or points to an initialised request.
        let request = unsafe { request.as_mut() }.ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        // SAFETY: both handles come from nvmlGpmSampleAlloc and are alive, or are null.
        let samples = unsafe { (request.sample1.cast::<Sample>().as_ref(), request.sample2.cast::<Sample>().as_ref()) };
        let (Some(first), Some(second)) = samples else {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        };
        if first.gpu != second.gpu || first.gi != second.gi || first.t < 0.0 || second.t - first.t < 0.1 {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        let values = world.gpu(second.gpu, second.t).gpm;
        for metric in request.metrics.iter_mut().take(request.numMetrics as usize) {
            let value = values.get(&metric.metricId);
            metric.nvmlReturn = match value {
                Some(_) => nvmlReturn_enum_NVML_SUCCESS,
                None => nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED,
            };
            metric.value = value.copied().unwrap_or(0.0);
            let unit = if metric.metricId < 20 { c"%" } else { c"MiB/s" };
            metric.metricInfo.unit = unit.as_ptr().cast::<c_char>().cast_mut();
        }
        Ok(())
    })
}
