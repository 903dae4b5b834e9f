//! One network namespace's listening sockets, and when they are to be read again.
//!
//! Reading all tables together takes at most a thousandth of a core: each rests for so long. A table whose namespace has
//! as many TCP sockets as when it was read rests longer still, for a socket that begins to listen is one more.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::process;
use super::sockets::Listener;

/// Tables rest so many times as long as reading all of them takes.
pub(super) const SHARE: u32 = 1000;
/// So much longer where the number of sockets is the same: one may have closed while another began to listen.
const UNCHANGED: u32 = 16;
/// SO_ACCEPTCON in the flags column of /proc/net/unix.
const UNIX_LISTENING: u32 = 0x10000;

/// TCP sockets of a namespace that listen or are connected: over IPv4, over IPv6.
type Counts = (u64, u64);

#[derive(Debug)]
pub(super) struct Namespace {
    /// Last asked for.
    pub asked: Instant,
    /// CPU time that its TCP tables took.
    pub took: Duration,
    /// Listening sockets by inode.
    tcp: HashMap<u64, Listener>,
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
        self.tcp.get(&inode).or_else(|| self.unix.get(&inode).filter(|_| unix))
    }

    /// Reads the TCP tables unless those that are there will do. REST: how long they may; none: only for this look.
    pub(super) fn see_to_tcp(&mut self, proc_root: &Path, pid: u32, look: u64, rest: Option<Duration>) {
        let is_new = self.read.is_none();
        if !is_new && (self.read_at == look || (rest.is_some() && self.decided_at == look)) {
            return;
        }
        self.decided_at = look;
        let counts = counts(proc_root, pid);
        if !is_new && rest.is_some_and(|rest| !self.is_due(counts, rest)) {
            return;
        }
        let before = cpu_time();
        self.tcp.clear();
        if counts != Some((0, 0)) {
            for name in ["net/tcp", "net/tcp6"] {
                self.tcp.extend(read_listening(&process::file(proc_root, pid, name)));
            }
        }
        self.took = cpu_time().saturating_sub(before);
        (self.counts, self.read, self.read_at) = (counts, Some(Instant::now()), look);
    }

    fn is_due(&self, counts: Option<Counts>, rest: Duration) -> bool {
        let same = counts.is_some() && counts == self.counts;
        let rest = if same { rest.saturating_mul(UNCHANGED) } else { rest };
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

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
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
        let seconds = Duration::from_secs;
        for (counts, rest, due) in [
            (Some((2, 0)), seconds(50), true),
            (Some((2, 0)), seconds(70), false),
            (Some((1, 0)), seconds(50), false),
            (Some((1, 0)), seconds(3), true),
            (None, seconds(50), true),
        ] {
            assert_eq!(namespace.is_due(counts, rest), due, "{counts:?} {rest:?}");
        }
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
            namespace.see_to_tcp(root.path(), 9, 1, None);
            namespace.tcp.len()
        };
        assert_eq!((listeners("TCP: inuse 0 orphan 0\n"), listeners("TCP: inuse 1 orphan 0\n")), (0, 1));
    }
}
