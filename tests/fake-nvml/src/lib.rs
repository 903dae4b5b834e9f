//! A `libnvidia-ml.so.1` that plays a scripted timeline: NVML's C interface for tests without a GPU.
//! `script` parses, `world` says what holds at a time, `faults` injects, `ffi` is the C surface and the only unsafe code.
//! README.md documents the script and the faults.

mod faults;
mod ffi;
mod place;
pub mod script;
pub mod world;
