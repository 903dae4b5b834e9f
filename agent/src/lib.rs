//! inferscope's agent: kernel events to finished requests to metrics. `pipeline.rs` is the map.

pub mod check;
pub mod cli;
pub mod config;
pub mod decode;
pub mod discover;
pub mod poll;
pub mod probe;
pub mod ps;
pub mod session;
