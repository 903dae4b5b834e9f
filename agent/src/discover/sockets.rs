//! What a process listens on: TCP ports and unix sockets, from its own network namespace's tables and its descriptors.
//! Connects to nothing. To end a namespace's table of TCP sockets the kernel walks the connections of the whole host:
//! milliseconds for each, with hundreds of containers a third of a core. So tables are kept from look to look, and kept up
//! by what the kernel tells of sockets that begin to listen; `namespace.rs` says when one is read again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::namespace::{Namespace, Terms};
use super::process;

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener {
    Tcp(u16),
    /// Path, or `@name` for an abstract socket.
    Unix(String),
}

/// Reads listeners; keeps each network namespace's tables. [`Sockets::begin`] a look at the host or at a process.
#[derive(Debug, Default)]
pub struct Sockets {
    namespaces: HashMap<PathBuf, Namespace>,
    /// The number of looks.
    look: u64,
    /// A table of an earlier look may do.
    patient: bool,
    /// Since when the kernel has told of every socket that began to listen.
    told_since: Option<Instant>,
}

/// Descriptors looked at per process; a server with more has its listeners among the first.
const MAX_DESCRIPTORS: usize = 65_536;
/// Namespaces whose tables are kept; on a host with more, of those that were asked for last.
const NAMESPACES: usize = 4096;
/// A namespace that nobody asked for in so long has ended, as far as can be told: looks at a process that listens on
/// nothing may be half an hour apart.
const FORGET: Duration = Duration::from_secs(2 * 3600);

impl Sockets {
    /// A look begins. If it is PATIENT, a table may be some minutes old where reading all of them is dear; else it is of
    /// now.
    pub fn begin(&mut self, patient: bool) {
        self.look += 1;
        self.patient = patient;
        self.namespaces.retain(|_, namespace| namespace.asked.elapsed() < FORGET);
        if self.namespaces.len() > NAMESPACES {
            self.forget_half();
        }
    }

    fn forget_half(&mut self) {
        let mut asked: Vec<Instant> = self.namespaces.values().map(|namespace| namespace.asked).collect();
        asked.sort_unstable();
        let median = asked[asked.len() / 2];
        self.namespaces.retain(|_, namespace| namespace.asked > median);
    }

    /// From this instant on the kernel tells of every socket that begins to listen; not of each one before it.
    pub fn told_from(&mut self, since: Instant) {
        self.told_since = Some(since);
    }

    /// The kernel told of a socket that began to listen. NETWORK: inode of its network namespace. Whether the table can
    /// be kept up with it.
    pub fn begins(&mut self, network: u32, inode: u64, port: u16) -> bool {
        // A namespace that is not known yet is read when it is asked for.
        if let Some(namespace) = self.namespaces.get_mut(Path::new(&format!("net:[{network}]"))) {
            namespace.begins(inode, port);
        }
        network != 0
    }

    /// Whether tables of earlier looks may do from here on, within the look.
    pub fn be_patient(&mut self, patient: bool) {
        self.patient = patient;
    }

    /// What `pid` listens on, in order of descriptor. Empty without the privilege to read its descriptors.
    pub fn of(&mut self, proc_root: &Path, pid: u32) -> Vec<Listener> {
        self.find(proc_root, pid, true)
    }

    /// Its TCP ports alone.
    pub fn tcp_of(&mut self, proc_root: &Path, pid: u32) -> Vec<Listener> {
        self.find(proc_root, pid, false)
    }

    fn find(&mut self, proc_root: &Path, pid: u32, unix: bool) -> Vec<Listener> {
        // Most processes have none.
        let open: Vec<(u64, u64)> = descriptors(proc_root, pid).collect();
        if open.is_empty() {
            return Vec::new();
        }
        let namespace = self.namespace(proc_root, pid, unix);
        let mut found: Vec<(u64, &Listener)> = open
            .into_iter()
            .filter_map(|(descriptor, inode)| Some((descriptor, namespace.get(inode, unix)?)))
            .collect();
        found.sort_by_key(|(descriptor, _)| *descriptor);
        let mut listeners: Vec<Listener> = Vec::new();
        for (_, listener) in found {
            if !listeners.contains(listener) {
                listeners.push(listener.clone());
            }
        }
        listeners
    }

    fn namespace(&mut self, proc_root: &Path, pid: u32, unix: bool) -> &Namespace {
        let name = fs::read_link(process::file(proc_root, pid, "ns/net")).unwrap_or_else(|_| pid.to_string().into());
        let all: Duration = self.namespaces.values().map(|namespace| namespace.took).sum();
        let look = self.look;
        let terms = Terms { look, patient: self.patient, all, told_since: self.told_since };
        let namespace = self.namespaces.entry(name).or_default();
        namespace.asked = Instant::now();
        namespace.see_to_tcp(proc_root, pid, &terms);
        if unix {
            namespace.see_to_unix(proc_root, pid, look);
        }
        namespace
    }
}

/// Descriptor and socket inode of each socket that a process has open.
fn descriptors(proc_root: &Path, pid: u32) -> impl Iterator<Item = (u64, u64)> {
    fs::read_dir(process::file(proc_root, pid, "fd")).into_iter().flatten().take(MAX_DESCRIPTORS).filter_map(|entry| {
        let entry = entry.ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, inode))
    })
}

/// Inodes of the sockets that a process has open; None if they cannot be told, or not all of them.
pub fn open_sockets(proc_root: &Path, pid: u32) -> Option<HashSet<u64>> {
    let entries = fs::read_dir(process::file(proc_root, pid, "fd")).ok()?.collect::<Result<Vec<_>, _>>().ok()?;
    let open = (entries.len() < MAX_DESCRIPTORS).then(|| descriptors(proc_root, pid))?;
    Some(open.map(|(_, inode)| inode).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, TcpListener};
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn this_process_listens() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("llm.sock");
        let _unix = UnixListener::bind(&path).unwrap();
        let found = Sockets::default().of(Path::new("/proc"), std::process::id());
        for port in [v4.local_addr().unwrap().port(), v6.local_addr().unwrap().port()] {
            assert!(found.contains(&Listener::Tcp(port)), "{found:?}");
        }
        assert!(found.contains(&Listener::Unix(path.to_str().unwrap().into())), "{found:?}");
    }

    #[test]
    fn tables_of_an_earlier_look_do_for_the_patient_only() {
        let me = std::process::id();
        let mut sockets = Sockets::default();
        sockets.begin(true);
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = |listener: &TcpListener| Listener::Tcp(listener.local_addr().unwrap().port());
        assert!(sockets.tcp_of(Path::new("/proc"), me).contains(&port(&first)));
        // As if reading it had taken an hour.
        sockets.namespaces.values_mut().for_each(|namespace| namespace.took = Duration::from_secs(3600));
        let second = TcpListener::bind("127.0.0.1:0").unwrap();
        sockets.begin(true);
        assert!(!sockets.tcp_of(Path::new("/proc"), me).contains(&port(&second)));
        sockets.be_patient(false);
        assert!(sockets.tcp_of(Path::new("/proc"), me).contains(&port(&second)));
    }

    #[test]
    fn a_table_is_kept_up_by_what_the_kernel_tells() {
        let me = std::process::id();
        let network = rustix::fs::stat("/proc/self/ns/net").unwrap().st_ino as u32;
        // What has no socket open is not asked about.
        let _first = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sockets = Sockets::default();
        sockets.told_from(Instant::now());
        let mut ports = |told: Option<(u32, u64, u16)>| {
            if let Some((network, inode, port)) = told {
                assert!(sockets.begins(network, inode, port));
            }
            // As if reading it had taken an hour.
            sockets.namespaces.values_mut().for_each(|namespace| namespace.took = Duration::from_secs(3600));
            sockets.begin(false);
            sockets.tcp_of(Path::new("/proc"), me)
        };
        ports(None);
        let late = TcpListener::bind("127.0.0.1:0").unwrap();
        let (inode, port) = (rustix::fs::fstat(&late).unwrap().st_ino, late.local_addr().unwrap().port());
        assert!(!ports(None).contains(&Listener::Tcp(port)), "the table is not read again");
        assert!(!ports(Some((network ^ 1, inode, port))).contains(&Listener::Tcp(port)), "of another namespace");
        assert!(ports(Some((network, inode, port))).contains(&Listener::Tcp(port)));
        // One that is closed is open nowhere.
        drop(late);
        assert!(!ports(None).contains(&Listener::Tcp(port)));
        let late = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = late.local_addr().unwrap().port();
        assert!(ports(Some((network, 0, 0))).contains(&Listener::Tcp(port)), "what is not known is read");
        assert!(!Sockets::default().begins(0, 7, 8000));
    }

    #[test]
    fn of_too_many_namespaces_the_latest_are_kept() {
        let now = Instant::now();
        let mut sockets = Sockets::default();
        for n in 0..=NAMESPACES {
            let namespace = sockets.namespaces.entry(n.to_string().into()).or_default();
            namespace.asked = now + Duration::from_nanos(n as u64);
        }
        sockets.begin(true);
        let kept = |n: usize| sockets.namespaces.contains_key(Path::new(&n.to_string()));
        assert_eq!((kept(0), kept(NAMESPACES), sockets.namespaces.len()), (false, true, NAMESPACES / 2));
    }

    #[test]
    fn what_is_open_is_told_and_what_is_not_known_is_not() {
        let (one, other) = UnixStream::pair().unwrap();
        let inode = |stream: &UnixStream| rustix::fs::fstat(stream).unwrap().st_ino;
        let (kept, gone) = (inode(&one), inode(&other));
        drop(other);
        let open = open_sockets(Path::new("/proc"), std::process::id()).unwrap();
        assert!(open.contains(&kept) && !open.contains(&gone));
        assert_eq!(open_sockets(Path::new("/nonexistent"), 1), None);
    }

    #[test]
    fn a_process_that_is_not_there_listens_on_nothing() {
        assert_eq!(Sockets::default().of(Path::new("/nonexistent"), 1), []);
    }
}
