//! Live: with the documented capabilities and no others everything is seen, as root and as another user, and after the
//! start no thread has more than it still needs.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use support::agent::Agent;
use support::client::Request;
use support::server::Server;
use support::{confine, live, locate};

/// Numbers of capability.h.
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_NICE: u64 = 1 << 23;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;
const DOCUMENTED: u64 = BPF | PERFMON | SYS_PTRACE | DAC_READ_SEARCH | SYS_NICE;
const SOON: Duration = Duration::from_secs(20);

/// An agent that finds servers by itself, with no rights but these.
fn confined(capabilities: u64, root: bool, more: &[&str]) -> Agent {
    let args: Vec<String> = more.iter().map(|arg| (*arg).to_owned()).collect();
    Agent::prepared(&args, |command| {
        confine::only(command, capabilities, root);
        Ok(())
    })
    .unwrap()
}

/// A field of status in every thread of a process.
fn of_threads(pid: u32, field: &str) -> Vec<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: &Path| {
        let status = fs::read_to_string(task.join("status")).ok()?;
        let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Some((value("Name:")?.to_owned(), u64::from_str_radix(value(field)?, 16).ok()?))
    };
    tasks.filter_map(|task| of(&task.ok()?.path())).collect()
}

/// A server that nothing recognises, found by what it speaks: that takes its descriptors, and they are another user's.
fn sees_everything(agent: &Agent, gpus: bool) {
    let server = Server::start(&[]).unwrap();
    let (_, port) = server.target.host().rsplit_once(':').unwrap();
    let port = [("server_port", port)];
    let count = "gen_ai_server_request_duration_seconds_count";
    let found = agent.wait("the server is found by what it speaks", SOON, || {
        live::send(&server, &Request::chat("m", "one two", 5, true));
        let metrics = agent.scrape()?;
        Ok((metrics.count(count, &port) >= 1.0).then_some(metrics))
    });
    let metrics = found.unwrap();
    if gpus {
        assert_eq!(metrics.count("inferscope_nvml_up", &[("state", "ok")]), 1.0);
    }
    let pid = server.pid().to_string();
    let oncpu = |m: &support::metrics::Metrics| m.count("inferscope_process_oncpu_seconds_total", &[("pid", &pid)]);
    agent.wait_metrics("its CPU time", SOON, |m| oncpu(m) > 0.0).unwrap();
}

fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn with_the_documented_set(name: &str, root: bool) {
    let Some(_guard) = live::begin(name) else { return };
    let fake = locate::helper("libfake_nvml.so").ok().map(|path| path.display().to_string());
    let nvml: Vec<&str> = fake.iter().flat_map(|path| ["--nvml-lib", path]).collect();
    let agent = confined(DOCUMENTED, root, &nvml);
    sees_everything(&agent, fake.is_some());
    let old = if kernel() < (5, 19) { BPF } else { 0 };
    let kept = SYS_PTRACE | DAC_READ_SEARCH | PERFMON | old;
    for field in ["CapEff:", "CapPrm:"] {
        let threads = of_threads(agent.pid(), field);
        assert!(threads.len() >= 4, "{threads:?}");
        for (thread, has) in threads {
            assert_eq!(has, kept, "{field} of the thread {thread} is {has:x}");
        }
    }
    assert!(of_threads(agent.pid(), "CapAmb:").iter().all(|(_, has)| *has == 0));
    assert!(of_threads(agent.pid(), "NoNewPrivs:").iter().all(|(_, set)| *set == 1));
    let (status, _) = agent.stop().unwrap();
    assert!(status.success(), "SIGTERM ended the agent with {status}");
}

#[test]
fn root_with_the_documented_set_sees_everything() {
    with_the_documented_set("root_with_the_documented_set_sees_everything", true);
}

#[test]
fn another_user_with_the_documented_set_sees_everything() {
    with_the_documented_set("another_user_with_the_documented_set_sees_everything", false);
}

#[test]
fn privileges_are_kept_on_demand() {
    let Some(_guard) = live::begin("privileges_are_kept_on_demand") else { return };
    let agent = confined(DOCUMENTED, true, &["--keep-privileges"]);
    assert!(of_threads(agent.pid(), "CapEff:").iter().all(|(_, has)| *has == DOCUMENTED));
}
