//! Threads: their states against schedstat, waits against who caused them, what never moves, and many of them.

use super::{SOON, attach, end, trace::Trace};
use std::collections::BTreeSet;
use std::process::Command;
use support::child::{Lines, Running};
use support::workload::{Workload, figure};
use support::{live, schedstat};

#[test]
fn threads_are_where_the_kernel_says() {
    let Some(_guard) = live::begin("threads_are_where_the_kernel_says") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let mut busy = Workload::start(&["busy", "--threads", "4", "--seconds", "2"]).unwrap();
    let attach = attach(&[busy.pid()], &file, &[]);
    let taken = schedstat::taken_s().unwrap();
    let before = schedstat::read(busy.pid()).unwrap();
    busy.work().unwrap();
    let grown = schedstat::read(busy.pid()).unwrap() - before;
    let taken = schedstat::taken_s().unwrap() - taken;
    end(attach);
    let trace = Trace::read(&file);
    // As in live_sched: the kernel leaves out what interrupts and the hypervisor took.
    for (what, truth, more) in [("running", grown.oncpu_ns, taken), ("runnable", grown.runqueue_ns, 0.0)] {
        let (got, truth) = (trace.seconds(busy.pid(), what), truth as f64 / 1e9);
        let slack = 0.02 + 0.05 * truth;
        let agrees = got >= truth - slack && got <= truth + slack + more;
        assert!(agrees, "{what}: {got} s, schedstat {truth} s, {more} s taken");
    }
    // Its threads sleep at the end, and the file says so.
    let last = trace.states.iter().filter(|state| state.end_ns.is_none());
    let waits = last.filter(|state| state.what == "blocked" && state.reason.as_deref() == Some("futex"));
    assert_eq!(waits.count(), 4);
}

#[test]
fn waits_have_their_reason_and_their_waker() {
    let Some(_guard) = live::begin("waits_have_their_reason_and_their_waker") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let mut pingpong = Workload::start(&["futex-pingpong", "--seconds", "1"]).unwrap();
    let attach = attach(&[pingpong.pid()], &file, &[]);
    pingpong.work().unwrap();
    end(attach);
    let trace = Trace::read(&file);
    let pid = pingpong.pid();
    let its: BTreeSet<u32> = trace.threads.iter().filter(|(_, owner)| **owner == pid).map(|(tid, _)| *tid).collect();
    let woken: Vec<_> = trace.states.iter().filter(|s| s.what == "runnable" && s.waker.is_some()).collect();
    let by_each_other = woken.iter().filter(|s| s.waker.is_some_and(|waker| waker != s.tid && its.contains(&waker)));
    let share = by_each_other.count() as f64 / woken.len() as f64;
    assert!(woken.len() > 100 && share > 0.9, "{share} of {} wake-ups are by the other thread", woken.len());
    let waits = trace.states.iter().filter(|state| state.what == "blocked" && state.end_ns.is_some());
    let (futex, all) = waits
        .fold((0, 0), |(futex, all), state| (futex + u64::from(state.reason.as_deref() == Some("futex")), all + 1));
    assert!(futex as f64 > 0.9 * f64::from(all), "{futex} of {all} waits are for a futex");
}

#[test]
fn what_stands_still_is_shown() {
    let Some(_guard) = live::begin("what_stands_still_is_shown") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let mut command = Command::new("sleep");
    command.arg("600");
    let sleeper = Running::start(command, Lines::Stdout).unwrap();
    end(attach(&[sleeper.pid()], &file, &[]));
    let trace = Trace::read(&file);
    let state = trace.states.iter().rfind(|state| state.tid == sleeper.pid()).unwrap();
    assert_eq!((state.what, state.reason.as_deref(), state.end_ns), ("blocked", Some("sleep"), None));
    let calls = trace.named("clock_nanosleep");
    assert!(calls.len() == 1 && calls[0].end_ns.is_none(), "{calls:?}");
}

#[test]
fn two_thousand_threads_are_told_apart() {
    let Some(_guard) = live::begin("two_thousand_threads_are_told_apart") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let args = ["block", "--kind", "sleep", "--threads", "2000", "--millis", "20", "--rounds", "20"];
    let mut block = Workload::start(&args).unwrap();
    let attach = attach(&[block.pid()], &file, &[]);
    let waits = figure(&block.work().unwrap(), "waits");
    let lost = end_of(attach);
    let trace = Trace::read(&file);
    let its = |tid: &u32| trace.threads.get(tid) == Some(&block.pid());
    let seen: BTreeSet<u32> = trace.states.iter().map(|state| state.tid).filter(its).collect();
    let asleep = |s: &&super::trace::State| s.what == "blocked" && s.reason.as_deref() == Some("sleep") && its(&s.tid);
    let slept = trace.states.iter().filter(asleep).count() as u64;
    assert!(lost || seen.len() >= 2000, "{} threads", seen.len());
    // A wait that is over before its thread has left the CPU is none.
    assert!(lost || slept > waits / 100 * 99 && slept <= waits, "{slept} of {waits} waits");
}

/// Ends it; whether the file says that something was lost.
fn end_of(attach: Running) -> bool {
    let mut attach = attach;
    assert!(attach.stop(libc::SIGINT, SOON).unwrap().success());
    let line = attach.wait_line(SOON, |line| line.starts_with("timeline: ").then(|| line.to_owned())).unwrap();
    line.contains("left out")
}
