//! Control groups of the bench's own that the server lives in: one of version 2, or one for each controller of version 1.
//! Removed when dropped, once nobody is in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

const CONTROLLERS: [&str; 4] = ["cpu", "memory", "blkio", "freezer"];
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Groups {
    /// Controller and directory.
    split: Vec<(&'static str, PathBuf)>,
    unified: Option<PathBuf>,
}

impl Groups {
    pub fn new(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
        let split = split_roots(&mounts);
        if let Some(root) = unified_root(&mounts).filter(|_| split.is_empty()) {
            let dir = root.join(name);
            for controller in ["+cpu", "+memory", "+io"] {
                // One that cannot be had is missed by the fault that wants it, with its own words.
                let _ = fs::write(root.join("cgroup.subtree_control"), controller);
            }
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            return Ok(Self { split: Vec::new(), unified: Some(dir) });
        }
        let mut groups = Self { split: Vec::new(), unified: None };
        for (controller, root) in split {
            let dir = root.join(name);
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            groups.split.push((controller, dir));
        }
        Ok(groups)
    }

    /// The files that a process is written into to become a member.
    pub fn members(&self) -> Vec<PathBuf> {
        self.dirs().map(|dir| dir.join("cgroup.procs")).collect()
    }

    pub fn is_unified(&self) -> bool {
        self.unified.is_some()
    }

    /// The file of a controller, if this host has it.
    pub fn file(&self, controller: &str, name: &str) -> Option<PathBuf> {
        let split = self.split.iter().find(|(known, _)| *known == controller).map(|(_, dir)| dir);
        self.unified.as_ref().or(split).map(|dir| dir.join(name)).filter(|file| file.exists())
    }

    fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.split.iter().map(|(_, dir)| dir.as_path()).chain(self.unified.as_deref())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        for dir in self.dirs() {
            // The kernel lets go of a group a moment after its last process.
            while dir.exists() && fs::remove_dir(dir).is_err() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            if dir.exists() {
                eprintln!("cannot remove {}: its processes live on", dir.display());
            }
        }
    }
}

/// Mount points of the controllers of version 1, in the text of /proc/self/mounts.
fn split_roots(mounts: &str) -> Vec<(&'static str, PathBuf)> {
    let mounted = |line: &str| -> Vec<(&'static str, PathBuf)> {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, dir, "cgroup", options, ..] = fields[..] else { return Vec::new() };
        let has = |controller: &&&str| options.split(',').any(|option| option == **controller);
        CONTROLLERS.iter().filter(has).map(|controller| (*controller, PathBuf::from(dir))).collect()
    };
    mounts.lines().flat_map(mounted).collect()
}

fn unified_root(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, dir, "cgroup2", ..] = fields[..] else { return None };
        Some(PathBuf::from(dir))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_in_mounts() {
        let first = "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu,cpuacct 0 0\n\
                     cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\ntmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                     cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let expected = [("cpu", "/sys/fs/cgroup/cpu"), ("memory", "/sys/fs/cgroup/memory")];
        assert_eq!(split_roots(first), expected.map(|(name, dir)| (name, PathBuf::from(dir))));
        assert_eq!(unified_root(first), Some("/sys/fs/cgroup/unified".into()));
        let second = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert!(split_roots(second).is_empty());
        assert_eq!(unified_root(second), Some("/sys/fs/cgroup".into()));
    }
}
