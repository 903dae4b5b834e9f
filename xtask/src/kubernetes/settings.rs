//! A container's settings as the OCI runtime specification has them (config.json), from what a kubelet and containerd ask
//! for: the mounts, masked and read-only paths that every container of Kubernetes gets are said here.

use std::path::PathBuf;

use serde_json::{Value, json};

/// `procMount: Default` of Kubernetes.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// One container.
#[derive(Clone)]
pub struct Settings {
    /// 64 hexadecimal digits, as containerd's are.
    pub id: String,
    pub hostname: String,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub root: PathBuf,
    pub read_only_root: bool,
    /// User and group.
    pub user: (u32, u32),
    /// With the prefix CAP_; these and no others.
    pub capabilities: Vec<String>,
    pub no_new_privileges: bool,
    /// `linux.seccomp`; none: unconfined.
    pub seccomp: Option<Value>,
    pub mounts: Vec<Mount>,
    /// The host's PID namespace instead of one of its own.
    pub host_pid: bool,
    /// The pod's network namespace.
    pub netns: PathBuf,
    /// Control group, as the kubelet's cgroupfs driver names it.
    pub cgroup: String,
    /// Bytes.
    pub memory: Option<i64>,
    pub cpu_shares: Option<u64>,
}

#[derive(Clone)]
pub struct Mount {
    pub source: PathBuf,
    pub target: String,
    pub read_only: bool,
}

impl Settings {
    /// config.json.
    pub fn json(&self) -> Value {
        let env: Vec<String> = self.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let capabilities = &self.capabilities;
        json!({
            "ociVersion": "1.0.2",
            "hostname": self.hostname,
            "process": {
                "terminal": false, "args": self.args, "env": env, "cwd": "/",
                "user": {"uid": self.user.0, "gid": self.user.1},
                "noNewPrivileges": self.no_new_privileges,
                "capabilities": {
                    "bounding": capabilities, "effective": self.held(), "permitted": self.held(),
                    "inheritable": [], "ambient": [],
                },
            },
            "root": {"path": self.root, "readonly": self.read_only_root},
            "mounts": self.all_mounts(),
            "linux": self.linux(),
        })
    }

    /// Who is not root has what its program's file gives it, which is nothing.
    fn held(&self) -> &[String] {
        if self.user.0 == 0 { &self.capabilities } else { &[] }
    }

    fn linux(&self) -> Value {
        let mut namespaces = vec![
            json!({"type": "mount"}),
            json!({"type": "ipc"}),
            json!({"type": "uts"}),
            json!({"type": "network", "path": self.netns}),
        ];
        if !self.host_pid {
            namespaces.push(json!({"type": "pid"}));
        }
        let mut linux = json!({
            "cgroupsPath": self.cgroup, "namespaces": namespaces,
            "maskedPaths": MASKED, "readonlyPaths": READ_ONLY,
            "resources": {"devices": devices()},
        });
        if let Some(bytes) = self.memory {
            linux["resources"]["memory"] = json!({"limit": bytes});
        }
        if let Some(shares) = self.cpu_shares {
            linux["resources"]["cpu"] = json!({"shares": shares});
        }
        if let Some(filter) = &self.seccomp {
            linux["seccomp"] = filter.clone();
        }
        linux
    }

    fn all_mounts(&self) -> Vec<Value> {
        let special = |kind: &str, target: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
        let mut mounts = vec![
            special("proc", "/proc", &["nosuid", "noexec", "nodev"]),
            special("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            special("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            special("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
            special("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            special("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
            special("cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ];
        mounts.extend(self.mounts.iter().map(|mount| {
            let access = if mount.read_only { "ro" } else { "rw" };
            json!({"destination": mount.target, "type": "bind", "source": mount.source,
                   "options": ["rbind", "rprivate", access]})
        }));
        mounts
    }
}

/// None but those that every container has: runc adds them.
fn devices() -> Value {
    json!([{"allow": false, "access": "rwm"}])
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn plain() -> Settings {
        Settings {
            id: "a".repeat(64),
            hostname: "pod".to_owned(),
            args: vec!["/program".to_owned()],
            env: vec![("NODE_NAME".to_owned(), "node-1".to_owned())],
            root: "/image".into(),
            read_only_root: true,
            user: (0, 0),
            capabilities: vec!["CAP_BPF".to_owned()],
            no_new_privileges: true,
            seccomp: None,
            mounts: vec![Mount { source: "/sys/fs/cgroup".into(), target: "/host".to_owned(), read_only: true }],
            host_pid: true,
            netns: "/run/netns/x".into(),
            cgroup: "/kubepods/podx/c".to_owned(),
            memory: Some(256 << 20),
            cpu_shares: None,
        }
    }

    #[test]
    fn what_is_asked_for_is_in_the_configuration() {
        let spec = plain().json();
        assert_eq!(spec["process"]["env"][0], "NODE_NAME=node-1");
        assert_eq!(spec["process"]["capabilities"]["effective"], json!(["CAP_BPF"]));
        assert_eq!((&spec["process"]["noNewPrivileges"], &spec["root"]["readonly"]), (&json!(true), &json!(true)));
        let mount = spec["mounts"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&mount["destination"], &mount["options"][2]), (&json!("/host"), &json!("ro")));
        assert_eq!(spec["linux"]["resources"]["memory"]["limit"], 256 << 20);
        assert!(spec["linux"].get("seccomp").is_none());
    }

    #[test]
    fn namespaces_are_the_pods() {
        let kinds = |settings: &Settings| {
            let spec = settings.json();
            let all = spec["linux"]["namespaces"].as_array().unwrap().clone();
            all.iter().map(|one| one["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&plain()), ["mount", "ipc", "uts", "network"]);
        assert!(kinds(&Settings { host_pid: false, ..plain() }).contains(&"pid".to_owned()));
    }

    #[test]
    fn only_root_holds_capabilities() {
        let spec = Settings { user: (1000, 1000), ..plain() }.json();
        assert_eq!(spec["process"]["capabilities"]["effective"], json!([]));
        assert_eq!(spec["process"]["capabilities"]["bounding"], json!(["CAP_BPF"]));
    }
}
