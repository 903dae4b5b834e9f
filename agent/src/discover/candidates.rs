//! Processes that could be inference servers: they listen on TCP and are not recognised. What they speak decides; until
//! then they are watched without being shown.

use rustc_hash::FxHashMap;

use super::process::{self, base_name_of};
use super::sockets::{Listener, Sockets};
use super::{Discovery, pattern};

/// Looks at a process before it is taken for one that listens on nothing.
const LOOKS: u8 = 3;
/// Programs that listen on every host and speak something else.
const NEVER: &[&str] = &[
    "sshd*",
    "systemd*",
    "dbus*",
    "dockerd",
    "containerd*",
    "kubelet",
    "kube-proxy",
    "crio",
    "postgres*",
    "mysqld*",
    "mariadbd",
    "redis-server",
    "valkey-server",
    "memcached",
    "etcd",
    "prometheus",
    "grafana*",
    "node_exporter",
    "inferscope*",
    "rpcbind",
    "chronyd",
    "named",
    "dnsmasq",
    "cupsd",
    "master",
    "exim*",
];

/// What was looked at already: start time and number of looks, by pid.
#[derive(Debug, Default)]
pub(super) struct Looked(FxHashMap<u32, (u64, u8)>);

impl Discovery {
    /// Processes that listen on TCP, are not recognised, and were not reported before. Each process is looked at a few
    /// times, so that a scan costs only what is new.
    pub fn candidates(&mut self) -> Vec<u32> {
        let mut pids = process::pids(&self.proc_root);
        pids.sort_unstable();
        self.looked.0.retain(|pid, _| pids.binary_search(pid).is_ok());
        let mut sockets = Sockets::default();
        pids.into_iter().filter(|pid| self.is_candidate(*pid, &mut sockets)).collect()
    }

    /// The same question of one process.
    pub fn candidate(&mut self, pid: u32) -> bool {
        self.is_candidate(pid, &mut Sockets::default())
    }

    fn is_candidate(&mut self, pid: u32, sockets: &mut Sockets) -> bool {
        if pid == std::process::id() {
            return false;
        }
        let Some(stat) = process::stat(&self.proc_root, pid) else { return false };
        let looked = self.looked.0.entry(pid).or_default();
        if looked.0 != stat.start_ticks {
            *looked = (stat.start_ticks, 0);
        }
        if looked.1 >= LOOKS {
            return false;
        }
        looked.1 += 1;
        let exe = process::exe(&self.proc_root, pid);
        let name = exe.as_ref().map_or(stat.comm.as_str(), |(path, _)| base_name_of(path));
        if exe.is_none() || pattern::any(NEVER, name) || self.is_excluded(pid) || self.judge(pid, sockets).is_some() {
            return false;
        }
        let listens = sockets.of(&self.proc_root, pid).iter().any(|l| matches!(l, Listener::Tcp(_)));
        if listens && let Some(looked) = self.looked.0.get_mut(&pid) {
            looked.1 = LOOKS;
        }
        listens
    }
}
