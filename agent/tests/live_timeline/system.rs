//! System calls, block I/O, page faults and reclaim: drawn where they happened, with what they moved.

use super::{attach, end, trace::Trace};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use support::child::{Lines, Running};
use support::live;
use support::workload::{Workload, figure};

#[test]
fn long_system_calls_are_drawn() {
    let Some(_guard) = live::begin("long_system_calls_are_drawn") else { return };
    let folder = tempfile::tempdir().unwrap();
    for (limit, drawn) in [("1ms", 40), ("1h", 0)] {
        let file = folder.path().join(limit);
        let args = ["block", "--kind", "sleep", "--threads", "2", "--millis", "20", "--rounds", "20"];
        let mut block = Workload::start(&args).unwrap();
        let attach = attach(&[block.pid()], &file, &["--syscalls", limit]);
        block.work().unwrap();
        end(attach);
        let trace = Trace::read(&file);
        let sleeps = trace.named("clock_nanosleep").into_iter().filter(|slice| slice.end_ns.is_some());
        let long = sleeps.inspect(|slice| assert!(slice.ns() >= 20_000_000, "{slice:?}"));
        assert_eq!(long.count(), drawn, "those of {limit}");
    }
}

#[test]
fn block_requests_are_drawn_with_their_bytes() {
    let Some(_guard) = live::begin("block_requests_are_drawn_with_their_bytes") else { return };
    if !Path::new("/var/tmp").is_dir() {
        return live::skip("block_requests_are_drawn_with_their_bytes", "no /var/tmp, so no file on a block device");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let mut disk = Workload::start(&["disk-read", "--mib", "4"]).unwrap();
    let attach = attach(&[disk.pid()], &file, &[]);
    let truth = figure(&disk.work().unwrap(), "bytes");
    end(attach);
    if truth == 0 {
        return live::skip("block_requests_are_drawn_with_their_bytes", "/var/tmp is not on a block device");
    }
    let trace = Trace::read(&file);
    let device = |slice: &&&super::trace::Slice| slice.notes.iter().any(|note| !note.text().is_empty());
    let reads: Vec<_> = trace.named("read");
    let reads: Vec<_> = reads.iter().filter(device).collect();
    let bytes: u64 = reads.iter().map(|slice| slice.notes[0].uint()).sum();
    // Pages of its own program may have to be read too.
    assert!(bytes >= truth && bytes < truth + (1 << 20), "{bytes} bytes drawn, {truth} read");
    assert!(reads.iter().all(|slice| slice.end_ns.is_some_and(|end_ns| end_ns > slice.begin_ns)));
}

#[test]
fn faults_that_wait_for_the_disk_are_drawn() {
    let Some(_guard) = live::begin("faults_that_wait_for_the_disk_are_drawn") else { return };
    if !Path::new("/var/tmp").is_dir() {
        return live::skip("faults_that_wait_for_the_disk_are_drawn", "no /var/tmp, so no file on a block device");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let mut faults = Workload::start(&["page-faults", "--pages", "200"]).unwrap();
    let attach = attach(&[faults.pid()], &file, &[]);
    let truth = figure(&faults.work().unwrap(), "major_faults");
    end(attach);
    if truth == 0 {
        return live::skip("faults_that_wait_for_the_disk_are_drawn", "/var/tmp is not on a block device");
    }
    let drawn = Trace::read(&file).named("page fault (disk)").len() as u64;
    // Of a page that is there by the time the thread looks, there was no wait.
    assert!(drawn > 0 && drawn <= truth, "{drawn} of {truth} faults");
}

/// A control group with little memory and little of a CPU, of whichever version the host has; gone when dropped.
struct Tight(Vec<PathBuf>);

impl Tight {
    fn new() -> std::io::Result<Self> {
        let name = format!("inferscope-test-{}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let mut tight = Self(Vec::new());
        if root.join("cgroup.controllers").exists() {
            let folder = tight.folder(root.join(&name))?;
            std::fs::write(folder.join("cpu.max"), "20000 100000")?;
            std::fs::write(folder.join("memory.max"), "30000000")?;
        } else {
            let cpu = tight.folder(root.join("cpu").join(&name))?;
            std::fs::write(cpu.join("cpu.cfs_quota_us"), "20000")?;
            let memory = tight.folder(root.join("memory").join(&name))?;
            std::fs::write(memory.join("memory.limit_in_bytes"), "30000000")?;
        }
        Ok(tight)
    }

    fn folder(&mut self, folder: PathBuf) -> std::io::Result<PathBuf> {
        std::fs::create_dir(&folder)?;
        self.0.push(folder.clone());
        Ok(folder)
    }

    fn take(&self, pid: u32) -> std::io::Result<()> {
        self.0.iter().try_for_each(|folder| std::fs::write(folder.join("cgroup.procs"), pid.to_string()))
    }
}

impl Drop for Tight {
    fn drop(&mut self) {
        // A process that has just ended may still be in it.
        let until = Instant::now() + super::SOON;
        while !self.0.iter().all(|f| !f.exists() || std::fs::remove_dir(f).is_ok()) && Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_tight_control_group_is_drawn() {
    let name = "a_tight_control_group_is_drawn";
    let Some(_guard) = live::begin(name) else { return };
    let Ok(tight) = Tight::new() else { return live::skip(name, "no control group with limits can be made") };
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let (file, written) = (folder.path().join("trace"), folder.path().join("written"));
    let mut command = Command::new("sh");
    command.args(["-c", "read go; exec dd if=/dev/zero of=$0 bs=1M count=400 2>/dev/null"]).arg(&written);
    let mut writer = Running::start(command, Lines::Stdout).unwrap();
    if tight.take(writer.pid()).is_err() {
        return live::skip(name, "no process can be put into the control group");
    }
    let mut attach = attach(&[writer.pid()], &file, &[]);
    writer.tell("go").unwrap();
    // A slow disk may need longer for all of it; what has been written by then is enough to see.
    if writer.wait(super::SOON).is_err() {
        writer.stop(libc::SIGKILL, super::SOON).unwrap();
    }
    assert!(attach.wait(super::SOON).unwrap().success());
    let trace = Trace::read(&file);
    let reclaim = trace.named("reclaim (cgroup limit)");
    assert!(!reclaim.is_empty() && reclaim.iter().any(|slice| slice.notes[0].uint() > 0), "{} stalls", reclaim.len());
    assert!(trace.counters.iter().any(|name| name.starts_with("CPU throttled")), "{:?}", trace.counters);
    assert!(trace.instants.iter().any(|(_, name)| name.contains("throttled")), "{:?}", trace.instants);
}
