//! The wire types between the kernel programs and the agent: integers and byte arrays only, padding explicit,
//! sizes asserted here. Times are CLOCK_MONOTONIC nanoseconds, sizes are bytes, ids are the kernel's (host namespace).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod connection;
mod counters;
mod custom;
mod event;
mod log;
mod loss;
mod offsets;
mod state;
mod syscall;
mod thread;
mod timeline;

pub use connection::*;
pub use counters::*;
pub use custom::*;
pub use event::*;
pub use log::*;
pub use loss::*;
pub use offsets::*;
pub use state::*;
pub use syscall::*;
pub use thread::*;
pub use timeline::*;
