//! Discovery on proc trees built here and on real processes that the tests start themselves.
//! No root needed: a process may always read its own children.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use agent::discover::{DiscoverError, Discovery, Evidence, Found, Include, NameRule, Rules};

/// A proc tree in a temporary directory.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        Tree(tempfile::tempdir().unwrap())
    }

    fn process(&self, pid: u32, ppid: u32, exe: &str, argv: &[&str]) -> &Self {
        let dir = self.0.path().join(pid.to_string());
        fs::create_dir_all(dir.join("fd")).unwrap();
        fs::create_dir_all(dir.join("net")).unwrap();
        let end = if argv.is_empty() { "" } else { "\0" };
        fs::write(dir.join("cmdline"), argv.join("\0") + end).unwrap();
        let start = u64::from(pid) * 10;
        let stat = format!("{pid} (comm) S {ppid} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0");
        fs::write(dir.join("stat"), stat).unwrap();
        fs::write(dir.join("cgroup"), "0::/user.slice\n").unwrap();
        if !exe.is_empty() {
            symlink(exe, dir.join("exe")).unwrap();
        }
        self
    }

    fn listens(&self, pid: u32, port: u16) -> &Self {
        let dir = self.0.path().join(pid.to_string());
        let line = format!("  0: 0100007F:{port:04X} 00000000:0000 0A 0:0 00:0 0 0 0 {port} 1 0\n");
        fs::write(dir.join("net/tcp"), format!("  sl  local_address rem_address st\n{line}")).unwrap();
        symlink(format!("socket:[{port}]"), dir.join("fd/3")).unwrap();
        self
    }

    fn discovery(&self, rules: Rules) -> Discovery {
        Discovery::with_proc_root(rules, self.0.path().to_owned())
    }
}

const PYTHON: &str = "/usr/bin/python3.11";

/// Wrappers, servers, their engine processes, and bystanders.
fn a_busy_host() -> Tree {
    let tree = Tree::new();
    tree.process(1, 0, "/sbin/init", &["init"])
        .process(2, 0, "", &[])
        .process(100, 1, "/root/.local/bin/uv", &["uv", "run", "vllm", "serve", "Qwen/Qwen3-8B"])
        .process(101, 100, PYTHON, &["/v/bin/python", "/v/bin/vllm", "serve", "Qwen/Qwen3-8B"])
        .listens(101, 8000)
        .process(102, 101, PYTHON, &["VLLM::EngineCore"])
        .process(103, 102, PYTHON, &["VLLM::Worker_TP0"])
        .process(104, 101, PYTHON, &["python", "-c", "from multiprocessing.resource_tracker import main"])
        .process(200, 1, "/usr/bin/vim", &["vim", "vllm.py"])
        .process(201, 1, "/bin/bash", &["bash", "-c", "llama-server -m x.gguf"])
        .process(202, 201, "/o/llama-server", &["llama-server", "-m", "x.gguf", "--port", "8081"])
        .process(300, 1, "/usr/local/bin/ollama", &["ollama", "serve"])
        .listens(300, 11434)
        .process(
            301,
            300,
            "/usr/local/bin/ollama",
            &["ollama", "runner", "--model", "/m/llama3.gguf", "--port", "40001"],
        )
        .listens(301, 40001)
        .process(400, 1, PYTHON, &["python3", "app.py"])
        .listens(400, 9000);
    tree
}

fn services(found: &[Found]) -> Vec<(&str, u32, &[u32], &[u16])> {
    found.iter().map(|f| (f.service.as_str(), f.process.pid, f.children.as_slice(), f.ports.as_slice())).collect()
}

#[test]
fn a_scan_finds_roots_and_their_children() {
    let tree = a_busy_host();
    let mut discovery = tree.discovery(Rules::default());
    let found = discovery.scan();
    assert_eq!(
        services(&found),
        [
            ("vllm-Qwen3-8B", 101, &[102, 103, 104][..], &[8000][..]),
            ("llama_cpp-x", 202, &[], &[]),
            ("ollama-11434", 300, &[301], &[11434, 40001]),
        ]
    );
    assert_eq!(found[2].model.as_deref(), Some("llama3"));
    assert_eq!(discovery.scan(), found);
    // The same processes give the same names to another agent.
    assert_eq!(tree.discovery(Rules::default()).scan(), found);
    assert_eq!(discovery.descendants(101), [102, 103, 104]);
}

#[test]
fn a_look_at_one_process_gives_its_service() {
    let tree = a_busy_host();
    let mut discovery = tree.discovery(Rules::default());
    for (pid, root) in
        [(101, Some(101)), (103, Some(101)), (301, Some(300)), (100, None), (400, None), (2, None), (9, None)]
    {
        assert_eq!(discovery.inspect(pid).map(|found| found.process.pid), root, "{pid}");
    }
}

#[test]
fn the_operators_rules_hold() {
    let tree = a_busy_host();
    let rules = Rules {
        enabled: false,
        wire: false,
        interval: std::time::Duration::from_secs(10),
        exclude: vec!["*/llama-server".into()],
        include: Include { pids: vec![101], exe: vec!["app.py".into()], ports: vec![11434] },
        service: vec![NameRule { name: "notes".into(), port: Some(9000), ..NameRule::default() }],
    };
    let discovery = tree.discovery(rules.clone());
    assert!(discovery.worth_a_look(b"/srv/app.py") && !discovery.worth_a_look(b"/bin/ls"));
    let names: Vec<String> = tree.discovery(rules.clone()).scan().into_iter().map(|f| f.service).collect();
    assert_eq!(names, ["vllm-Qwen3-8B", "ollama-11434", "notes"]);
    let rules = Rules { enabled: true, include: Include::default(), ..rules };
    let pids: Vec<u32> = tree.discovery(rules).scan().into_iter().map(|f| f.process.pid).collect();
    assert_eq!(pids, [101, 300]);
}

#[test]
fn new_rules_say_what_is_wanted_still() {
    let tree = a_busy_host();
    let mut discovery = tree.discovery(Rules::default());
    let found = discovery.scan();
    let mut wanted = |rules: Rules| -> Vec<u32> {
        discovery.set_rules(rules);
        found.iter().filter(|found| discovery.is_wanted(found)).map(|found| found.process.pid).collect()
    };
    assert_eq!(wanted(Rules { exclude: vec!["*/llama-server".into()], ..Rules::default() }), [101, 300]);
    // A title hides the arguments by which it was recognised.
    fs::write(tree.0.path().join("202/cmdline"), "busy\0").unwrap();
    assert_eq!(wanted(Rules { wire: false, ..Rules::default() }), [101, 202, 300]);
    let include = Include { ports: vec![11434], ..Include::default() };
    assert_eq!(wanted(Rules { enabled: false, include, ..Rules::default() }), [300]);
    assert_eq!(wanted(Rules { enabled: false, ..Rules::default() }), [0u32; 0]);
}

#[test]
fn given_and_wire_processes_need_no_engine() {
    let tree = a_busy_host();
    let mut discovery = tree.discovery(Rules::default());
    let given = discovery.given(400).unwrap();
    assert_eq!((given.service.as_str(), given.engine, given.evidence), ("python3.11-9000", "unknown", Evidence::Given));
    assert_eq!(discovery.given(999), Err(DiscoverError::NotThere(999)));
    let wire = discovery.from_wire(400, "openai_chat", 9000).unwrap();
    assert_eq!((wire.service, wire.dialect.as_deref()), (given.service, Some("openai_chat")));
    // A process of a known service stays with it.
    assert_eq!(discovery.from_wire(103, "openai_chat", 8000).unwrap().process.pid, 101);
    assert_eq!(discovery.from_wire(999, "openai_chat", 8000), None);
}

/// The id is used again: another start, another process.
fn used_again(tree: &Tree, pid: u32) {
    let stat = format!("{pid} (sh) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 77777 0 0");
    fs::write(tree.0.path().join(format!("{pid}/stat")), stat).unwrap();
}

#[test]
fn the_next_owner_of_a_given_id_is_another_process() {
    let tree = a_busy_host();
    let rules = |pids: &[u32]| Rules {
        enabled: false,
        include: Include { pids: pids.to_vec(), ..Include::default() },
        ..Rules::default()
    };
    let pids = |discovery: &mut Discovery| -> Vec<u32> { discovery.scan().iter().map(|f| f.process.pid).collect() };
    let mut discovery = tree.discovery(rules(&[200, 400]));
    assert_eq!(pids(&mut discovery), [200, 400]);
    used_again(&tree, 400);
    assert_eq!(pids(&mut discovery), [200]);
    assert_eq!(discovery.inspect(400), None);
    // A reload that gives the same ids means the same processes; one that gives others, those that run then.
    discovery.set_rules(rules(&[400, 200, 202]));
    assert_eq!(pids(&mut discovery), [200, 202]);
    discovery.set_rules(rules(&[]));
    discovery.set_rules(rules(&[400]));
    assert_eq!(pids(&mut discovery), [400]);
}

#[test]
fn what_comes_later_is_seen_at_a_refresh() {
    let tree = a_busy_host();
    let mut discovery = tree.discovery(Rules::default());
    let mut found = discovery.inspect(202).unwrap();
    tree.listens(202, 8081).process(203, 202, "/o/llama-server", &["llama-server"]);
    assert!(discovery.refresh(&mut found));
    assert_eq!((found.ports.as_slice(), found.children.as_slice()), (&[8081][..], &[203][..]));
    used_again(&tree, 202);
    let before = found.clone();
    assert!(!discovery.refresh(&mut found));
    assert_eq!(found, before);
}

#[test]
fn a_turn_takes_out_what_has_ended_and_tells_only_what_is_new() {
    let tree = a_busy_host();
    let mut discovery = tree.discovery(Rules::default());
    let mut known = discovery.scan();
    let before = known.clone();
    assert_eq!(discovery.turn(&mut known, false).found, []);
    assert_eq!(known, before);
    fs::remove_dir_all(tree.0.path().join("202")).unwrap();
    tree.process(500, 1, "/o/llama-server", &["llama-server", "-m", "x.gguf", "--port", "8082"]);
    let turn = discovery.turn(&mut known, false);
    assert!(known.iter().all(|found| found.process.pid != 202) && known.len() == before.len() - 1);
    // The name is free for the server's successor.
    let named: Vec<(u32, &str)> = turn.found.iter().map(|found| (found.process.pid, &*found.service)).collect();
    assert_eq!(named, [(500, "llama_cpp-x")]);
    // Another process under a known id is new, and not what it was.
    known.extend(turn.found);
    used_again(&tree, 500);
    discovery.turn(&mut known, false);
    assert!(known.iter().all(|found| found.process.pid != 500));
}

#[test]
fn a_thread_is_no_process_that_can_be_given() {
    let tree = a_busy_host();
    // As top lists them: /proc has a folder for the id of a thread, in which all but this reads like the process.
    tree.process(401, 1, PYTHON, &["python3", "app.py"]);
    fs::write(tree.0.path().join("401/status"), "Name:\tapp\\nTgid:\t401\nTgid:\t400\nPid:\t401\n").unwrap();
    fs::write(tree.0.path().join("400/status"), "Name:\tapp\nTgid:\t400\nPid:\t400\n").unwrap();
    let mut discovery = tree.discovery(Rules::default());
    let error = discovery.given(401).unwrap_err();
    assert_eq!(error, DiscoverError::Thread { pid: 401, tgid: 400 });
    assert_eq!(error.to_string(), "401 is a thread of process 400: give 400, all of whose threads are watched");
    assert_eq!(discovery.given(400).unwrap().process.pid, 400);

    // And as this kernel tells.
    let (told, tid) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let own = fs::read_link("/proc/thread-self").unwrap();
        told.send(own.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap()).unwrap();
        let _ = ended.recv();
    });
    let (pid, tgid) = (tid.recv().unwrap(), std::process::id());
    let mut discovery = Discovery::new(Rules { enabled: false, ..Rules::default() });
    assert_eq!(discovery.given(pid), Err(DiscoverError::Thread { pid, tgid }));
    assert_eq!(discovery.given(tgid).unwrap().process.pid, tgid);
    drop(end);
    thread.join().unwrap();
}

/// A child that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Python HTTP server under another name; returns once it listens, with its port.
fn python_server(name: &str) -> Option<(Running, u16)> {
    let code = "import http.server as h\ns=h.HTTPServer(('127.0.0.1',0),h.BaseHTTPRequestHandler)\n\
                print(s.server_port,flush=True)\ns.serve_forever()";
    let mut command = Command::new(real_python()?);
    let mut child = command.arg0(name).args(["-c", code]).stdout(Stdio::piped()).spawn().ok()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    Some((Running(child), line.trim().parse().ok()?))
}

/// The interpreter itself, not a version manager's shell script.
fn real_python() -> Option<String> {
    let found = Command::new("python3").args(["-c", "import sys;print(sys.executable)"]).output().ok()?;
    Some(String::from_utf8(found.stdout).ok()?.trim().to_owned()).filter(|path| Path::new(path).exists())
}

#[test]
fn a_real_process_with_a_title_is_found() {
    let Some((server, port)) = python_server("VLLM::EngineCore") else {
        eprintln!("skipped: no python3 here");
        return;
    };
    let mut discovery = Discovery::new(Rules::default());
    let pid = server.0.id();
    let found = discovery.inspect(pid).unwrap();
    assert_eq!((found.engine, found.evidence, found.ports.as_slice()), ("vllm", Evidence::Title, &[port][..]));
    assert!(discovery.scan().iter().any(|f| f.process.pid == pid && f.service == found.service));
    drop(server);
    assert_eq!(discovery.inspect(pid), None);
    assert!(!discovery.refresh(&mut found.clone()));
}

#[test]
fn a_shell_around_a_server_is_not_a_service_but_its_child_is() {
    let dir = tempfile::tempdir().unwrap();
    let server = dir.path().join("llama-server");
    fs::copy("/bin/sleep", &server).unwrap();
    let script = format!("{} 60 & echo $!; wait", server.display());
    let mut child = Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (shell, inner): (u32, u32) = (child.id(), line.trim().parse().unwrap());
    let mut discovery = Discovery::new(Rules::default());
    let mut pids = BTreeSet::new();
    // The shell's fork and exec are two steps.
    for _ in 0..100 {
        pids = discovery.scan().into_iter().map(|found| found.process.pid).collect();
        if pids.contains(&inner) {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    assert!(pids.contains(&inner) && !pids.contains(&shell), "{pids:?}");
    Command::new("kill").arg(inner.to_string()).status().unwrap();
    child.wait().unwrap();
}
