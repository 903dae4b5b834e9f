//! The NVML poller against the fake library: figures equal the script, and every fault is reported while the rest goes on.
//! Each test copies the library into a folder of its own, so that it has its own timeline, script and faults.

mod bench;
mod faults;
mod figures;
