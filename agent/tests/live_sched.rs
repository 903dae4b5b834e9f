//! Live: on-CPU time, run-queue delay, off-CPU reasons, switches and faults, against the kernel's own books and the
//! workloads' clocks.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use support::agent::Agent;
use support::live;
use support::metrics::Metrics;
use support::schedstat;
use support::workload::{Workload, figure};

fn of(metrics: &Metrics, name: &str, pid: u32, more: &[(&str, &str)]) -> f64 {
    let pid = pid.to_string();
    let labels: Vec<(&str, &str)> = [("pid", pid.as_str())].into_iter().chain(more.iter().copied()).collect();
    metrics.count(name, &labels)
}

const ONCPU: &str = "inferscope_process_oncpu_seconds_total";
const RUNQUEUE: &str = "inferscope_process_runqueue_seconds_total";
const OFFCPU: &str = "inferscope_process_offcpu_seconds_total";

#[track_caller]
fn assert_near(what: &str, got: f64, truth: f64, ratio: f64, absolute: f64) {
    let off = (got - truth).abs();
    assert!(off <= absolute.max(ratio * truth), "{what}: {got}, truth {truth}, {:.3} %", 100.0 * off / truth);
}

#[test]
fn busy_threads_agree_with_schedstat() {
    let Some(_guard) = live::begin("busy_threads_agree_with_schedstat") else { return };
    let mut busy = Workload::start(&["busy", "--threads", "4", "--seconds", "4"]).unwrap();
    let agent = Agent::watch(&[busy.pid()]).unwrap();
    let taken = schedstat::taken_s().unwrap();
    let (before, m0) = (schedstat::read(busy.pid()).unwrap(), agent.scrape().unwrap());
    busy.work().unwrap();
    // Every thread is blocked now, so both readings are of the same, unmoving figures.
    let (d, m) = (schedstat::read(busy.pid()).unwrap() - before, agent.scrape().unwrap());
    let grown = |name| of(&m, name, busy.pid(), &[]) - of(&m0, name, busy.pid(), &[]);
    let taken = schedstat::taken_s().unwrap() - taken;
    // The kernel takes the hypervisor's and the interrupts' time off its own figure, not off ours: ours may be that
    // much more, and no less. `cargo xtask bench sched` holds the real limit of one in a hundred.
    let (oncpu, truth) = (grown(ONCPU), d.oncpu_ns as f64 / 1e9);
    let slack = (0.03 * truth).max(0.005);
    let agrees = oncpu >= truth - slack && oncpu <= truth + slack + taken;
    assert!(agrees, "on-CPU seconds: {oncpu}, truth {truth}, {taken} taken");
    assert_near("run-queue seconds", grown(RUNQUEUE), d.runqueue_ns as f64 / 1e9, 0.05, 0.005);
    let waits = "inferscope_runqueue_latency_seconds_count";
    assert_near("run-queue waits", grown(waits), d.slices as f64, 0.02, 20.0);
    let sum = grown("inferscope_runqueue_latency_seconds_sum");
    assert_near("sum of the histogram", sum, grown(RUNQUEUE), 0.02, 0.01);
}

#[test]
fn running_threads_are_counted_before_they_stop() {
    let Some(_guard) = live::begin("running_threads_are_counted_before_they_stop") else { return };
    // Longer than any wait of this test: it is killed when that is over.
    let mut busy = Workload::start(&["busy", "--threads", "1", "--seconds", "600"]).unwrap();
    let agent = Agent::watch(&[busy.pid()]).unwrap();
    busy.running.tell("go").unwrap();
    let pid = busy.pid();
    let soon = std::time::Duration::from_secs(10);
    let running = |m: &Metrics| of(m, ONCPU, pid, &[]) > 0.2;
    let first = agent.wait_metrics("the thread is computing", soon, running).unwrap();
    let later = agent.wait_metrics("its time grows", soon, |m| of(m, ONCPU, pid, &[]) > of(&first, ONCPU, pid, &[]));
    later.unwrap();
}

#[test]
fn every_wait_has_its_reason() {
    let Some(_guard) = live::begin("every_wait_has_its_reason") else { return };
    for (kind, reason) in [
        ("sleep", "sleep"),
        ("futex", "futex"),
        ("lock", "lock"),
        ("condvar", "futex"),
        ("poll", "poll"),
        ("epoll", "poll"),
        ("select", "poll"),
        ("socket", "socket"),
        ("accept", "socket"),
    ] {
        // To join another thread is to wait for a futex too, which is not in the workload's truth.
        let threads = if matches!(reason, "futex" | "lock") { "1" } else { "2" };
        let args = ["block", "--kind", kind, "--millis", "50", "--rounds", "20", "--threads", threads];
        let mut block = Workload::start(&args).unwrap();
        let agent = Agent::watch(&[block.pid()]).unwrap();
        let m0 = agent.scrape().unwrap();
        let told = block.work().unwrap();
        let seconds = |name| figure(&told, name) as f64 / 1e9;
        let (truth, joined) = (seconds("blocked_ns"), seconds("joined_ns"));
        let m = agent.scrape().unwrap();
        let grown = |name, more: &[_]| of(&m, name, block.pid(), more) - of(&m0, name, block.pid(), more);
        let blocked = grown(OFFCPU, &[("reason", reason)]);
        let (oncpu, queued) = (grown(ONCPU, &[]), grown(RUNQUEUE, &[]));
        // The workload's clock runs on while a woken thread waits for a CPU and while it enters and leaves the call.
        assert!(blocked <= truth * 1.001 + 0.005, "{kind}: {blocked} s, truth {truth} s");
        assert!(blocked + oncpu + queued >= truth * 0.99, "{kind}: {blocked} s ({queued} s queued), truth {truth} s");
        for other in ["sleep", "futex", "lock", "poll", "socket"].into_iter().filter(|r| *r != reason) {
            let strange = grown(OFFCPU, &[("reason", other)]);
            // The first thread joins the other, which a machine that stalls may let be late.
            let join = if other == "futex" { joined } else { 0.0 };
            assert!(strange < 0.05 * truth + join, "{kind}: {strange} s of {other}, {join} s of them to join");
        }
    }
}

/// The kernel goes on with such a wait by another call.
#[test]
fn a_wait_that_was_stopped_has_its_reason_still() {
    let Some(_guard) = live::begin("a_wait_that_was_stopped_has_its_reason_still") else { return };
    let soon = std::time::Duration::from_secs(20);
    for (kind, reason) in [("lock", "lock"), ("sleep", "sleep"), ("poll", "poll")] {
        let args = ["block", "--kind", kind, "--millis", "6000", "--rounds", "1", "--threads", "1"];
        let mut block = Workload::start(&args).unwrap();
        let pid = block.pid();
        let agent = Agent::watch(&[pid]).unwrap();
        block.running.tell("go").unwrap();
        agent.wait_metrics("the wait", soon, |m| of(m, OFFCPU, pid, &[("reason", reason)]) > 0.05).unwrap();
        block.running.signal(libc::SIGSTOP);
        let stop = |m: &Metrics| of(m, OFFCPU, pid, &[("reason", "other")]) > 0.05;
        let before = agent.wait_metrics("the stop", soon, stop).unwrap();
        block.running.signal(libc::SIGCONT);
        block.running.wait_line(soon, |line| line.contains("blocked_ns").then_some(())).unwrap();
        let m = agent.scrape().unwrap();
        let grown =
            |reason| of(&m, OFFCPU, pid, &[("reason", reason)]) - of(&before, OFFCPU, pid, &[("reason", reason)]);
        let (waited, other) = (grown(reason), grown("other"));
        // The stop ended a moment after `before`, and the rest of the six seconds was waited for.
        assert!(waited > other, "{kind}: {waited} s, and {other} s of nothing that is known");
        let errors = |call: &str| of(&m, "inferscope_syscall_errors_total", pid, &[("syscall", call)]);
        assert_eq!(errors("poll") + errors("nanosleep") + errors("restart_syscall"), 0.0, "{kind}");
    }
}

#[test]
fn switches_are_counted_by_kind() {
    let Some(_guard) = live::begin("switches_are_counted_by_kind") else { return };
    let mut pingpong = Workload::start(&["pipe-pingpong", "--seconds", "1"]).unwrap();
    let agent = Agent::watch(&[pingpong.pid()]).unwrap();
    let m0 = agent.scrape().unwrap();
    let truth = pingpong.work().unwrap();
    let m = agent.scrape().unwrap();
    for kind in ["voluntary", "involuntary"] {
        let name = "process_context_switches_total";
        let grown = of(&m, name, pingpong.pid(), &[("type", kind)]) - of(&m0, name, pingpong.pid(), &[("type", kind)]);
        assert_near(kind, grown, figure(&truth, kind) as f64, 0.01, 20.0);
    }
    assert_eq!(agent.lost().unwrap(), 0.0);
}

#[test]
fn major_faults_are_exact() {
    let Some(_guard) = live::begin("major_faults_are_exact") else { return };
    if !Path::new("/var/tmp").is_dir() {
        return live::skip("major_faults_are_exact", "no /var/tmp, so no file on a block device");
    }
    let mut faults = Workload::start(&["page-faults", "--pages", "200"]).unwrap();
    let agent = Agent::watch(&[faults.pid()]).unwrap();
    let pid = faults.pid();
    let major = |m: &Metrics| of(m, "process_paging_faults_total", pid, &[("type", "major")]);
    let before = major(&agent.scrape().unwrap());
    let truth = figure(&faults.work().unwrap(), "major_faults") as f64;
    if truth == 0.0 {
        return live::skip("major_faults_are_exact", "/var/tmp is not on a block device");
    }
    // From /proc, which is read every two seconds.
    let soon = std::time::Duration::from_secs(30);
    let m = agent.wait_metrics("the faults", soon, |m| major(m) - before >= truth).unwrap();
    assert_eq!(major(&m) - before, truth);
}
