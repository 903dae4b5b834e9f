//! Finished exchanges to [`Request`]s: the one place that computes TTFT, TPOT and the host's share. Pure: no I/O,
//! and time comes from events alone.
#![forbid(unsafe_code)]

mod engine;
mod host;
mod request;

pub use engine::EngineTimes;
pub use host::{HostPhases, HostShare};
pub use request::{Labels, Request, request};
