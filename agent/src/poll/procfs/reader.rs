//! One process's files under /proc to one reading, with one buffer for all of them. The root is injectable for tests.
//! Formats: proc_pid_stat(5), proc_pid_statm(5), proc_pid_io(5).

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Descriptors counted per process where the kernel does not tell their number; more are told as this many.
pub const FD_LIMIT: u64 = 65_536;

/// One process at one time. Seconds and bytes; counters since the process began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessReading {
    pub pid: u32,
    /// Clock ticks after boot: with the pid, who this is; a reused pid has another.
    pub start_ticks: u64,
    /// The same in seconds after boot.
    pub start_seconds: f64,
    pub cpu_user_seconds: f64,
    pub cpu_system_seconds: f64,
    pub virtual_bytes: u64,
    pub resident_bytes: u64,
    /// The part of `resident_bytes` backed by files or shared memory.
    pub shared_bytes: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub threads: u64,
    /// Bytes fetched from and sent to storage; `None` without the right to see them.
    pub disk_read_bytes: Option<u64>,
    pub disk_write_bytes: Option<u64>,
    /// Open descriptors, at most [`FD_LIMIT`] before Linux 6.2; `None` without the right to see them.
    pub open_fds: Option<u64>,
}

/// Reads processes one after the other.
#[derive(Debug)]
pub struct ProcReader {
    root: PathBuf,
    buffer: Vec<u8>,
    page_bytes: u64,
    ticks_per_second: f64,
}

impl Default for ProcReader {
    fn default() -> ProcReader {
        ProcReader::new()
    }
}

impl ProcReader {
    /// Reads the running system's /proc.
    pub fn new() -> ProcReader {
        ProcReader::at("/proc")
    }

    /// Reads a tree like /proc at `root`.
    pub fn at(root: impl Into<PathBuf>) -> ProcReader {
        ProcReader {
            root: root.into(),
            buffer: Vec::with_capacity(4096),
            page_bytes: procfs::page_size(),
            ticks_per_second: procfs::ticks_per_second() as f64,
        }
    }

    /// Reads one process; `None` when there is none of that id, or it ends meanwhile.
    /// Errors: the files cannot be read or understood for another reason.
    pub fn read(&mut self, pid: u32) -> io::Result<Option<ProcessReading>> {
        let folder = self.root.join(pid.to_string());
        match self.read_folder(pid, &folder) {
            Ok(reading) => Ok(Some(reading)),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_folder(&mut self, pid: u32, folder: &Path) -> io::Result<ProcessReading> {
        let (page, ticks) = (self.page_bytes, self.ticks_per_second);
        let stat = Stat::parse(self.text(&folder.join("stat"))?).ok_or_else(|| not_understood("stat"))?;
        let statm = self.text(&folder.join("statm"))?;
        let mut pages = statm.split_ascii_whitespace().map(|word| word.parse::<u64>().ok());
        let mut next = || pages.next().flatten().ok_or_else(|| not_understood("statm"));
        let (virtual_pages, resident_pages, shared_pages) = (next()?, next()?, next()?);
        let io = self.io(&folder.join("io"))?;
        Ok(ProcessReading {
            pid,
            start_ticks: stat.start,
            start_seconds: stat.start as f64 / ticks,
            cpu_user_seconds: stat.user as f64 / ticks,
            cpu_system_seconds: stat.system as f64 / ticks,
            virtual_bytes: virtual_pages * page,
            resident_bytes: resident_pages * page,
            shared_bytes: shared_pages * page,
            minor_faults: stat.minor_faults,
            major_faults: stat.major_faults,
            threads: stat.threads,
            disk_read_bytes: io.map(|(read, _)| read),
            disk_write_bytes: io.map(|(_, write)| write),
            open_fds: count_fds(&folder.join("fd"))?,
        })
    }

    fn io(&mut self, path: &Path) -> io::Result<Option<(u64, u64)>> {
        let text = match self.text(path) {
            Ok(text) => text,
            Err(error) if forbidden(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
        Ok(value("read_bytes:").zip(value("write_bytes:")))
    }

    fn text(&mut self, path: &Path) -> io::Result<&str> {
        self.buffer.clear();
        File::open(path)?.read_to_end(&mut self.buffer)?;
        // A command name may hold any bytes; everything that is read here is ASCII behind it.
        let ascii = match self.buffer.iter().rposition(|byte| *byte == b')') {
            Some(end) => &self.buffer[end..],
            None => &self.buffer[..],
        };
        std::str::from_utf8(ascii).map_err(|_| not_understood("text"))
    }
}

struct Stat {
    minor_faults: u64,
    major_faults: u64,
    user: u64,
    system: u64,
    threads: u64,
    start: u64,
}

impl Stat {
    /// `text` begins at the last `)`, the end of field 2; what follows has no spaces within a field.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.strip_prefix(')')?.split_ascii_whitespace().take(20).collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Stat {
            minor_faults: field(10)?,
            major_faults: field(12)?,
            user: field(14)?,
            system: field(15)?,
            threads: field(20)?,
            start: field(22)?,
        })
    }
}

/// Since Linux 6.2 the folder's size is the number of descriptors; before, it is 0 and they are counted.
fn count_fds(folder: &Path) -> io::Result<Option<u64>> {
    let counted = std::fs::metadata(folder).and_then(|metadata| match metadata.len() {
        0 => std::fs::read_dir(folder).map(|entries| entries.take(FD_LIMIT as usize).count() as u64),
        known => Ok(known),
    });
    match counted {
        Ok(count) => Ok(Some(count)),
        Err(error) if forbidden(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn gone(error: &io::Error) -> bool {
    // ESRCH: opened while it lived, read after its end.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn not_understood(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/PID/{file}: not in the known format"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(stat: &[u8]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("temporary folder");
        let folder = root.path().join("7");
        std::fs::create_dir_all(folder.join("fd")).expect("folder");
        std::fs::write(folder.join("stat"), stat).expect("stat");
        std::fs::write(folder.join("statm"), "100 40 10 1 0 50 0\n").expect("statm");
        std::fs::write(folder.join("io"), "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n")
            .expect("io");
        root
    }

    #[test]
    fn fields_are_where_the_manual_says() {
        let root = tree(b"7 (a) (b \xff) S 1 7 7 0 -1 4194560 11 12 13 14 250 150 17 18 20 0 5 0 1000 409600 40\n");
        let reading = ProcReader::at(root.path()).read(7).expect("readable").expect("there");
        let ticks = procfs::ticks_per_second() as f64;
        assert_eq!((reading.minor_faults, reading.major_faults, reading.threads), (11, 13, 5));
        assert_eq!((reading.cpu_user_seconds, reading.cpu_system_seconds), (250.0 / ticks, 150.0 / ticks));
        assert_eq!((reading.start_ticks, reading.start_seconds), (1000, 1000.0 / ticks));
        let page = procfs::page_size();
        assert_eq!(
            (reading.virtual_bytes, reading.resident_bytes, reading.shared_bytes),
            (100 * page, 40 * page, 10 * page)
        );
        assert_eq!((reading.disk_read_bytes, reading.disk_write_bytes), (Some(4096), Some(8192)));
    }

    #[test]
    fn nobody_is_none_and_nonsense_is_an_error() {
        assert_eq!(ProcReader::new().read(u32::MAX).expect("no error"), None);
        for stat in [&b""[..], b"7 (x", b"7 (x) S 1 2", b"7 (x) S a b c d e f g h i j k l m n o p q r s t u\n"] {
            let root = tree(stat);
            assert!(ProcReader::at(root.path()).read(7).is_err(), "{stat:?}");
        }
    }

    #[test]
    fn a_zombie_is_read_and_a_reaped_process_is_none() {
        let mut child = std::process::Command::new("true").spawn().expect("true");
        let pid = child.id();
        // Until it has ended, and stays to be waited for.
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        let id = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child));
        assert!(rustix::process::waitid(id, options).expect("waitid").is_some_and(|status| status.exited()));
        let mut reader = ProcReader::new();
        let zombie = reader.read(pid).expect("readable");
        assert!(zombie.is_none_or(|reading| reading.resident_bytes == 0));
        child.wait().expect("wait");
        assert_eq!(reader.read(pid).expect("no error"), None);
    }

    #[test]
    fn we_see_our_own_descriptors_and_time() {
        let mut reader = ProcReader::new();
        let before = reader.read(std::process::id()).expect("readable").expect("we live");
        let _files: Vec<File> = (0..50).map(|_| File::open("/proc/self/stat").expect("open")).collect();
        let after = reader.read(std::process::id()).expect("readable").expect("we live");
        assert!(after.open_fds.expect("ours") >= 50);
        assert_eq!(before.start_ticks, after.start_ticks);
        assert!(after.resident_bytes > 0 && after.virtual_bytes > after.resident_bytes && after.threads >= 1);
    }
}
