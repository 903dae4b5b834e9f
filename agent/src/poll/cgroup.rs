//! Control groups: which version the host has, the group of a process, its CPU and memory limits and what they cost, and pressure.
//! Reads only what is mounted; a group that this mount does not show (another cgroup namespace, and no tree of the host's)
//! is `None`, never a guess.
//! Formats: the kernel's admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, scheduler/sched-bwc.rst.

#![forbid(unsafe_code)]

mod limits;
mod own;
mod pressure;
mod settings;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use limits::{CpuReading, MemoryReading};
pub use pressure::{Pressure, Stall, StallKind, StallPair};

/// Where a process finds the hierarchies of its own cgroup namespace.
const OURS: &str = "/sys/fs/cgroup";
/// Where containers that look at their host have its.
pub const HOSTS: &str = "/host/sys/fs/cgroup";

/// What is mounted at /sys/fs/cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// The unified hierarchy only.
    V2,
    /// Controllers on v1 hierarchies, and a v2 hierarchy beside them.
    Hybrid,
    V1,
    /// Nothing that we know.
    Absent,
}

impl fmt::Display for CgroupVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            CgroupVersion::V2 => "v2",
            CgroupVersion::Hybrid => "v1 with v2 beside it (hybrid)",
            CgroupVersion::V1 => "v1",
            CgroupVersion::Absent => "not mounted",
        })
    }
}

/// The host's control groups.
#[derive(Debug, Clone)]
pub struct Cgroups {
    mount: PathBuf,
    proc: PathBuf,
    version: CgroupVersion,
    /// Our own group in each hierarchy, by the hierarchy's root; none where it is not found.
    own: BTreeMap<PathBuf, Option<PathBuf>>,
}

/// Where a process's group lies in each hierarchy that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPaths {
    /// The group's name as the kernel tells it: of v2, or where v2 only names the root, of v1's memory controller.
    pub name: String,
    cpu: Option<Folder>,
    memory: Option<Folder>,
    cpuset: Option<Folder>,
    unified: Option<Folder>,
}

/// A group's folder and the root of its hierarchy, below which limits add up.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Folder {
    root: PathBuf,
    leaf: PathBuf,
    v2: bool,
}

/// What a group says at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CgroupReading {
    /// `None`: no CPU controller on this group.
    pub cpu: Option<CpuReading>,
    /// `None`: no memory controller on this group.
    pub memory: Option<MemoryReading>,
    /// Of this group; empty on v1, and where the kernel does not count it.
    pub pressure: Pressure,
}

impl Cgroups {
    /// The running system's, at this place; if none is given, where a container has the host's, else at the usual one.
    pub fn new(host: Option<&Path>) -> Cgroups {
        let mounted = || [HOSTS, OURS].map(Path::new).into_iter().find(|path| detect(path) != CgroupVersion::Absent);
        Cgroups::seen_from(OURS, host.or_else(mounted).unwrap_or(Path::new(OURS)), "/proc")
    }

    /// A tree like /sys/fs/cgroup and one like /proc.
    pub fn at(mount: impl Into<PathBuf>, proc: impl Into<PathBuf>) -> Cgroups {
        let mount = mount.into();
        Cgroups::seen_from(mount.clone(), mount, proc)
    }

    /// The host's tree, while /proc tells paths from the root of `ours` on, as in a container.
    pub fn seen_from(ours: impl AsRef<Path>, mount: impl Into<PathBuf>, proc: impl Into<PathBuf>) -> Cgroups {
        let (mount, proc) = (mount.into(), proc.into());
        let version = detect(&mount);
        let names: Vec<OsString> = match version {
            CgroupVersion::V2 | CgroupVersion::Absent => vec![OsString::new()],
            CgroupVersion::Hybrid | CgroupVersion::V1 => {
                std::fs::read_dir(&mount).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
            }
        };
        let own = |name| (mount.join(&name), own::own_path(&mount.join(&name), &ours.as_ref().join(&name)));
        let own = names.into_iter().map(own).collect();
        Cgroups { own, mount, proc, version }
    }

    /// Which version is mounted, for `inferscope check`.
    pub fn version(&self) -> CgroupVersion {
        self.version
    }

    /// The group of a process; `None` when the process is gone. Errors: its `cgroup` file cannot be read otherwise.
    pub fn of(&self, pid: u32) -> io::Result<Option<CgroupPaths>> {
        match std::fs::read_to_string(self.proc.join(pid.to_string()).join("cgroup")) {
            Ok(text) => Ok(Some(self.paths(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a group. What its files do not tell, or no longer, is `None`.
    pub fn read(&self, paths: &CgroupPaths) -> CgroupReading {
        CgroupReading {
            cpu: paths.cpu.as_ref().and_then(limits::read_cpu),
            memory: paths.memory.as_ref().and_then(limits::read_memory),
            pressure: match &paths.unified {
                Some(folder) => Pressure::read(|kind| folder.leaf.join(format!("{}.pressure", kind.word()))),
                None => Pressure::default(),
            },
        }
    }

    /// What is set for a group, each by its file's name: of CPU and memory the tightest on the way to the root.
    pub fn settings(&self, paths: &CgroupPaths) -> Vec<(&'static str, String)> {
        settings::read(paths)
    }

    /// Processes of the group killed for memory, alone.
    pub fn oom_kills(&self, paths: &CgroupPaths) -> Option<u64> {
        paths.memory.as_ref().and_then(limits::read_oom_kills)
    }

    /// Pressure of the whole host; empty where the kernel does not count it (`psi=0`, or before 4.20).
    pub fn host_pressure(&self) -> Pressure {
        Pressure::read(|kind| self.proc.join("pressure").join(kind.word()))
    }

    /// `text` is /proc/PID/cgroup: lines of `id:controllers:path`, the v2 one being `0::path`.
    fn paths(&self, text: &str) -> CgroupPaths {
        let lines = || text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let unified_path = lines().find(|(controllers, _)| controllers.is_empty()).map(|(_, path)| path);
        let unified_root = match self.version {
            CgroupVersion::V2 => Some(self.mount.join("")),
            CgroupVersion::Hybrid => Some(self.mount.join("unified")),
            CgroupVersion::V1 | CgroupVersion::Absent => None,
        };
        let unified = unified_root.zip(unified_path).and_then(|(root, path)| self.folder(root, path, true));
        let v1 = |wanted: &str| {
            let (controllers, path) = lines().find(|(list, _)| list.split(',').any(|name| name == wanted))?;
            let roots = [self.mount.join(wanted), self.mount.join(controllers)];
            let folder = roots.into_iter().find(|root| root.is_dir()).and_then(|root| self.folder(root, path, false));
            Some((path, folder))
        };
        let (cpu, memory, cpuset) = (v1("cpu"), v1("memory"), v1("cpuset"));
        let v1_name = memory.as_ref().map(|(path, _)| *path);
        let name = unified_path.filter(|path| *path != "/").or(v1_name).or(unified_path).unwrap_or("/");
        CgroupPaths {
            name: name.to_owned(),
            cpu: cpu.map_or_else(|| unified.clone(), |(_, folder)| folder),
            memory: memory.map_or_else(|| unified.clone(), |(_, folder)| folder),
            cpuset: cpuset.map_or_else(|| unified.clone(), |(_, folder)| folder),
            unified,
        }
    }

    /// The folder of `path` below `root`, if this mount shows it.
    fn folder(&self, root: PathBuf, path: &str, v2: bool) -> Option<Folder> {
        let own = self.own.get(&root)?.as_deref()?;
        let leaf = root.join(own::resolve(own, path)?);
        leaf.is_dir().then_some(Folder { root, leaf, v2 })
    }
}

impl Folder {
    /// The group and its ancestors, from the leaf to the root.
    fn levels(&self) -> impl Iterator<Item = &Path> {
        self.leaf.ancestors().take_while(|level| level.starts_with(&self.root))
    }
}

fn detect(mount: &Path) -> CgroupVersion {
    let v1 = ["memory", "cpu", "cpu,cpuacct"].iter().any(|controller| mount.join(controller).is_dir());
    if mount.join("cgroup.controllers").exists() {
        CgroupVersion::V2
    } else if mount.join("unified/cgroup.controllers").exists() {
        CgroupVersion::Hybrid
    } else if v1 {
        CgroupVersion::V1
    } else {
        CgroupVersion::Absent
    }
}

#[cfg(test)]
mod tests;
