//! System calls, block I/O, page faults and reclaim: drawn where they happened, with what they moved.

use super::{attach, end, trace::Trace};
use std::path::Path;
use support::live;
use support::workload::{Workload, figure};

#[test]
fn long_system_calls_are_drawn() {
    let Some(_guard) = live::begin("long_system_calls_are_drawn") else { return };
    let folder = tempfile::tempdir().unwrap();
    for (limit, drawn) in [("1ms", 40), ("1s", 0)] {
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
