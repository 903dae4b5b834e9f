//! inferscope's agent: kernel events to finished requests to metrics. `pipeline.rs` is the map.

pub mod attach;
pub mod candidates;
pub mod check;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod correlate;
pub mod decode;
pub mod discover;
pub mod exits;
pub mod export;
pub mod pipeline;
pub mod poll;
pub mod probe;
pub mod ps;
pub mod refused;
pub mod registry;
pub mod ring;
pub mod run;
pub mod scout;
pub mod services;
pub mod session;
pub mod shared;
pub mod tasks;
pub mod top;
