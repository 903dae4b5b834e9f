//! Each workload's truth against an outside look at it.
#![allow(clippy::unwrap_used)]

use support::schedstat;
use support::workload::{Workload, figure};

#[test]
fn busy_threads_stand_still_when_their_sums_are_read() {
    let mut w = Workload::start(&["busy", "--threads", "3", "--seconds", "0.5"]).unwrap();
    let before = schedstat::read(w.pid()).unwrap();
    let truth = w.work().unwrap();
    let d = schedstat::read(w.pid()).unwrap() - before;
    let (inside, outside) = (figure(&truth, "oncpu_ns") as f64, d.oncpu_ns as f64);
    assert!(figure(&truth, "oncpu_ns") > 100_000_000, "{truth}");
    assert!((inside - outside).abs() < 0.02 * outside, "{inside} {outside}");
    assert!(w.finish().unwrap().success());
}

#[test]
fn every_kind_of_wait_blocks() {
    for kind in ["sleep", "futex", "poll", "epoll", "select", "socket", "accept"] {
        let mut w = Workload::start(&["block", "--kind", kind, "--millis", "20", "--rounds", "3"]).unwrap();
        let truth = w.work().unwrap();
        assert_eq!(figure(&truth, "waits"), 6);
        assert!(figure(&truth, "blocked_ns") >= 6 * 20_000_000, "{truth}");
        assert!(w.finish().unwrap().success());
    }
}

#[test]
fn the_rest_say_what_they_did() {
    for (args, name, at_least) in [
        (&["syscalls", "--count", "1000", "--repeats", "3"][..], "calls", 3000),
        (&["syscalls", "--kind", "fail", "--count", "1000"], "errors", 1000),
        (&["futex-pingpong", "--seconds", "0.5", "--pin"], "rounds", 1),
        (&["pipe-pingpong", "--seconds", "0.5"], "rounds", 1),
        (&["spawn", "--count", "20", "--code", "3"], "count", 20),
        (&["spawn", "--count", "3", "--what", "exec", "--code", "4"], "count", 3),
        (&["spawn", "--count", "20", "--what", "thread"], "count", 20),
        (&["fork-tree", "--depth", "2", "--width", "3"], "calls", 12_000),
        (&["exec-chain", "--depth", "3"], "execs", 3),
        (&["page-faults", "--pages", "32"], "pages", 32),
        (&["disk-read", "--mib", "1"], "reads", 0),
    ] {
        let mut w = Workload::start(args).unwrap();
        let truth = w.work().unwrap();
        assert!(figure(&truth, name) >= at_least, "{args:?}: {truth}");
        assert!(w.finish().unwrap().success(), "{args:?}");
    }
}

#[test]
fn exit_ends_as_asked() {
    use std::os::unix::process::ExitStatusExt;
    let mut w = Workload::start(&["exit", "--code", "7"]).unwrap();
    assert_eq!(w.finish().unwrap().code(), Some(7));
    let mut w = Workload::start(&["exit", "--signal", "9"]).unwrap();
    assert_eq!(w.finish().unwrap().signal(), Some(9));
}
