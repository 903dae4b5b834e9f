//! Work for the block device: major faults on a mapped file whose pages are dropped, and reads past the page cache.
//! A file system without a device (tmpfs) gives neither; the figures then say 0.

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const PAGE: usize = 4096;

#[derive(Args)]
pub struct PageFaults {
    #[arg(long, default_value_t = 256)]
    pages: usize,
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

#[derive(Args)]
pub struct DiskRead {
    #[arg(long, default_value_t = 16)]
    mib: usize,
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

/// A synced file of `bytes`, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path, bytes: usize) -> Result<Self> {
        let path = dir.join(format!("workload-{}.bin", std::process::id()));
        let mut file = File::create(&path).with_context(|| path.display().to_string())?;
        let scratch = Self(path);
        file.write_all(&vec![0x5a; bytes])?;
        file.sync_all()?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl PageFaults {
    pub fn run(&self) -> Result<Value> {
        let len = self.pages * PAGE;
        let scratch = Scratch::new(&self.dir, len)?;
        let file = File::open(&scratch.0)?;
        let before = major_faults();
        // SAFETY: a read-only mapping of a file that keeps its length, read inside its bounds and unmapped once.
        unsafe {
            let at = libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
            ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
            libc::madvise(at, len, libc::MADV_RANDOM);
            libc::posix_fadvise(file.as_raw_fd(), 0, len as i64, libc::POSIX_FADV_DONTNEED);
            for page in 0..self.pages {
                std::ptr::read_volatile(at.cast::<u8>().add(page * PAGE));
            }
            libc::munmap(at, len);
        }
        Ok(json!({ "load": "page-faults", "pages": self.pages, "major_faults": major_faults() - before }))
    }
}

impl DiskRead {
    pub fn run(&self) -> Result<Value> {
        const BLOCK: usize = 1 << 16;
        let scratch = Scratch::new(&self.dir, self.mib << 20)?;
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&scratch.0);
        let Ok(file) = opened else {
            return Ok(json!({ "load": "disk-read", "reads": 0, "bytes": 0 }));
        };
        let before = device_bytes()?;
        let mut store = vec![0u8; BLOCK + PAGE];
        let skip = store.as_ptr().align_offset(PAGE);
        let block = &mut store[skip..skip + BLOCK];
        let reads = (self.mib << 20) / BLOCK;
        for i in 0..reads {
            file.read_exact_at(block, (i * BLOCK) as u64)?;
        }
        Ok(json!({ "load": "disk-read", "reads": reads, "bytes": device_bytes()? - before }))
    }
}

fn major_faults() -> i64 {
    // SAFETY: all-zero is a valid rusage, filled by the call.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage.ru_majflt
    }
}

/// Bytes that this process made the block layer read.
fn device_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io").context("/proc/self/io")?;
    let line = text.lines().find_map(|l| l.strip_prefix("read_bytes: ")).context("no read_bytes in /proc/self/io")?;
    line.trim().parse().context("read_bytes")
}
