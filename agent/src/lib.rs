//! inferscope's agent: kernel events to finished requests to metrics. `pipeline.rs` is the map.

pub mod cli;
pub mod config;
pub mod decode;
pub mod discover;
pub mod poll;
pub mod session;
pub mod probe;
