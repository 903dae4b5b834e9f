//! One network namespace's listening sockets, and when they are to be read again. Where the kernel tells of each that
//! begins to listen, a table that was read since lacks none: it is read again only in case, a long time later. Elsewhere
//! reading all of them takes at most a thousandth of a core: each rests for so long, and longer while the number of its
//! sockets is the same. One that was closed does no harm, for no process has its inode open; one that only ceased to
//! listen stays until the next reading.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use super::process;
use super::sockets::Listener;
use crate::clock::thread_cpu_time;

/// Tables rest so many times as long as reading all of them takes.
const SHARE: u32 = 1000;
/// So much longer where the kernel told of none that began to listen since, or the number of sockets is the same: one may
/// have closed while another began to listen.
const UNCHANGED: u32 = 16;
/// Sockets that the kernel told of beside those that were read; with more the table is read again.
const TOLD: usize = 256;
/// What was told of less than so long ago may not be in the table yet that is read now.
const SETTLING: Duration = Duration::from_secs(10);
/// SO_ACCEPTCON in the flags column of /proc/net/unix.
const UNIX_LISTENING: u32 = 0x10000;

/// TCP sockets of a namespace that listen or are connected: over IPv4, over IPv6.
type Counts = (u64, u64);

/// How a look at the host takes tables that were read before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The number of the look.
    pub look: u64,
    /// Tables of earlier looks may do.
    pub patient: bool,
    /// What reading all tables takes.
    pub all: Duration,
    /// Since when the kernel has told of every socket that began to listen, if it does.
    pub told_since: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Namespace {
    /// Last asked for.
    pub asked: Instant,
    /// CPU time that its TCP tables took.
    pub took: Duration,
    /// Listening sockets by inode.
    tcp: HashMap<u64, Listener>,
    /// Those that the kernel told of, and when.
    told: HashMap<u64, (Listener, Instant)>,
    /// It told of one that cannot be kept.
    stale: bool,
    /// As they were when the tables were read; none if the kernel does not tell.
    counts: Option<Counts>,
    read: Option<Instant>,
    /// The look at which they were read, and that at which it was last decided whether to.
    read_at: u64,
    decided_at: u64,
    unix: HashMap<u64, Listener>,
    unix_read_at: u64,
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            asked: Instant::now(),
            took: Duration::ZERO,
            tcp: HashMap::new(),
            told: HashMap::new(),
            stale: false,
            counts: None,
            read: None,
            read_at: 0,
            decided_at: 0,
            unix: HashMap::new(),
            unix_read_at: 0,
        }
    }
}

impl Namespace {
    pub(super) fn get(&self, inode: u64, unix: bool) -> Option<&Listener> {
        let told = self.told.get(&inode).map(|(listener, _)| listener);
        told.or_else(|| self.tcp.get(&inode)).or_else(|| self.unix.get(&inode).filter(|_| unix))
    }

    /// The kernel told of a socket that began to listen; PORT is 0 if it was bound to none yet.
    pub(super) fn begins(&mut self, inode: u64, port: u16) {
        if inode == 0 || port == 0 || (self.told.len() >= TOLD && !self.told.contains_key(&inode)) {
            self.stale = true;
        } else {
            self.told.insert(inode, (Listener::Tcp(port), Instant::now()));
        }
    }

    /// Reads the TCP tables unless those that are there will do.
    pub(super) fn see_to_tcp(&mut self, proc_root: &Path, pid: u32, terms: &Terms) {
        let Terms { look, patient, .. } = *terms;
        if self.read.is_some() && (self.read_at == look || (patient && self.decided_at == look)) {
            return;
        }
        self.decided_at = look;
        if self.is_complete(terms) {
            return;
        }
        let counts = counts(proc_root, pid);
        if self.read.is_some() && patient && !self.is_due(counts, terms) {
            return;
        }
        let before = thread_cpu_time();
        self.tcp.clear();
        self.told.retain(|_, (_, at)| at.elapsed() < SETTLING);
        self.stale = false;
        if counts != Some((0, 0)) {
            for name in ["net/tcp", "net/tcp6"] {
                self.tcp.extend(read_listening(&process::file(proc_root, pid, name)));
            }
        }
        self.took = thread_cpu_time().saturating_sub(before);
        (self.counts, self.read, self.read_at) = (counts, Some(Instant::now()), look);
    }

    /// Whether it lacks no socket, by the kernel's word.
    fn is_complete(&self, terms: &Terms) -> bool {
        let Some((read, since)) = self.read.zip(terms.told_since) else { return false };
        !self.stale && read >= since && read.elapsed() < terms.all.saturating_mul(SHARE * UNCHANGED)
    }

    fn is_due(&self, counts: Option<Counts>, terms: &Terms) -> bool {
        let same = counts.is_some() && counts == self.counts;
        // Once, after the kernel began to tell or something was missed.
        if self.stale || (terms.told_since.is_some() && !same) {
            return true;
        }
        let rest = terms.all.saturating_mul(if same { SHARE * UNCHANGED } else { SHARE });
        self.read.is_none_or(|read| read.elapsed() >= rest)
    }

    /// Reads the unix sockets, which are cheap, once a look.
    pub(super) fn see_to_unix(&mut self, proc_root: &Path, pid: u32, look: u64) {
        if self.unix_read_at == look && look != 0 {
            return;
        }
        self.unix_read_at = look;
        let text = process::read_text(&process::file(proc_root, pid, "net/unix")).unwrap_or_default();
        self.unix = text.lines().filter_map(unix_line).collect();
    }
}

/// From net/sockstat and net/sockstat6, which are the namespace's own and cost microseconds.
fn counts(proc_root: &Path, pid: u32) -> Option<Counts> {
    let text = |name| process::read_text(&process::file(proc_root, pid, name));
    let v4 = in_use(&text("net/sockstat")?, "TCP:")?;
    // Without IPv6 there is no such file.
    let v6 = text("net/sockstat6").and_then(|text| in_use(&text, "TCP6:"));
    Some((v4, v6.unwrap_or_default()))
}

/// `TCP: inuse 5 orphan 0 tw 0 alloc 9 mem 3`
fn in_use(text: &str, name: &str) -> Option<u64> {
    let mut words = text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace();
    (words.next()? == "inuse").then(|| words.next()?.parse().ok())?
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
    fn counts_of_sockets() {
        let text = "sockets: used 290\nTCP: inuse 5 orphan 0 tw 0 alloc 9 mem 3\nUDP: inuse 1 mem 0\n";
        assert_eq!((in_use(text, "TCP:"), in_use(text, "UDP:"), in_use(text, "TCP6:")), (Some(5), Some(1), None));
        assert_eq!(
            (in_use("TCP: used 5", "TCP:"), in_use("TCP: inuse", "TCP:"), in_use("", "TCP:")),
            (None, None, None)
        );
        assert!(counts(Path::new("/proc"), std::process::id()).is_some());
        assert_eq!(counts(Path::new("/nonexistent"), 1), None);
    }

    #[test]
    fn what_did_not_change_rests_longer() {
        let read = Instant::now().checked_sub(Duration::from_secs(60));
        let namespace = Namespace { read, counts: Some((1, 0)), ..Namespace::default() };
        for (counts, all_ms, due) in [
            (Some((2, 0)), 50, true),
            (Some((2, 0)), 70, false),
            (Some((1, 0)), 50, false),
            (Some((1, 0)), 3, true),
            (None, 50, true),
        ] {
            assert_eq!(namespace.is_due(counts, &terms(all_ms, None)), due, "{counts:?} {all_ms}");
        }
    }

    fn terms(all_ms: u64, told_since: Option<Instant>) -> Terms {
        Terms { look: 2, patient: true, all: Duration::from_millis(all_ms), told_since }
    }

    #[test]
    fn a_table_that_the_kernel_keeps_up_is_read_again_only_in_case() {
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        let mut namespace = Namespace { read: ago(60), counts: Some((1, 0)), ..Namespace::default() };
        for (all_ms, since, complete) in
            [(50, ago(61), true), (50, ago(59), false), (50, None, false), (3, ago(61), false)]
        {
            assert_eq!(namespace.is_complete(&terms(all_ms, since)), complete, "{all_ms} {since:?}");
        }
        // Read before the kernel told: again if there are other sockets now.
        assert!(namespace.is_due(Some((2, 0)), &terms(50, ago(59))));
        assert!(!namespace.is_due(Some((1, 0)), &terms(50, ago(59))));
        namespace.begins(7, 0);
        assert!(!namespace.is_complete(&terms(50, ago(61))) && namespace.is_due(Some((1, 0)), &terms(50, ago(61))));
    }

    #[test]
    fn what_was_told_is_bounded_and_outlives_a_reading_for_a_while() {
        let mut namespace = Namespace::default();
        for inode in 1..=2 * TOLD as u64 {
            namespace.begins(inode, 8000);
        }
        assert_eq!((namespace.told.len(), namespace.stale), (TOLD, true));
        assert_eq!(namespace.get(1, false), Some(&Listener::Tcp(8000)));
        let long_ago = Instant::now().checked_sub(2 * SETTLING).unwrap();
        namespace.told.get_mut(&1).unwrap().1 = long_ago;
        namespace.see_to_tcp(Path::new("/nonexistent"), 9, &terms(0, None));
        assert_eq!((namespace.get(1, false), namespace.stale), (None, false));
        assert_eq!(namespace.get(2, false), Some(&Listener::Tcp(8000)));
    }

    #[test]
    fn a_namespace_without_sockets_is_not_walked() {
        let root = tempfile::tempdir().unwrap();
        let net = root.path().join("9/net");
        fs::create_dir_all(&net).unwrap();
        let line = "  0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 77 1\n";
        fs::write(net.join("tcp"), format!("  sl\n{line}")).unwrap();
        let listeners = |sockstat: &str| {
            fs::write(net.join("sockstat"), sockstat).unwrap();
            let mut namespace = Namespace::default();
            namespace.see_to_tcp(root.path(), 9, &terms(0, None));
            namespace.tcp.len()
        };
        assert_eq!((listeners("TCP: inuse 0 orphan 0\n"), listeners("TCP: inuse 1 orphan 0\n")), (0, 1));
    }
}
