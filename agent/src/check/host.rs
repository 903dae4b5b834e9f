//! The host checks that need no BPF: kernel, BTF, lockdown, privileges, namespaces, cgroups. Each is one function from
//! the text of a file to a finding.

use std::fs;
use std::path::{Path, PathBuf};

use super::privilege::Privilege;
use super::report::Finding;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Host {
    pub proc_root: PathBuf,
    pub sys_root: PathBuf,
    /// BTF file that the operator named.
    pub btf: Option<PathBuf>,
}

/// Inode of the initial PID namespace, PROC_PID_INIT_INO of the kernel's proc_ns.h.
const HOST_PID_NAMESPACE: &str = "pid:[4026531836]";

impl Host {
    /// This host.
    pub fn new(btf: Option<PathBuf>) -> Self {
        Host { proc_root: "/proc".into(), sys_root: "/sys".into(), btf }
    }

    #[cfg(test)]
    pub(super) fn empty_for_tests() -> Self {
        Host { proc_root: "/nonexistent/proc".into(), sys_root: "/nonexistent/sys".into(), btf: None }
    }

    /// Everything that can be told without loading a program.
    pub fn findings(&self) -> Vec<Finding> {
        let release = self.proc_text("sys/kernel/osrelease").unwrap_or_default();
        let version = version(&release);
        let privilege = Privilege::read(&self.proc_text("self/status").unwrap_or_default());
        vec![
            kernel(release.trim(), version),
            btf(self.btf.as_deref(), &self.sys_root),
            lockdown(self.sys_text("kernel/security/lockdown").as_deref()),
            privilege.programs(),
            privilege.other_processes(),
            privilege.niceties(),
            privilege.locked_memory(version, &self.proc_text("self/limits").unwrap_or_default()),
            privilege.unprivileged_bpf(self.proc_text("sys/kernel/unprivileged_bpf_disabled").as_deref()),
            pid_namespace(fs::read_link(self.proc_root.join("self/ns/pid")).ok().as_deref()),
            tracefs(self.proc_text("self/mounts").as_deref(), version),
            cgroup(&self.sys_root.join("fs/cgroup")),
            jit(self.proc_text("sys/net/core/bpf_jit_enable").as_deref()),
        ]
    }

    fn proc_text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.proc_root.join(name)).ok()
    }

    fn sys_text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.sys_root.join(name)).ok()
    }
}

/// Major and minor number of a release such as `6.1.0-18-cloud-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn kernel(release: &str, version: Option<(u32, u32)>) -> Finding {
    let finding = match version {
        Some(version) if version >= (5, 10) => Finding::ok("kernel", release),
        Some(version) if version >= (5, 8) => {
            Finding::degraded("kernel", format!("{release}: may work; tested from 5.10"))
                .next("5.10 or newer is better")
        }
        Some(_) => Finding::missing("kernel", format!("{release} is too old: the BPF ring buffer came with 5.8"))
            .next("boot a kernel from 5.10 on"),
        None => Finding::missing("kernel", format!("cannot tell its version from \"{release}\""))
            .next("this tool needs Linux with /proc mounted"),
    };
    finding.required()
}

fn btf(given: Option<&Path>, sys_root: &Path) -> Finding {
    let own = sys_root.join("kernel/btf/vmlinux");
    let path = given.unwrap_or(&own);
    let finding = match fs::File::open(path) {
        Ok(_) => Finding::ok("btf", path.display().to_string()),
        Err(error) => Finding::missing("btf", format!("{}: {error}", path.display()))
            .next("boot a kernel built with CONFIG_DEBUG_INFO_BTF, or pass --btf FILE with this kernel's BTF"),
    };
    finding.required()
}

/// The chosen mode stands in brackets: `none [integrity] confidentiality`.
fn lockdown(text: Option<&str>) -> Finding {
    let mode = text.and_then(|text| text.split_once('[')?.1.split_once(']')).map(|(mode, _)| mode);
    match mode {
        Some("confidentiality") => {
            Finding::missing("lockdown", "confidentiality: BPF programs may not read kernel memory")
                .next("boot with lockdown=integrity or without lockdown")
        }
        Some(mode) => Finding::ok("lockdown", mode),
        None => Finding::ok("lockdown", "not in this kernel, or securityfs is not mounted"),
    }
    .required()
}

fn pid_namespace(link: Option<&Path>) -> Finding {
    let name = "pid namespace";
    match link.and_then(Path::to_str) {
        Some(HOST_PID_NAMESPACE) => Finding::ok(name, "the host's"),
        Some(_) => Finding::missing(name, "not the host's: kernel events name processes that /proc here does not show")
            .next("start the container with --pid=host (docker) or hostPID: true (Kubernetes)"),
        None => Finding::missing(name, "/proc/self/ns/pid cannot be read").next("mount /proc"),
    }
    .required()
}

/// The raw and typed tracepoints need no tracefs, the classic ones that are better from 7.0 on do.
fn tracefs(mounts: Option<&str>, version: Option<(u32, u32)>) -> Finding {
    let mounted = mounts.and_then(|mounts| {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            (kind == "tracefs").then(|| path.to_owned())
        })
    });
    match mounted {
        Some(path) => Finding::ok("tracefs", path),
        None if version >= Some((7, 0)) => {
            Finding::degraded("tracefs", "not mounted: this kernel will leave out some events, which are counted")
                .next("mount -t tracefs none /sys/kernel/tracing")
        }
        None => Finding::ok("tracefs", "not mounted; none of the probes needs it"),
    }
}

fn cgroup(root: &Path) -> Finding {
    if root.join("cgroup.controllers").exists() {
        return Finding::ok("cgroup", "version 2");
    }
    if root.join("unified/cgroup.controllers").exists() {
        return Finding::ok("cgroup", "versions 1 and 2 (hybrid): container limits come from version 1");
    }
    if root.join("cpu").exists() || root.join("memory").exists() {
        return Finding::degraded("cgroup", "version 1: no pressure figures (PSI) per container")
            .next("systemd.unified_cgroup_hierarchy=1 on the kernel command line switches to version 2");
    }
    Finding::degraded("cgroup", "not mounted at /sys/fs/cgroup: no limits and pressure per container")
        .next("in a container, mount the host's /sys/fs/cgroup read-only")
}

fn jit(value: Option<&str>) -> Finding {
    match value.map(str::trim) {
        Some("0") => Finding::degraded("bpf jit", "off: each probe costs several times as much")
            .next("sysctl net.core.bpf_jit_enable=1"),
        Some(_) => Finding::ok("bpf jit", "on"),
        None => Finding::ok("bpf jit", "always on in this kernel, or not to be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Status::{self, Degraded, Missing, Ok as Fine};
    use super::*;

    #[test]
    fn kernels() {
        for (release, status) in [
            ("6.1.0-18-cloud-amd64", Fine),
            ("5.10.0", Fine),
            ("5.8.18-gentoo", Degraded),
            ("4.19.0-26", Missing),
            ("", Missing),
        ] {
            assert_eq!(kernel(release, version(release)).status, status, "{release}");
        }
    }

    #[test]
    fn lockdown_modes() {
        for (text, status) in [
            (Some("[none] integrity confidentiality\n"), Fine),
            (Some("none [integrity] confidentiality\n"), Fine),
            (Some("none integrity [confidentiality]\n"), Missing),
            (Some("garbage"), Fine),
            (None, Fine),
        ] {
            assert_eq!(lockdown(text).status, status, "{text:?}");
        }
    }

    #[test]
    fn namespaces_and_mounts() {
        assert_eq!(pid_namespace(Some(Path::new(HOST_PID_NAMESPACE))).status, Fine);
        assert_eq!(pid_namespace(Some(Path::new("pid:[4026532001]"))).status, Missing);
        let mounts = "proc /proc proc rw 0 0\ntracefs /sys/kernel/tracing tracefs rw 0 0\n";
        assert_eq!(tracefs(Some(mounts), Some((7, 3))).detail, "/sys/kernel/tracing");
        assert!(tracefs(None, Some((6, 18))).detail.contains("none of the probes needs it"));
        assert!(tracefs(None, Some((7, 0))).next_step.is_some_and(|next| next.contains("mount -t tracefs")));
        assert_eq!(jit(Some("0\n")).status, Degraded);
    }

    #[test]
    fn cgroup_versions() {
        let status = |files: &[&str]| -> Status {
            let root = tempfile::tempdir().unwrap();
            for file in files {
                let path = root.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            cgroup(root.path()).status
        };
        assert_eq!(status(&["cgroup.controllers"]), Fine);
        assert_eq!(status(&["unified/cgroup.controllers", "cpu/tasks"]), Fine);
        assert_eq!(status(&["cpu/tasks", "memory/tasks"]), Degraded);
        assert_eq!(status(&[]), Degraded);
    }

    #[test]
    fn a_host_that_shows_nothing_blocks_and_does_not_fail() {
        let findings = Host::empty_for_tests().findings();
        let blocking: Vec<&str> = findings.iter().filter(|f| f.blocks()).map(|f| f.name.as_str()).collect();
        assert_eq!(blocking, ["kernel", "btf", "privileges", "locked memory", "pid namespace"]);
        assert!(findings.iter().filter(|f| f.blocks()).all(|f| f.next_step.is_some()));
    }

    #[test]
    fn a_named_btf_file_wins() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(btf(Some(file.path()), Path::new("/nonexistent")).status, Fine);
        assert_eq!(btf(Some(Path::new("/nonexistent")), Path::new("/sys")).status, Missing);
    }
}
