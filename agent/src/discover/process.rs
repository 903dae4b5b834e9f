//! One process as /proc shows it. Every reader takes the proc root, so that tests use a tree of their own.
//! A process that ends while it is read is simply not there: no error, no half-read value.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{
    container::{self, Container},
    unit,
};

/// A process. Its identity is the pair of `pid` and `start_ticks`: a pid alone is reused.
#[derive(Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub ppid: u32,
    /// Clock ticks (usually 1/100 s) from boot to the start.
    pub start_ticks: u64,
    /// At most 15 bytes.
    pub comm: String,
    /// The executable; `None` where the kernel does not tell (another user's process, without privileges).
    pub exe: Option<PathBuf>,
    /// The executable's file is gone: replaced by an upgrade, or run from memory.
    pub exe_deleted: bool,
    /// Can hold API keys: for recognition only, never to be printed, logged or exported.
    pub argv: Vec<String>,
    pub container: Option<Container>,
    /// The unit of the system's manager that it runs in, without `.service`.
    pub systemd_unit: Option<String>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.pid)
            .field("ppid", &self.ppid)
            .field("start_ticks", &self.start_ticks)
            .field("comm", &self.comm)
            .field("exe", &self.exe)
            .field("exe_deleted", &self.exe_deleted)
            .field("container", &self.container)
            .field("systemd_unit", &self.systemd_unit)
            .finish_non_exhaustive()
    }
}

/// The fields of /proc/PID/stat that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub ppid: u32,
    pub start_ticks: u64,
    pub comm: String,
}

/// The longest command line that is read: some carry whole configurations.
const ARGV_BYTES: u64 = 64 * 1024;
/// The most that is read of any other file of a process.
const FILE_BYTES: u64 = 8 * 1024 * 1024;

impl Process {
    /// Reads everything; `None` if the process is not there or has no command line (kernel thread, zombie).
    pub fn read(proc_root: &Path, pid: u32) -> Option<Self> {
        let argv = argv(proc_root, pid)?;
        let stat = stat(proc_root, pid)?;
        let (exe, exe_deleted) = match exe(proc_root, pid) {
            Some((exe, deleted)) => (Some(exe), deleted),
            None => (None, false),
        };
        let cgroup = read_text(&file(proc_root, pid, "cgroup")).unwrap_or_default();
        let container = container(proc_root, pid, &cgroup);
        let systemd_unit = unit::from_cgroup(&cgroup);
        let Stat { ppid, start_ticks, comm } = stat;
        Some(Process { pid, ppid, start_ticks, comm, exe, exe_deleted, argv, container, systemd_unit })
    }

    /// Whether both are one process. Ids are given again, with another start; and a clock tick is long enough for
    /// one process to end and its next to begin.
    pub fn is(&self, other: &Process) -> bool {
        (self.pid, self.start_ticks) == (other.pid, other.start_ticks)
    }

    /// Whether the process is still this one.
    pub fn is_alive(&self, proc_root: &Path) -> bool {
        stat(proc_root, self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks)
    }
}

/// Path of a process's file: `PROC/PID/name`.
pub fn file(proc_root: &Path, pid: u32, name: &str) -> PathBuf {
    proc_root.join(format!("{pid}/{name}"))
}

/// File name of an executable's path; empty if it is not text.
pub fn base_name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// All pids, in no order. Empty when the root cannot be read.
pub fn pids(proc_root: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(proc_root) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The command line; `None` if the process is not there or has none. Bytes that are not UTF-8 are replaced.
pub fn argv(proc_root: &Path, pid: u32) -> Option<Vec<String>> {
    let bytes = read_at_most(&file(proc_root, pid, "cmdline"), ARGV_BYTES)?;
    // setproctitle(3) pads the old area with NUL bytes.
    let end = bytes.iter().rposition(|&b| b != 0)? + 1;
    Some(bytes[..end].split(|&b| b == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect())
}

/// Parent, start and name; `None` if the process is not there.
pub fn stat(proc_root: &Path, pid: u32) -> Option<Stat> {
    parse_stat(&read_text(&file(proc_root, pid, "stat"))?)
}

/// The process that a thread is one of, which for a process is itself: /proc has a folder for each thread's id too, though
/// it does not list it. `None` if it is not there or does not tell.
pub fn tgid(proc_root: &Path, pid: u32) -> Option<u32> {
    let status = read_text(&file(proc_root, pid, "status"))?;
    // A line's end in the name, which stands above it, is escaped.
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// The text of /proc/PID/stat, proc_pid_stat(5): the name is in parentheses and may hold anything, so the last `)` ends
/// it.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let (before, after) = text.rsplit_once(')')?;
    let comm = before.split_once('(')?.1.to_owned();
    let mut fields = after.split_ascii_whitespace();
    let ppid = fields.nth(1)?.parse().ok()?;
    // Field 22 of the file; the parent was field 4.
    let start_ticks = fields.nth(17)?.parse().ok()?;
    Some(Stat { ppid, start_ticks, comm })
}

/// The executable's path and whether its file was deleted.
pub fn exe(proc_root: &Path, pid: u32) -> Option<(PathBuf, bool)> {
    let target = fs::read_link(file(proc_root, pid, "exe")).ok()?;
    match target.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(path) => Some((path.into(), true)),
        None => Some((target, false)),
    }
}

/// The working directory.
pub fn cwd(proc_root: &Path, pid: u32) -> Option<PathBuf> {
    fs::read_link(file(proc_root, pid, "cwd")).ok()
}

fn container(proc_root: &Path, pid: u32, cgroup: &str) -> Option<Container> {
    container::from_cgroup(cgroup).or_else(|| {
        // A cgroup namespace shows the path relative to its own root.
        let hidden = cgroup.lines().any(|line| line.ends_with(":/") || line.contains("/.."));
        let mounts = hidden.then(|| read_text(&file(proc_root, pid, "mountinfo"))).flatten()?;
        container::from_mountinfo(&mounts)
    })
}

/// Paths of the files mapped into the process (each once, in order of address).
pub fn mapped_files(proc_root: &Path, pid: u32) -> Vec<String> {
    let Some(maps) = read_text(&file(proc_root, pid, "maps")) else { return Vec::new() };
    let mut files: Vec<String> = Vec::new();
    for line in maps.lines() {
        let Some(at) = line.find('/') else { continue };
        if files.last().is_none_or(|last| last != &line[at..]) {
            files.push(line[at..].to_owned());
        }
    }
    files
}

/// The text of a file of /proc, up to a bound; `None` if it cannot be read.
pub fn read_text(path: &Path) -> Option<String> {
    let bytes = read_at_most(path, FILE_BYTES)?;
    Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn read_at_most(path: &Path, bytes: u64) -> Option<Vec<u8>> {
    let mut buffer = Vec::with_capacity(1024);
    fs::File::open(path).ok()?.take(bytes).read_to_end(&mut buffer).ok()?;
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_hostile_name() {
        let text = "42 (a) b (c)) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
        assert_eq!(parse_stat(text), Some(Stat { ppid: 7, start_ticks: 98765, comm: "a) b (c)".into() }));
        for text in ["", "42", "42 (a", "42 (a) S", "42 (a) S x y"] {
            assert_eq!(parse_stat(text), None, "{text}");
        }
    }

    #[test]
    fn this_process_is_read() {
        let me = Process::read(Path::new("/proc"), std::process::id()).unwrap();
        assert_eq!(me.argv, std::env::args().collect::<Vec<_>>());
        assert_eq!(me.exe, std::env::current_exe().ok());
        assert!(!me.exe_deleted && me.ppid > 0 && me.start_ticks > 0);
        let with_key = Process { argv: vec!["vllm".into(), "--api-key=sk-1".into()], ..me.clone() };
        assert!(!format!("{with_key:?}").contains("sk-1"));
        assert!(me.is_alive(Path::new("/proc")));
        assert!(!Process { start_ticks: 1, ..me }.is_alive(Path::new("/proc")));
    }

    #[test]
    fn padded_titles_and_deleted_executables() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("9");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("cmdline"), b"VLLM::EngineCore\0\0\0\0").unwrap();
        fs::write(dir.join("stat"), "9 (VLLM::EngineCor) S 1 9 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0").unwrap();
        std::os::unix::fs::symlink("/usr/bin/python3.11 (deleted)", dir.join("exe")).unwrap();
        let process = Process::read(root.path(), 9).unwrap();
        assert_eq!(process.argv, ["VLLM::EngineCore"]);
        assert_eq!(process.exe.as_deref(), Some(Path::new("/usr/bin/python3.11")));
        assert!(process.exe_deleted);
        assert_eq!(Process::read(root.path(), 10), None);
    }
}
