//! What is set for a group, in words: to be compared with what was set before.

#![forbid(unsafe_code)]

use super::{
    CgroupPaths,
    limits::{read_cpu, read_memory, text},
};

/// No limit.
const NONE: &str = "none";

/// CPUs, bytes and lists of CPUs, each by the name of the file that sets it. What cannot be read is left out.
pub(super) fn read(paths: &CgroupPaths) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    let word = |value: Option<String>| value.unwrap_or_else(|| NONE.to_owned());
    if let Some(folder) = &paths.cpu
        && let Some(cpu) = read_cpu(folder)
    {
        let name = if folder.v2 { "cpu.max" } else { "cpu.cfs_quota_us" };
        all.push((name, word(cpu.cpus().map(|cpus| format!("{} CPUs", (cpus * 1e3).round() / 1e3)))));
    }
    if let Some(folder) = &paths.memory
        && let Some(memory) = read_memory(folder)
    {
        let bytes = |bytes: Option<u64>| word(bytes.map(|bytes| format!("{bytes} bytes")));
        all.push((if folder.v2 { "memory.max" } else { "memory.limit_in_bytes" }, bytes(memory.max_bytes)));
        if folder.v2 {
            all.push(("memory.high", bytes(memory.high_bytes)));
        }
    }
    if let Some(folder) = &paths.cpuset {
        let file = if folder.v2 { "cpuset.cpus.effective" } else { "cpuset.cpus" };
        all.extend(text(&folder.leaf.join(file)).map(|list| ("cpuset.cpus", list.trim().to_owned())));
    }
    all
}
