//! Live: starts that go wrong. What the host withholds (root, BTF, tracefs, locked memory, a probe), a port in use, a
//! process that is not there: one sentence that says what to do and exit code 1, or a run that does without.
#![allow(clippy::unwrap_used)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;
use support::agent::Agent;
use support::child::{Lines, Running};
use support::client::Request;
use support::confine;
use support::live::{self, recorded};
use support::locate;
use support::server::Server;
use support::workload::Workload;

const SOON: Duration = Duration::from_secs(60);
const QUIET: &str = "[discover]\nenabled = false\n[nvml]\nenabled = false\n";

fn inferscope(args: &[&str]) -> Command {
    let mut command = Command::new(locate::agent().unwrap());
    command.args(args);
    command
}

/// Runs to the end; the exit code and the lines.
fn ended(command: Command, lines: Lines) -> (Option<i32>, String) {
    let mut running = Running::start(command, lines).unwrap();
    let status = running.wait(SOON).unwrap();
    (status.code(), running.lines().join("\n"))
}

/// A start that is refused with one line that holds all of `words`.
#[track_caller]
fn refused(command: Command, words: &[&str]) {
    let (code, said) = ended(command, Lines::Stderr);
    assert_eq!(code, Some(1), "{said}");
    let errors: Vec<&str> = said.lines().filter(|l| l.starts_with("inferscope: ")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    for word in words {
        assert!(errors[0].contains(word), "`{word}` is missing in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// The agent under these conditions watches as ever.
fn watches(server: &Server, agent: &Agent) {
    let (o, r) = recorded(agent, server, &Request::chat("m", "one two three", 20, true));
    assert_eq!((&r.id, r.input_tokens, r.output_tokens, r.chunks), (&o.id, Some(3), Some(20), 20));
}

fn watching(server: &Server) -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, QUIET).unwrap();
    let args = ["--config", &config.display().to_string(), "--pid", &server.pid().to_string()];
    (folder, args.map(str::to_owned).to_vec())
}

#[test]
fn without_root() {
    let Some(_guard) = live::begin("without_root") else { return };
    // Where nobody may read it.
    let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let copy = folder.path().join("inferscope");
    std::fs::copy(locate::agent().unwrap(), &copy).unwrap();
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new(&copy);
        confine::as_nobody(command.args(args));
        command
    };
    let pid = std::process::id().to_string();
    refused(as_nobody(&["run", "--listen", "127.0.0.1:0"]), &["uid 65534", "CAP_BPF", "run as root"]);
    refused(as_nobody(&["attach", "--pid", &pid]), &["uid 65534", "CAP_BPF", "run as root"]);
    let (code, said) = ended(as_nobody(&["check"]), Lines::Stdout);
    assert_eq!(code, Some(1));
    assert!(said.contains("MISSING") && said.contains("run as root"), "{said}");
    assert_eq!(ended(as_nobody(&["ps"]), Lines::Stdout).0, Some(0), "ps needs no root");
}

#[test]
fn without_btf() {
    let Some(_guard) = live::begin("without_btf") else { return };
    let run = ["run", "--listen", "127.0.0.1:0"];
    let mut hidden = inferscope(&run);
    confine::hide(&mut hidden, "/sys/kernel/btf").unwrap();
    refused(hidden, &["CONFIG_DEBUG_INFO_BTF", "--btf FILE"]);
    let folder = tempfile::tempdir().unwrap();
    let own = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
    let files = [
        ("garbage", b"this is no BTF at all, whatever its name says".to_vec()),
        ("empty", Vec::new()),
        ("cut", own[..own.len() / 3].to_vec()),
        ("zeroed", own.iter().enumerate().map(|(i, b)| if i > 64 { 0 } else { *b }).collect()),
    ];
    for (name, bytes) in files {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        refused(inferscope(&[&run[..], &["--btf", &file.display().to_string()]].concat()), &["BTF"]);
    }
    refused(inferscope(&[&run[..], &["--btf", "/nonexistent/btf"]].concat()), &["/nonexistent/btf", "No such file"]);
}

/// This kernel's BTF from a file, as a host gives it whose kernel was built without.
#[test]
fn with_btf_from_a_file() {
    let Some(_guard) = live::begin("with_btf_from_a_file") else { return };
    let server = Server::start(&[]).unwrap();
    let (folder, mut args) = watching(&server);
    let file = folder.path().join("btf");
    std::fs::copy("/sys/kernel/btf/vmlinux", &file).unwrap();
    args.extend(["--btf".to_owned(), file.display().to_string()]);
    let agent = Agent::prepared(&args, |command| confine::hide(command, "/sys/kernel/btf")).unwrap();
    watches(&server, &agent);
    let m = agent.scrape().unwrap();
    let hooks = m.label_values("inferscope_probe_up", "hook");
    assert!(hooks.iter().all(|hook| !hook.starts_with("tp_btf")), "{hooks:?}");
    assert_eq!(m.sum("inferscope_probe_up", &[("hook", "raw_tp:sys_enter")]), Some(1.0));
}

#[test]
fn without_tracefs() {
    let Some(_guard) = live::begin("without_tracefs") else { return };
    let mut command = inferscope(&["check"]);
    confine::unmount(&mut command, "tracefs").unwrap();
    let (code, said) = ended(command, Lines::Stdout);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("not mounted; none of the probes needs it"), "{said}");
    let server = Server::start(&[]).unwrap();
    let (_folder, args) = watching(&server);
    watches(&server, &Agent::prepared(&args, |command| confine::unmount(command, "tracefs")).unwrap());
}

/// Since 5.11 maps count as the memory cgroup's; before, the agent says what to raise.
#[test]
fn with_little_locked_memory() {
    let Some(_guard) = live::begin("with_little_locked_memory") else { return };
    let server = Server::start(&[]).unwrap();
    let (_folder, args) = watching(&server);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    if release.starts_with("5.10.") {
        let mut command = inferscope(&["run", "--listen", "127.0.0.1:0"]);
        confine::little_locked_memory(&mut command);
        return refused(command, &["CAP_SYS_RESOURCE", "LimitMEMLOCK=infinity"]);
    }
    let agent = Agent::prepared(&args, |command| {
        confine::little_locked_memory(command);
        Ok(())
    });
    watches(&server, &agent.unwrap());
}

#[test]
fn a_refused_probe_costs_its_own_figures_only() {
    let Some(_guard) = live::begin("a_refused_probe_costs_its_own_figures_only") else { return };
    let server = Server::start(&[]).unwrap();
    let (_folder, args) = watching(&server);
    let agent = Agent::prepared(&args, |command| {
        confine::refuse_call(command, libc::SYS_perf_event_open, None);
        Ok(())
    });
    let agent = agent.unwrap();
    watches(&server, &agent);
    let m = agent.scrape().unwrap();
    assert_eq!(m.sum("inferscope_probe_up", &[("probe", "fault")]), Some(0.0));
    assert!(m.count("inferscope_probe_up", &[]) >= 8.0);
    let warnings = agent.running.lines().iter().filter(|l| l.contains("WARN") && l.contains("fault")).count();
    assert_eq!(warnings, 1, "{:?}", agent.running.lines());
    let mut check = inferscope(&["check"]);
    confine::refuse_call(&mut check, libc::SYS_perf_event_open, None);
    let (code, said) = ended(check, Lines::Stdout);
    assert_eq!(code, Some(0), "the main job can run: {said}");
    assert!(said.contains("no major page faults"), "{said}");
}

#[test]
fn a_refused_probe_that_the_job_needs_ends_the_start() {
    let Some(_guard) = live::begin("a_refused_probe_that_the_job_needs_ends_the_start") else { return };
    const BPF_RAW_TRACEPOINT_OPEN: u32 = 17;
    let mut run = inferscope(&["run", "--listen", "127.0.0.1:0"]);
    confine::refuse_call(&mut run, libc::SYS_bpf, Some(BPF_RAW_TRACEPOINT_OPEN));
    refused(run, &["the kernel refused the probe", "inferscope check"]);
    let mut check = inferscope(&["check"]);
    confine::refuse_call(&mut check, libc::SYS_bpf, Some(BPF_RAW_TRACEPOINT_OPEN));
    let (code, said) = ended(check, Lines::Stdout);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("probe syscall/sys_enter") && said.contains("Operation not permitted"), "{said}");
}

#[test]
fn a_port_in_use() {
    let Some(_guard) = live::begin("a_port_in_use") else { return };
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    refused(inferscope(&["run", "--listen", &address]), &[&address, "--listen", "in use"]);
}

#[test]
fn a_process_that_is_not_there() {
    let Some(_guard) = live::begin("a_process_that_is_not_there") else { return };
    let mut gone = Workload::start(&["exit"]).unwrap();
    gone.finish().unwrap();
    let pid = gone.pid().to_string();
    let words = ["no process", &pid, "inferscope ps"];
    refused(inferscope(&["run", "--listen", "127.0.0.1:0", "--pid", &pid]), &words);
    refused(inferscope(&["attach", "--pid", &pid]), &words);
    // Thread 2 is the kernel's kthreadd.
    refused(inferscope(&["attach", "--pid", "2"]), &["no process 2", "kernel thread"]);
}

/// Whenever the process ends, before, while or after it begins to be watched: attach ends with it.
#[test]
fn a_process_that_ends_at_once() {
    let Some(_guard) = live::begin("a_process_that_ends_at_once") else { return };
    for after_ms in [0, 100, 200, 300, 400, 500, 700] {
        let mut short = Workload::start(&["exit"]).unwrap();
        let pid = short.pid().to_string();
        let mut attach = Running::start(inferscope(&["attach", "--pid", &pid]), Lines::Stderr).unwrap();
        support::clock::sleep_until_ns(support::clock::now_ns() + after_ms * 1_000_000);
        short.finish().unwrap();
        let status = attach.wait(SOON).unwrap();
        let said = attach.lines().join("\n");
        let known = said.contains(&format!("no process {pid}"));
        assert!(known || said.contains(&format!("process {pid} has ended")), "{after_ms} ms: {said}");
        assert_eq!(status.success(), !known, "{after_ms} ms: {said}");
    }
}

#[test]
fn a_configuration_of_wrong_types() {
    let Some(_guard) = live::begin("a_configuration_of_wrong_types") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml").display().to_string();
    std::fs::write(&file, "listen = 5\n[capture]\nhead_bytes = \"x\"\n[nvml]\nenable = true\n").unwrap();
    let (code, said) = ended(inferscope(&["run", "--config", &file]), Lines::Stderr);
    assert_eq!(code, Some(1), "{said}");
    for (line, words) in [(1, "`listen` wants"), (3, "`capture.head_bytes` wants"), (5, "`nvml.enabled`?")] {
        let named = said.lines().any(|l| l.contains(&format!("{file}:{line}: ")) && l.contains(words));
        assert!(named, "line {line}: {said}");
    }
    std::fs::write(&file, "[nvml\n").unwrap();
    refused(inferscope(&["run", "--config", &file]), &[&format!("{file}:1: ")]);
    refused(inferscope(&["run", "--config", "/nonexistent.toml"]), &["/nonexistent.toml", "No such file"]);
}
