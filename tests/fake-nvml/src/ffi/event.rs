//! Event sets: XID errors of the GPUs registered, each delivered once per set.

use std::ffi::{c_uint, c_ulonglong};
use std::time::{Duration, Instant};

use nvml_wrapper_sys::bindings::*;

use super::{Handle, on_device, plain, put, seconds};
use crate::world::World;

/// What an event-set handle points to: per registered GPU, how many of its XIDs are delivered, and since when it listens.
#[derive(Default)]
struct Set {
    gpus: Vec<(usize, f64, usize)>,
}

impl Set {
    fn next(&mut self, world: &World, t: f64) -> Option<(usize, u64)> {
        self.gpus.iter_mut().find_map(|(gpu, since, delivered)| {
            let xid = *world.xids(*gpu, *since, t).get(*delivered)?;
            *delivered += 1;
            Some((*gpu, xid))
        })
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetSupportedEventTypes(device: nvmlDevice_t, types: *mut c_ulonglong) -> nvmlReturn_t {
    on_device("nvmlDeviceGetSupportedEventTypes", device, |_| put(types, u64::from(nvmlEventTypeXidCriticalError)))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlEventSetCreate(set: *mut nvmlEventSet_t) -> nvmlReturn_t {
    plain("nvmlEventSetCreate", |_| {
        if set.is_null() {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        put(set, Box::into_raw(Box::new(Set::default())).cast())
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceRegisterEvents(device: nvmlDevice_t, types: c_ulonglong, set: nvmlEventSet_t) -> nvmlReturn_t {
    on_device("nvmlDeviceRegisterEvents", device, |call| {
        if types & !u64::from(nvmlEventTypeXidCriticalError) != 0 {
            return Err(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
        }
        // SAFETY: NVML's contract: the handle comes from nvmlEventSetCreate and is used by one thread at a time.
        let set = unsafe { set.cast::<Set>().as_mut() }.ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        set.gpus.push((call.handle.gpu, call.t, 0));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlEventSetWait_v2(set: nvmlEventSet_t, data: *mut nvmlEventData_t, timeout_ms: c_uint) -> nvmlReturn_t {
    plain("nvmlEventSetWait_v2", |world| {
        // SAFETY: NVML's contract: the handle comes from nvmlEventSetCreate and is used by one thread at a time.
        let set = unsafe { set.cast::<Set>().as_mut() }.ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        let until = Instant::now() + Duration::from_millis(timeout_ms.into());
        loop {
            if let Some((gpu, xid)) = set.next(world, seconds()) {
                let event = nvmlEventData_t {
                    device: Handle { gpu, mig: None }.encode(),
                    eventType: nvmlEventTypeXidCriticalError.into(),
                    eventData: xid,
                    gpuInstanceId: u32::MAX,
                    computeInstanceId: u32::MAX,
                };
                return put(data, event);
            }
            if Instant::now() >= until {
                return Err(nvmlReturn_enum_NVML_ERROR_TIMEOUT);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlEventSetFree(set: nvmlEventSet_t) -> nvmlReturn_t {
    if set.is_null() {
        return nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
    }
    // SAFETY: NVML's contract: the handle comes from nvmlEventSetCreate, which made it with Box::into_raw, and is freed once.
    drop(unsafe { Box::from_raw(set.cast::<Set>()) });
    nvmlReturn_enum_NVML_SUCCESS
}
