//! What a process listens on: TCP ports and unix sockets, from its own network namespace's tables and its descriptors.
//! Connects to nothing.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::process;

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener {
    Tcp(u16),
    /// Path, or `@name` for an abstract socket.
    Unix(String),
}

/// Reads listeners; keeps each network namespace's table, so that a scan of many processes reads it once. One value
/// serves one scan: the tables age.
#[derive(Default)]
pub struct Sockets {
    /// Listening sockets by inode, by network namespace.
    tables: HashMap<PathBuf, HashMap<u64, Listener>>,
}

/// Descriptors looked at per process; a server with more has its listeners among the first.
const MAX_DESCRIPTORS: usize = 65_536;
/// SO_ACCEPTCON in the flags column of /proc/net/unix.
const UNIX_LISTENING: u32 = 0x10000;

impl Sockets {
    /// What `pid` listens on, in order of descriptor. Empty without the privilege to read its descriptors.
    pub fn of(&mut self, proc_root: &Path, pid: u32) -> Vec<Listener> {
        // Most processes have none, and the tables are dear: the kernel walks every bucket of its connections.
        let open: Vec<(u64, u64)> = descriptors(proc_root, pid).collect();
        if open.is_empty() {
            return Vec::new();
        }
        let namespace =
            fs::read_link(process::file(proc_root, pid, "ns/net")).unwrap_or_else(|_| pid.to_string().into());
        let table = self.tables.entry(namespace).or_insert_with(|| read_table(proc_root, pid));
        let mut found: Vec<(u64, &Listener)> =
            open.into_iter().filter_map(|(descriptor, inode)| Some((descriptor, table.get(&inode)?))).collect();
        found.sort_by_key(|(descriptor, _)| *descriptor);
        let mut listeners: Vec<Listener> = Vec::new();
        for (_, listener) in found {
            if !listeners.contains(listener) {
                listeners.push(listener.clone());
            }
        }
        listeners
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

fn read_table(proc_root: &Path, pid: u32) -> HashMap<u64, Listener> {
    let mut table = HashMap::new();
    for name in ["net/tcp", "net/tcp6"] {
        table.extend(read_listening(&process::file(proc_root, pid, name)));
    }
    if let Some(text) = process::read_text(&process::file(proc_root, pid, "net/unix")) {
        table.extend(text.lines().filter_map(unix_line));
    }
    table
}

/// The kernel lists listening sockets before all others, so the first other line ends the reading: a busy host's table
/// of connections is never walked.
fn read_listening(path: &Path) -> Vec<(u64, Listener)> {
    let Ok(file) = fs::File::open(path) else { return Vec::new() };
    let lines = BufReader::with_capacity(16 * 1024, file).lines().skip(1);
    lines.map_while(|line| tcp_line(&line.ok()?)).collect()
}

/// proc_pid_net(5): `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode ...`; state 0A listens.
fn tcp_line(line: &str) -> Option<(u64, Listener)> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    Some((fields.nth(5)?.parse().ok()?, Listener::Tcp(port)))
}

/// proc_pid_net(5): `Num RefCount Protocol Flags Type St Inode Path`.
fn unix_line(line: &str) -> Option<(u64, Listener)> {
    let mut fields = line.split_ascii_whitespace();
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let inode = fields.nth(2)?.parse().ok()?;
    let path = fields.next()?.to_owned();
    (flags & UNIX_LISTENING != 0).then_some((inode, Listener::Unix(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, TcpListener};
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn lines_of_the_kernel() {
        let listen =
            "   0: 0100007F:46A0 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 31337 1 0 100 0";
        assert_eq!(tcp_line(listen), Some((31337, Listener::Tcp(18080))));
        assert_eq!(tcp_line(&listen.replace(" 0A ", " 01 ")), None);
        let v6 =
            "  0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 77 1";
        assert_eq!(tcp_line(v6), Some((77, Listener::Tcp(8080))));
        let unix = "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/tgi-0.sock";
        assert_eq!(unix_line(unix), Some((12345, Listener::Unix("/run/tgi-0.sock".into()))));
        assert_eq!(unix_line(&unix.replace("00010000", "00000000")), None);
        for line in ["", "sl local_address", "a b c d e f g h i", "   0: :: x 0A"] {
            assert_eq!(tcp_line(line), None);
            assert_eq!(unix_line(line), None);
        }
    }

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
