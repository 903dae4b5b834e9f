//! The C surface: each exported symbol checks faults, reads the world at this instant, and writes the caller's memory.
//! Handles are numbers in pointers' clothes, never addresses. Signatures are those of nvml.h through nvml-wrapper-sys.

// Constants keep the spelling of nvml.h.
#![allow(non_upper_case_globals)]

mod device;
mod event;
mod gpm;
mod mig;
mod process;
mod system;

use std::ffi::c_char;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use nvml_wrapper_sys::bindings::*;

use crate::faults::{self, Faults};
use crate::place;
use crate::world::{GpuState, World};

/// How a call ended, when not well.
type Answer = Result<(), nvmlReturn_t>;

/// The script while initialised, with how many inits are not yet shut down.
static LOADED: Mutex<Option<(Arc<World>, u32)>> = Mutex::new(None);
/// Second 0 of the timeline, CLOCK_MONOTONIC ns: the first init in this process.
static START_NS: OnceLock<u64> = OnceLock::new();

/// A device handle, decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Handle {
    gpu: usize,
    mig: Option<usize>,
}

impl Handle {
    fn encode(self) -> nvmlDevice_t {
        let number = 0x1000 + self.gpu * 0x100 + self.mig.map_or(0, |index| index + 1);
        std::ptr::without_provenance_mut(number)
    }

    fn decode(pointer: nvmlDevice_t) -> Option<Handle> {
        let number = pointer.addr().checked_sub(0x1000)?;
        Some(Handle { gpu: number / 0x100, mig: (number % 0x100).checked_sub(1) })
    }
}

/// A device call under way: the world, whose device, and the time.
struct Call {
    world: Arc<World>,
    handle: Handle,
    t: f64,
}

impl Call {
    fn state(&self) -> GpuState {
        self.world.gpu(self.handle.gpu, self.t)
    }

    /// Refuses on a MIG handle what NVML answers for whole GPUs only.
    fn whole_gpu(&self) -> Answer {
        if self.handle.mig.is_some() { Err(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED) } else { Ok(()) }
    }
}

/// Runs a call that needs no device: faults first, then `body`.
fn plain(call: &str, body: impl FnOnce(&World) -> Answer) -> nvmlReturn_t {
    faults::wait_out_hang(call, seconds);
    let answer = match Faults::now().failure(call, None) {
        Some(code) => Err(code),
        None => world().and_then(|world| body(&world)),
    };
    answer.err().unwrap_or(nvmlReturn_enum_NVML_SUCCESS)
}

/// Runs a call on a device: faults, a lost GPU and calls that the script declares unsupported first, then `body`.
fn on_device(call: &str, device: nvmlDevice_t, body: impl FnOnce(&Call) -> Answer) -> nvmlReturn_t {
    faults::wait_out_hang(call, seconds);
    let answer = world().and_then(|world| {
        let handle = Handle::decode(device).filter(|handle| handle.gpu < world.script.gpus.len());
        let handle = handle.ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        if let Some(code) = Faults::now().failure(call, Some(handle.gpu)) {
            return Err(code);
        }
        if world.script.gpus[handle.gpu].unsupported.iter().any(|name| name == call) {
            return Err(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
        }
        let here = Call { world, handle, t: seconds() };
        if here.state().lost {
            return Err(nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST);
        }
        body(&here)
    });
    answer.err().unwrap_or(nvmlReturn_enum_NVML_SUCCESS)
}

fn world() -> Result<Arc<World>, nvmlReturn_t> {
    let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.as_ref().map(|(world, _)| Arc::clone(world)).ok_or(nvmlReturn_enum_NVML_ERROR_UNINITIALIZED)
}

/// Seconds since the start of the timeline.
fn seconds() -> f64 {
    let now = place::monotonic_ns();
    let start = Faults::now().epoch_ns.unwrap_or_else(|| *START_NS.get_or_init(|| now));
    now.saturating_sub(start) as f64 / 1e9
}

/// Microseconds of Unix time at second `t` of the timeline, as NVML's samples are stamped.
fn unix_us(t: f64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    ((now - seconds() + t) * 1e6).round().max(0.0) as u64
}

/// Writes to the caller's out-pointer.
fn put<T>(place: *mut T, value: T) -> Answer {
    if place.is_null() {
        return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: NVML's contract: a non-null out-pointer is valid for one write of its type.
    unsafe { place.write(value) };
    Ok(())
}

/// Writes a NUL-terminated text into the caller's buffer of `length` bytes.
fn put_text(text: &str, place: *mut c_char, length: u32) -> Answer {
    if place.is_null() {
        return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    if text.len() >= length as usize {
        return Err(nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    }
    // SAFETY: NVML's contract: the buffer holds `length` bytes; text and NUL fit by the check above.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), place, text.len());
        place.add(text.len()).write(0);
    }
    Ok(())
}

/// Fills a list by NVML's protocol: too small a `count` answers INSUFFICIENT_SIZE and the size needed.
fn put_list<T: Copy>(items: &[T], place: *mut T, count: *mut u32) -> Answer {
    if count.is_null() {
        return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: NVML's contract: `count` points to the number of elements that `place` has room for.
    let room = unsafe { count.read() } as usize;
    put(count, items.len() as u32)?;
    if items.is_empty() {
        return Ok(());
    }
    if place.is_null() || room < items.len() {
        return Err(nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    }
    // SAFETY: `place` has room for `room` elements, which is enough by the check above.
    unsafe { std::ptr::copy_nonoverlapping(items.as_ptr(), place, items.len()) };
    Ok(())
}

/// Copies a text into a fixed C array, cut to fit with its NUL.
fn fixed<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    for (place, byte) in array[..N - 1].iter_mut().zip(text.bytes()) {
        *place = byte as c_char;
    }
    array
}
