//! Whatever ends a recording leaves a whole file, and what cannot be recorded is told before anything else.

use super::{SOON, attach, end, trace::Trace};
use std::process::Command;
use support::client::Request;
use support::confine;
use support::server::Server;
use support::workload::Workload;
use support::{live, locate};

#[test]
fn a_process_that_ends_leaves_a_whole_file() {
    let Some(_guard) = live::begin("a_process_that_ends_leaves_a_whole_file") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let server = Server::start(&[]).unwrap();
    let mut attach = attach(&[server.pid()], &file, &[]);
    live::send(&server, &Request::chat("m", "hi", 20, true));
    let pid = server.pid();
    drop(server);
    assert!(attach.wait(SOON).unwrap().success());
    let trace = Trace::read(&file);
    assert_eq!(trace.named("chat m").len(), 1);
    assert!(trace.states.iter().any(|state| state.tid == pid && state.what == "ended"));
}

#[test]
fn it_ends_with_the_last_of_several_processes() {
    let Some(_guard) = live::begin("it_ends_with_the_last_of_several_processes") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let mut first = Workload::start(&["block", "--kind", "sleep", "--millis", "5"]).unwrap();
    let mut second = Workload::start(&["block", "--kind", "poll", "--millis", "5"]).unwrap();
    let mut attach = attach(&[first.pid(), second.pid()], &file, &[]);
    first.work().unwrap();
    first.finish().unwrap();
    // It goes on: the second is recorded after the first has ended.
    second.work().unwrap();
    assert!(attach.is_running());
    second.finish().unwrap();
    assert!(attach.wait(SOON).unwrap().success());
    let trace = Trace::read(&file);
    for (pid, reason) in [(first.pid(), "sleep"), (second.pid(), "poll")] {
        let waits = trace.states.iter().filter(|s| s.tid == pid && s.reason.as_deref() == Some(reason)).count();
        assert!(waits >= 15, "{waits} waits of {pid}");
    }
}

#[test]
fn an_exec_in_the_middle_is_the_same_process() {
    let Some(_guard) = live::begin("an_exec_in_the_middle_is_the_same_process") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let mut chain = Workload::start(&["exec-chain", "--depth", "5"]).unwrap();
    let attach = attach(&[chain.pid()], &file, &["--syscalls", "0s"]);
    chain.work().unwrap();
    end(attach);
    assert_eq!(Trace::read(&file).named("execve").len(), 5);
}

#[test]
fn children_are_recorded_too() {
    let Some(_guard) = live::begin("children_are_recorded_too") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let mut tree = Workload::start(&["fork-tree", "--depth", "2", "--width", "3"]).unwrap();
    let attach = attach(&[tree.pid()], &file, &[]);
    let truth = tree.work().unwrap();
    end(attach);
    let trace = Trace::read(&file);
    for pid in truth["pids"].as_array().unwrap() {
        let pid = pid.as_u64().unwrap() as u32;
        assert!(trace.threads.get(&pid) == Some(&pid) && trace.states.iter().any(|s| s.tid == pid), "{pid}");
    }
}

/// What `attach --out FILE` to this process says when it does not begin.
fn refusal(file: &str, prepare: impl FnOnce(&mut Command)) -> String {
    let mut command = Command::new(locate::agent().unwrap());
    command.args(["attach", "--pid", &std::process::id().to_string(), "--out", file]);
    prepare(&mut command);
    let said = command.output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{words}");
    assert!(!words.contains("watching"), "{words}");
    words
}

#[test]
fn a_file_that_cannot_be_made_is_told_before_anything_else() {
    let Some(_guard) = live::begin("a_file_that_cannot_be_made_is_told_before_anything_else") else { return };
    let words = refusal("/nonexistent/trace", |_| {});
    assert!(words.contains("/nonexistent/trace") && words.contains("choose a file"), "{words}");
    let words = refusal("/tmp", |_| {});
    assert!(words.contains("/tmp") && words.contains("choose a file"), "{words}");
}

#[test]
fn a_disk_that_is_all_but_full_is_told_before_anything_else() {
    let name = "a_disk_that_is_all_but_full_is_told_before_anything_else";
    let Some(_guard) = live::begin(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mount = |command: &str, args: &[&str]| Command::new(command).args(args).arg(folder.path()).status();
    if !mount("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).is_ok_and(|status| status.success()) {
        return live::skip(name, "a small file system cannot be mounted");
    }
    let said = ["perfetto", "json", "pprof", "flamegraph"].map(|format| {
        let file = folder.path().join(format);
        let words = refusal(file.to_str().unwrap(), |command| _ = command.args(["--format", format]));
        (words, file.exists())
    });
    assert!(mount("umount", &[]).unwrap().success());
    for (words, left) in said {
        assert!(words.contains("no storage space") && !left, "{words}");
    }
}

#[test]
fn a_disk_that_fills_up_ends_the_recording_and_leaves_what_fits() {
    let Some(_guard) = live::begin("a_disk_that_fills_up_ends_the_recording_and_leaves_what_fits") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let pingpong = Workload::start(&["pipe-pingpong", "--seconds", "60"]).unwrap();
    let mut pingpong = pingpong;
    let mut command = Command::new(locate::agent().unwrap());
    command.args(["attach", "--duration", "10m", "--pid", &pingpong.pid().to_string(), "--out"]).arg(&file);
    confine::small_files(&mut command, 300_000);
    let mut attach = support::child::Running::start(command, support::child::Lines::Stderr).unwrap();
    attach.wait_line(SOON, |line| line.starts_with("watching").then_some(())).unwrap();
    pingpong.running.tell("go").unwrap();
    assert_eq!(attach.wait(SOON).unwrap().code(), Some(1));
    assert!(attach.lines().iter().any(|line| line.contains("is not whole")), "{:?}", attach.lines());
    // What one CPU ran may lack while the same time of another is there, so it is not read as a whole file is.
    assert!(Trace::switches(&file) > 1000);
}

#[test]
fn json_opens_as_json() {
    let Some(_guard) = live::begin("json_opens_as_json") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.json");
    let mut block = Workload::start(&["block", "--kind", "sleep", "--millis", "5"]).unwrap();
    let attach = attach(&[block.pid()], &file, &[]);
    block.work().unwrap();
    end(attach);
    let all: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let waits = all.iter().filter(|event| event["name"] == "blocked: sleep").count();
    assert!(waits >= 30, "{waits} waits");
}
