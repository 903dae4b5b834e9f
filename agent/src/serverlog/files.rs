//! Whether an open file is a log: asked once for each file that a watched process writes to. Reads links and flags in
//! /proc and never the file, which may lie on a file system that does not answer.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

/// Endings of names of logs; numbers of rotation are taken off before.
const LOGS: [&str; 4] = ["log", "out", "err", "trace"];

/// Endings of files that are appended to and hold data.
const DATA: [&str; 20] = [
    "jsonl",
    "ndjson",
    "json",
    "csv",
    "tsv",
    "db",
    "sqlite",
    "wal",
    "aof",
    "bin",
    "dat",
    "pt",
    "npy",
    "gguf",
    "safetensors",
    "parquet",
    "arrow",
    "lock",
    "pid",
    "part",
];

/// None: the descriptor is another file's by now, or cannot be looked at.
pub fn is_log(proc_root: &Path, pid: u32, fd: u32, inode: u64) -> Option<bool> {
    let process = proc_root.join(pid.to_string());
    let info = std::fs::read_to_string(process.join(format!("fdinfo/{fd}"))).ok()?;
    // Since 5.14; before, the descriptor is taken for the one that was written to.
    if field(&info, "ino:").is_some_and(|found| found.parse() != Ok(inode)) {
        return None;
    }
    let flags = i32::from_str_radix(field(&info, "flags:")?, 8).ok()?;
    let target = std::fs::read_link(process.join(format!("fd/{fd}"))).ok()?;
    let is_output = |fd: u32| std::fs::read_link(process.join(format!("fd/{fd}"))).is_ok_and(|other| other == target);
    Some(is_named(&target, flags & libc::O_APPEND != 0) || is_output(1) || is_output(2))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// By name, and whether it is appended to, as logs are.
fn is_named(path: &Path, appended: bool) -> bool {
    let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
    let rotated = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || b"-_T:".contains(&byte));
    let mut parts = name.split('.').skip(1).filter(|part| !rotated(part)).peekable();
    let Some(last) = parts.clone().last() else { return appended };
    // Such as server.log.INFO.20251124-120000.7, as glog has it.
    let log = parts.any(|part| part == "log") || LOGS.contains(&last);
    log || appended && !DATA.contains(&last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::os::{fd::AsRawFd, unix::fs::MetadataExt};

    #[test]
    fn logs_have_names_or_are_appended_to() {
        for name in ["/var/log/vllm.log", "/x/server.log.1", "/x/triton.INFO.log", "/x/run.out", "/x/a.log.2025-11-24"]
        {
            assert!(is_named(Path::new(name), false), "{name}");
        }
        for name in ["/x/server-log", "/x/messages", "/x/server.txt", "/x/log (deleted)"] {
            assert!(is_named(Path::new(name), true) && !is_named(Path::new(name), false), "{name}");
        }
        for name in ["/x/records.jsonl", "/x/kv.aof", "/x/model.safetensors", "/x/cache.db"] {
            assert!(!is_named(Path::new(name), true), "{name}");
        }
    }

    #[test]
    fn an_open_file_is_looked_at_and_another_one_is_not_judged() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str, append: bool| {
            let mut options = OpenOptions::new();
            options.create(true).append(append).write(true).open(folder.path().join(name)).unwrap()
        };
        let judge = |file: &std::fs::File, inode: u64| {
            is_log(Path::new("/proc"), std::process::id(), file.as_raw_fd() as u32, inode)
        };
        let inode = |file: &std::fs::File| file.metadata().unwrap().ino();
        let (log, appended, data) = (open("a.log", false), open("appended", true), open("model.gguf", false));
        assert_eq!(judge(&log, inode(&log)), Some(true));
        assert_eq!(judge(&appended, inode(&appended)), Some(true));
        assert_eq!(judge(&data, inode(&data)), Some(false));
        // Kernels before 5.14 do not tell the inode.
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", log.as_raw_fd())).unwrap();
        let told = info.contains("ino:");
        assert_eq!(judge(&log, inode(&log) + 1), if told { None } else { Some(true) });
        assert_eq!(is_log(Path::new("/proc"), std::process::id(), u32::MAX, 1), None);
    }
}
