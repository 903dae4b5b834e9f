//! Timed sources, each on its own thread: GPUs (`nvml`), processes (`procfs`), control groups (`cgroup`).
//! They publish readings; what the readings mean for a request is `correlate`'s business.

pub mod cgroup;
pub mod nvml;
pub mod procfs;
