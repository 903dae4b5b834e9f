//! Init, shutdown, versions, error texts, and handles by index and UUID.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use nvml_wrapper_sys::bindings::*;

use super::{Answer, Handle, LOADED, plain, put, put_text, seconds};
use crate::faults::{self, Faults};
use crate::place;
use crate::script::Script;
use crate::world::World;

fn init(call: &str) -> nvmlReturn_t {
    faults::wait_out_hang(call, seconds);
    if let Some(code) = Faults::now().failure(call, None) {
        return code;
    }
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, inits)) = loaded.as_mut() {
        *inits += 1;
        return nvmlReturn_enum_NVML_SUCCESS;
    }
    match load_script() {
        Ok(script) => {
            *loaded = Some((Arc::new(World { script }), 1));
            nvmlReturn_enum_NVML_SUCCESS
        }
        Err(error) => {
            eprintln!("fake-nvml: {error}");
            nvmlReturn_enum_NVML_ERROR_UNKNOWN
        }
    }
}

fn load_script() -> Result<Script, String> {
    let named = std::env::var_os("FAKE_NVML_SCRIPT").map(PathBuf::from);
    let path = named.or_else(|| place::beside("fake-nvml.jsonl").filter(|path| path.exists()));
    let text = match &path {
        Some(path) => std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => include_str!("../default.jsonl").to_owned(),
    };
    Script::parse(&text).map_err(|error| format!("{}: {error}", path.unwrap_or_default().display()))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    init("nvmlInit_v2")
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit() -> nvmlReturn_t {
    init("nvmlInit")
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> nvmlReturn_t {
    init("nvmlInitWithFlags")
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    let code = plain("nvmlShutdown", |_| Ok(()));
    if code == nvmlReturn_enum_NVML_SUCCESS {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        *loaded = loaded.take().filter(|(_, inits)| *inits > 1).map(|(world, inits)| (world, inits - 1));
    }
    code
}

#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(code: nvmlReturn_t) -> *const c_char {
    let text: &CStr = match code {
        nvmlReturn_enum_NVML_SUCCESS => c"Success",
        nvmlReturn_enum_NVML_ERROR_UNINITIALIZED => c"Uninitialized",
        nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED => c"Not Supported",
        nvmlReturn_enum_NVML_ERROR_NOT_FOUND => c"Not Found",
        nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED => c"Driver Not Loaded",
        nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST => c"GPU is lost",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) -> nvmlReturn_t {
    plain("nvmlSystemGetDriverVersion", |world| put_text(&world.script.driver, version, length))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) -> nvmlReturn_t {
    plain("nvmlSystemGetNVMLVersion", |world| put_text(&format!("12.{}", world.script.driver), version, length))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> nvmlReturn_t {
    plain("nvmlSystemGetCudaDriverVersion_v2", |_| put(version, 12040))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetCudaDriverVersion(version: *mut c_int) -> nvmlReturn_t {
    plain("nvmlSystemGetCudaDriverVersion", |_| put(version, 12040))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> nvmlReturn_t {
    plain("nvmlDeviceGetCount_v2", |world| put(count, world.script.gpus.len() as c_uint))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCount(count: *mut c_uint) -> nvmlReturn_t {
    plain("nvmlDeviceGetCount", |world| put(count, world.script.gpus.len() as c_uint))
}

fn by_index(world: &World, index: c_uint, device: *mut nvmlDevice_t) -> Answer {
    let gpu = index as usize;
    if gpu >= world.script.gpus.len() {
        return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    if let Some(code) = Faults::now().failure("nvmlDeviceGetHandleByIndex_v2", Some(gpu)) {
        return Err(code);
    }
    if world.gpu(gpu, seconds()).lost {
        return Err(nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST);
    }
    put(device, Handle { gpu, mig: None }.encode())
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    plain("nvmlDeviceGetHandleByIndex_v2", |world| by_index(world, index, device))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetHandleByIndex(index: c_uint, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    plain("nvmlDeviceGetHandleByIndex", |world| by_index(world, index, device))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    plain("nvmlDeviceGetHandleByUUID", |world| {
        if uuid.is_null() {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: NVML's contract: a NUL-terminated string.
        let wanted = unsafe { CStr::from_ptr(uuid) }.to_string_lossy();
        let gpu = world.script.gpus.iter().position(|gpu| gpu.uuid == wanted);
        put(device, Handle { gpu: gpu.ok_or(nvmlReturn_enum_NVML_ERROR_NOT_FOUND)?, mig: None }.encode())
    })
}
