//! Processes that could be inference servers: they listen on TCP and are not recognised. What they speak decides; until
//! then they are watched without being shown.

use rustc_hash::FxHashMap;

use super::process::{self, base_name_of};
use super::sockets::{Listener, Sockets};
use super::{Discovery, pattern};

/// The most scans from one look at a process to the next. A server opens its port when its model is loaded, which takes
/// anything from a second to an hour; a look costs some 50 us, so a scan of a host pays for a part of its processes.
const LONGEST_WAIT: u32 = 6;
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

/// What was looked at already, by pid, and how many scans there were.
#[derive(Debug, Default)]
pub(super) struct Looked {
    scans: u32,
    by_pid: FxHashMap<u32, Look>,
}

#[derive(Debug, Default)]
struct Look {
    start_ticks: u64,
    /// Looks by scans, up to [`LONGEST_WAIT`]: so many scans pass until the next.
    wait: u32,
    /// The scan that looks next.
    due: u32,
    /// It was reported: it is not looked at again.
    reported: bool,
}

impl Looked {
    /// A scan begins: only what it is due for is read.
    fn begin_scan(&mut self, pids: &[u32]) {
        self.scans = self.scans.wrapping_add(1);
        self.by_pid.retain(|pid, _| pids.binary_search(pid).is_ok());
    }

    /// Whether a scan looks at this process. What was reported is looked at for its start: the id may be another
    /// process' by now.
    fn is_due(&self, pid: u32) -> bool {
        self.by_pid.get(&pid).is_none_or(|look| look.reported || look.due <= self.scans)
    }

    /// It was looked at by a scan: one more than the last time passes until the next.
    fn put_off(&mut self, pid: u32) {
        let Some(look) = self.by_pid.get_mut(&pid).filter(|look| !look.reported) else { return };
        look.wait = (look.wait + 1).min(LONGEST_WAIT);
        look.due = self.scans + look.wait;
    }
}

impl Discovery {
    /// Processes that listen on TCP, are not recognised, and were not reported before. The longer a process listens on
    /// nothing, the fewer scans look at it, but none is given up.
    pub fn candidates(&mut self) -> Vec<u32> {
        self.with_sockets(true, |discovery, sockets| discovery.candidates_with(sockets))
    }

    pub(super) fn candidates_with(&mut self, sockets: &mut Sockets) -> Vec<u32> {
        let mut pids = process::pids(&self.proc_root);
        pids.sort_unstable();
        self.looked.begin_scan(&pids);
        let mut found = Vec::new();
        for pid in pids {
            if self.looked.is_due(pid) {
                found.extend(self.is_candidate(pid, sockets).then_some(pid));
                self.looked.put_off(pid);
            }
        }
        found
    }

    /// The same question of one process.
    pub fn candidate(&mut self, pid: u32) -> bool {
        self.with_sockets(false, |discovery, sockets| discovery.is_candidate(pid, sockets))
    }

    /// Something was missed: the next scan looks at every process.
    pub fn look_at_all(&mut self) {
        let due = self.looked.scans;
        self.looked.by_pid.values_mut().for_each(|look| look.due = due);
    }

    /// There was no room for a candidate: it is reported again later.
    pub fn report_again(&mut self, pid: u32) {
        if let Some(look) = self.looked.by_pid.get_mut(&pid) {
            look.reported = false;
            self.looked.put_off(pid);
        }
    }

    fn is_candidate(&mut self, pid: u32, sockets: &mut Sockets) -> bool {
        if pid == std::process::id() {
            return false;
        }
        let Some(stat) = process::stat(&self.proc_root, pid) else { return false };
        let look = self.looked.by_pid.entry(pid).or_default();
        if look.start_ticks != stat.start_ticks {
            *look = Look { start_ticks: stat.start_ticks, due: self.looked.scans, ..Look::default() };
        }
        if look.reported {
            return false;
        }
        let exe = process::exe(&self.proc_root, pid);
        let name = exe.as_ref().map_or(stat.comm.as_str(), |(path, _)| base_name_of(path));
        if exe.is_none() || pattern::any(NEVER, name) || self.is_excluded(pid) || self.judge(pid, sockets).is_some() {
            return false;
        }
        let listens = sockets.tcp_of(&self.proc_root, pid).iter().any(|l| matches!(l, Listener::Tcp(_)));
        if listens && let Some(look) = self.looked.by_pid.get_mut(&pid) {
            look.reported = true;
        }
        listens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rarer_and_never_end() {
        let mut looked = Looked::default();
        let mut at = Vec::new();
        for scan in 1..40 {
            looked.begin_scan(&[7]);
            if looked.is_due(7) {
                at.push(scan);
                looked.by_pid.entry(7).or_default();
                looked.put_off(7);
            }
        }
        assert_eq!(at, [1, 2, 4, 7, 11, 16, 22, 28, 34]);
        looked.begin_scan(&[]);
        assert!(looked.by_pid.is_empty());
    }
}
