//! What leaves the agent. Each export is one file that takes a `&Request` or reads shared state at a scrape.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod family;
pub mod flamegraph;
pub mod flights;
pub mod gpu;
pub mod http;
pub mod identity;
pub mod jsonl;
pub mod kernel;
pub mod lines;
pub mod metrics;
pub mod otlp;
pub mod output;
pub mod own;
pub mod perfetto;
pub mod pprof;
pub mod process;
pub mod prometheus;
pub mod requests;
pub mod routes;
pub mod serverlog;
pub mod web;
