//! inferscope's agent: kernel events to finished requests to metrics. `pipeline.rs` is the map.

pub mod check;
pub mod cli;
pub mod config;
pub mod correlate;
pub mod decode;
pub mod discover;
pub mod export;
pub mod poll;
pub mod probe;
pub mod top;
pub mod ps;
pub mod services;
pub mod session;
