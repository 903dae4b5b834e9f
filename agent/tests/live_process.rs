//! Live: processes and their system calls. Children are watched from their first instruction, every end is counted,
//! counts are exact, and what has ended leaves nothing behind.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use support::agent::Agent;
use support::child::{Lines, Running};
use support::metrics::Metrics;
use support::workload::{Workload, figure};
use support::{live, locate};

const SOON: Duration = Duration::from_secs(10);

/// Calls of one system call, of one process or of all.
fn calls(metrics: &Metrics, pid: Option<u32>, syscall: &str) -> f64 {
    let pid = pid.map(|p| p.to_string()).unwrap_or_default();
    let mut labels = vec![("syscall", syscall)];
    if !pid.is_empty() {
        labels.push(("pid", &pid));
    }
    metrics.count("inferscope_syscalls_total", &labels)
}

fn events(metrics: &Metrics, kind: &str) -> f64 {
    metrics.count("inferscope_events_total", &[("kind", kind)])
}

#[test]
fn children_are_watched_at_once() {
    let Some(_guard) = live::begin("children_are_watched_at_once") else { return };
    let mut tree = Workload::start(&["fork-tree", "--depth", "2", "--width", "3", "--calls", "1000"]).unwrap();
    let agent = Agent::watch(&[tree.pid()]).unwrap();
    let truth = tree.work().unwrap();
    let pids: Vec<u32> = truth["pids"].as_array().unwrap().iter().map(|p| p.as_u64().unwrap() as u32).collect();
    assert_eq!(pids.len(), 12);
    let m = agent.wait_metrics("all descendants", SOON, |m| calls(m, None, "getppid") >= 12_000.0).unwrap();
    for pid in pids {
        assert_eq!(calls(&m, Some(pid), "getppid"), 1000.0, "process {pid}");
    }
    assert_eq!(calls(&m, Some(tree.pid()), "getppid"), 0.0);
    assert!(tree.finish().unwrap().success());
    assert_eq!(agent.lost().unwrap(), 0.0);
}

#[test]
fn every_fork_and_exit_is_an_event() {
    let Some(_guard) = live::begin("every_fork_and_exit_is_an_event") else { return };
    let mut spawn = Workload::start(&["spawn", "--count", "200", "--code", "3"]).unwrap();
    let agent = Agent::watch(&[spawn.pid()]).unwrap();
    let before = agent.scrape().unwrap();
    let truth = spawn.work().unwrap();
    let seen = |m: &Metrics, kind: &str| events(m, kind) - events(&before, kind);
    let m = agent.wait_metrics("200 exits", SOON, |m| seen(m, "exit") >= 200.0).unwrap();
    assert_eq!((seen(&m, "fork"), seen(&m, "exit")), (200.0, 200.0));
    let last = figure(&truth, "last_pid").to_string();
    let m = agent
        .wait_metrics("no series of an ended child", SOON, |m| {
            m.sum("inferscope_process_oncpu_seconds_total", &[("pid", &last)]).is_none()
        })
        .unwrap();
    assert!(m.sum("inferscope_process_oncpu_seconds_total", &[("pid", &spawn.pid().to_string())]).is_some());
    assert!(spawn.finish().unwrap().success());
}

#[test]
fn threads_are_no_processes() {
    let Some(_guard) = live::begin("threads_are_no_processes") else { return };
    let mut spawn = Workload::start(&["spawn", "--count", "100", "--what", "thread"]).unwrap();
    let agent = Agent::watch(&[spawn.pid()]).unwrap();
    let before = agent.scrape().unwrap();
    spawn.work().unwrap();
    let m = agent.scrape().unwrap();
    assert_eq!(events(&m, "fork") - events(&before, "fork"), 0.0);
    assert!(m.sum("inferscope_process_oncpu_seconds_total", &[("pid", &spawn.pid().to_string())]).is_some());
}

#[test]
fn an_exec_goes_on_being_watched() {
    let Some(_guard) = live::begin("an_exec_goes_on_being_watched") else { return };
    let mut chain = Workload::start(&["exec-chain", "--depth", "5"]).unwrap();
    let agent = Agent::watch(&[chain.pid()]).unwrap();
    let before = agent.scrape().unwrap();
    chain.work().unwrap();
    let enough = |m: &Metrics| events(m, "exec") - events(&before, "exec") >= 5.0;
    let m = agent.wait_metrics("5 execs", SOON, enough).unwrap();
    assert_eq!(calls(&m, Some(chain.pid()), "execve"), 5.0);
}

/// The thread that runs the program gets the first one's id, whose last switch may come after that.
#[test]
fn an_exec_from_another_thread_goes_on_being_counted() {
    let Some(_guard) = live::begin("an_exec_from_another_thread_goes_on_being_counted") else { return };
    let chains = [0; 5].map(|_| {
        let args = ["exec-chain", "--depth", "4", "--from-thread", "--busy-millis", "200"];
        let mut chain = Workload::start(&args).unwrap();
        let agent = Agent::watch(&[chain.pid()]).unwrap();
        chain.work().unwrap();
        let pid = chain.pid().to_string();
        agent.scrape().unwrap().count("inferscope_process_oncpu_seconds_total", &[("pid", &pid)])
    });
    assert!(chains.iter().all(|seconds| *seconds > 0.19), "0.2 s were used each time: {chains:?}");
}

#[test]
fn system_calls_are_counted_exactly() {
    let Some(_guard) = live::begin("system_calls_are_counted_exactly") else { return };
    let mut good = Workload::start(&["syscalls", "--kind", "getppid", "--count", "123456"]).unwrap();
    let mut bad = Workload::start(&["syscalls", "--kind", "fail", "--count", "4321"]).unwrap();
    let agent = Agent::watch(&[good.pid(), bad.pid()]).unwrap();
    let before = agent.scrape().unwrap();
    good.work().unwrap();
    bad.work().unwrap();
    let m = agent.scrape().unwrap();
    assert_eq!(calls(&m, Some(good.pid()), "getppid"), 123_456.0);
    let pid = good.pid().to_string();
    let seconds = m.count("inferscope_syscall_seconds_total", &[("pid", &pid), ("syscall", "getppid")]);
    assert!(seconds > 0.0 && seconds < 123_456.0 * 0.001, "{seconds} s in getppid");
    let errors = |m: &Metrics| {
        let pid = bad.pid().to_string();
        m.count("inferscope_syscall_errors_total", &[("pid", &pid), ("syscall", "close")])
    };
    assert_eq!(errors(&m) - errors(&before), 4321.0);
}

#[test]
fn an_ended_process_leaves_no_series() {
    let Some(_guard) = live::begin("an_ended_process_leaves_no_series") else { return };
    let mut stays = Workload::start(&["exit"]).unwrap();
    let mut dies = Workload::start(&["exit", "--signal", "9"]).unwrap();
    let agent = Agent::watch(&[stays.pid(), dies.pid()]).unwrap();
    let pid = dies.pid().to_string();
    let has = |m: &Metrics, pid: &str| m.series.keys().any(|s| s.labels.get("pid").is_some_and(|p| p == pid));
    assert!(has(&agent.scrape().unwrap(), &pid));
    dies.finish().unwrap();
    let m = agent.wait_metrics("the series are gone", SOON, |m| !has(m, &pid)).unwrap();
    assert!(has(&m, &stays.pid().to_string()));
    stays.finish().unwrap();
}

#[test]
fn a_pid_that_is_not_there_is_named() {
    let Some(_guard) = live::begin("a_pid_that_is_not_there_is_named") else { return };
    let mut gone = Workload::start(&["exit"]).unwrap();
    gone.finish().unwrap();
    let pid = gone.pid().to_string();
    let mut command = std::process::Command::new(locate::agent().unwrap());
    command.args(["run", "--listen", "127.0.0.1:0", "--pid", &pid]);
    let mut agent = Running::start(command, Lines::Stderr).unwrap();
    agent.wait_line(Duration::from_secs(30), |line| line.contains(&pid).then_some(())).unwrap();
    let _ = agent.stop(libc::SIGTERM, SOON);
}

#[test]
fn a_killed_agent_leaves_the_next_one_a_clean_start() {
    let Some(_guard) = live::begin("a_killed_agent_leaves_the_next_one_a_clean_start") else { return };
    let mut work = Workload::start(&["syscalls", "--count", "1000"]).unwrap();
    let mut first = Agent::watch(&[work.pid()]).unwrap();
    first.running.stop(libc::SIGKILL, SOON).unwrap();
    drop(first);
    let agent = Agent::watch(&[work.pid()]).unwrap();
    work.work().unwrap();
    assert_eq!(calls(&agent.scrape().unwrap(), Some(work.pid()), "getppid"), 1000.0);
    let (status, _) = agent.stop().unwrap();
    assert!(status.success(), "SIGTERM ended the agent with {status}");
}
