//! Live: what changes about servers is told. Real processes that begin, end in every way and begin again otherwise, files,
//! limits and executables; and no secret of theirs in anything that the agent says.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use support::{
    agent::Agent,
    child::{Lines, Running},
    client::Request,
    live, page,
    record::{self, Event},
    server::Server,
};

const SOON: Duration = Duration::from_secs(40);
const SECRET: &str = "swordfish-and-mackerel";

/// A server that is recognised as vLLM by its script's name, and named by its port.
struct Fake {
    folder: tempfile::TempDir,
    port: u16,
}

/// Listens, allocates on demand, and ends as it is told on its standard input.
const SCRIPT: &str = r#"import os, signal, socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1]))); s.listen()
print("listening", flush=True)
for line in sys.stdin:
    what, value = line.split()
    if what == "exit": os._exit(int(value))
    if what == "signal": os.kill(os.getpid(), int(value)); signal.pause()
    if what == "take": held = bytearray(os.urandom(1)) * int(value)
"#;

impl Fake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("vllm"), SCRIPT).unwrap();
        fs::write(folder.path().join("config.yaml"), "a: 1").unwrap();
        // An executable of its own, to be replaced.
        let python = fs::canonicalize("/usr/bin/python3").unwrap();
        fs::copy(python, folder.path().join("python3")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder, port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, length: &str, devices: &str) -> Running {
        let mut command = Command::new(self.path("python3"));
        command.arg(self.path("bin/vllm")).args(["serve", "tiny", "--port", &self.port.to_string()]);
        command.args(["--max-model-len", length, "--api-key", SECRET, "--config"]).arg(self.path("config.yaml"));
        command.env("CUDA_VISIBLE_DEVICES", devices).env("VLLM_API_KEY", SECRET).env("HF_TOKEN", SECRET);
        command.env("PYTHONHOME", "/usr");
        let running = Running::start(command, Lines::Stdout).unwrap();
        running.wait_line(SOON, |line| (line == "listening").then_some(())).unwrap();
        running
    }
}

fn agent() -> Agent {
    Agent::configured(&[], "[nvml]\nenabled = false\n[changes]\ninterval = \"1s\"\n").unwrap()
}

fn events(agent: &Agent) -> Vec<Event> {
    record::read_events(agent.records_path()).unwrap()
}

/// The first event of this name for which this holds.
#[track_caller]
fn wait(agent: &Agent, name: &str, is: impl Fn(&Event) -> bool) -> Event {
    let found = || Ok(events(agent).into_iter().find(|event| event.event == name && is(event)));
    match agent.wait(name, SOON, found) {
        Ok(event) => event,
        Err(error) => panic!("{error:#}\ntold: {:#?}", events(agent)),
    }
}

fn text<'a>(event: &'a Event, name: &str) -> &'a str {
    event.attributes[name].as_str().unwrap_or_default()
}

/// The service that the agent makes of a process.
fn served(agent: &Agent, pid: u32) {
    let pid = pid.to_string();
    agent
        .wait_metrics("it is watched", SOON, |m| m.sum("inferscope_service_info", &[("pid", &pid)]).is_some())
        .unwrap();
}

#[test]
fn ends_and_new_beginnings() {
    let Some(_guard) = live::begin("ends_and_new_beginnings") else { return };
    let fake = Fake::new();
    let before = fake.start("1024", "0");
    let first = agent();
    served(&first, before.pid());
    let mut server = before;
    let of = |pid: u32| move |event: &Event| event.pid == Some(pid);
    for (order, cause, signal, code) in [
        ("exit 3", "exit_code", "", Some(3)),
        ("signal 11", "signal", "SIGSEGV", None),
        ("signal 9", "signal", "SIGKILL", None),
    ] {
        let pid = server.pid();
        server.tell(order).unwrap();
        server.wait(SOON).unwrap();
        let exit = wait(&first, "exit", of(pid));
        assert_eq!((text(&exit, "cause"), text(&exit, "signal")), (cause, signal), "{exit:?}");
        assert_eq!((exit.attributes["exit_code"].as_u64(), text(&exit, "process")), (code, "root"), "{exit:?}");
        server = fake.start("2048", "0");
        let restart = wait(&first, "restart", of(server.pid()));
        assert_eq!(restart.attributes["previous_pid"].as_u64(), Some(u64::from(pid)), "{restart:?}");
        assert_eq!((&restart.service, text(&restart, "model")), (&exit.service, "tiny"));
    }
    // This host may have other servers.
    let service = wait(&first, "restart", of(server.pid())).service;
    let ours = |event: &Event| event.service == service;
    let argv = wait(&first, "argv", ours);
    assert_eq!((text(&argv, "added"), text(&argv, "removed")), ("--max-model-len 2048", "--max-model-len 1024"));
    let others = ["start", "environment", "binary", "config_file"];
    assert!(!events(&first).iter().any(|event| ours(event) && others.contains(&event.event.as_str())));

    // Another agent says nothing of what runs, and knows it when it begins again.
    let (status, _) = first.stop().unwrap();
    assert!(status.success());
    let second = agent();
    served(&second, server.pid());
    server.tell("exit 0").unwrap();
    server.wait(SOON).unwrap();
    let again = fake.start("2048", "1");
    wait(&second, "restart", of(again.pid()));
    let environment = wait(&second, "environment", of(again.pid()));
    let told = ["name", "old", "new"].map(|name| text(&environment, name).to_owned());
    assert_eq!(told, ["CUDA_VISIBLE_DEVICES", "0", "1"]);
    let all: Vec<Event> = events(&second).into_iter().filter(ours).collect();
    let names: Vec<&str> = all.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(names, ["exit", "restart", "environment"], "{all:#?}");
    let service = environment.service.clone().unwrap();
    let m = second.scrape().unwrap();
    assert_eq!(m.sum("inferscope_changes_total", &[("service", &service), ("change", "restart")]), Some(1.0));
    let at = m.sum("inferscope_last_change_timestamp_seconds", &[("service", &service), ("change", "exit")]);
    assert!((at.unwrap() - all[0].time_unix_s).abs() < 1e-3);
    unseen(&second, &service);
    drop(again);
}

/// Nothing that the agent says holds the secret.
fn unseen(agent: &Agent, service: &str) {
    let mut said = vec![fs::read_to_string(agent.records_path()).unwrap(), agent.running.lines().join("\n")];
    for path in ["/metrics", "/api/v1/events", "/api/v1/overview", "/api/v1/services"] {
        said.push(page::get(&agent.target, path).unwrap().1);
    }
    let (status, body) = page::get(&agent.target, &format!("/api/v1/events?service={service}&limit=1")).unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, body["events"][0]["service"].as_str()), (200, Some(service)));
    assert!(said.iter().all(|text| !text.contains(SECRET)), "{said:#?}");
    assert!(said[0].contains("--api-key ***"), "it is told of, and masked: {}", said[0]);
}

#[test]
fn files_and_executables() {
    let Some(_guard) = live::begin("files_and_executables") else { return };
    let (fake, agent) = (Fake::new(), agent());
    let server = fake.start("1024", "0");
    wait(&agent, "start", |event| event.pid == Some(server.pid()));
    let config = fake.path("config.yaml");
    fs::File::options().write(true).open(&config).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    // The executable's look comes after the file's: by then the file was looked at with its new time.
    let other = fake.path("python3.new");
    fs::copy(fake.path("python3"), &other).unwrap();
    fs::rename(&other, fake.path("python3")).unwrap();
    let ours = |event: &Event| event.pid == Some(server.pid());
    let replaced = wait(&agent, "binary_replaced", ours);
    assert_eq!((replaced.pid, text(&replaced, "exe")), (Some(server.pid()), fake.path("python3").to_str().unwrap()));
    assert!(!events(&agent).iter().any(|event| ours(event) && event.event == "config_file"));
    fs::write(&config, "a: 22").unwrap();
    let changed = wait(&agent, "config_file", ours);
    assert_eq!(text(&changed, "path"), config.to_str().unwrap());
    assert_eq!(
        (changed.attributes["old_bytes"].as_u64(), changed.attributes["new_bytes"].as_u64()),
        (Some(4), Some(5))
    );
}

/// A group of the v1 hierarchy that this host has, gone at the end.
struct Group(PathBuf);

impl Group {
    fn new(controller: &str) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup").join(controller);
        let folder = root.join(format!("inferscope-test-{}", std::process::id()));
        (root.join("cgroup.procs").exists() && fs::create_dir(&folder).is_ok()).then_some(Self(folder))
    }

    fn set(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn limits_and_the_end_for_want_of_memory() {
    let Some(_guard) = live::begin("limits_and_the_end_for_want_of_memory") else { return };
    let (Some(memory), Some(cpu)) = (Group::new("memory"), Group::new("cpu")) else {
        return live::skip(
            "limits_and_the_end_for_want_of_memory",
            "no cgroup v1 hierarchy of memory and cpu that can be changed",
        );
    };
    let (fake, agent) = (Fake::new(), agent());
    let mut server = fake.start("1024", "0");
    let pid = server.pid();
    for group in [&memory, &cpu] {
        group.set("cgroup.procs", &pid.to_string());
    }
    wait(&agent, "start", |event| event.pid == Some(pid));
    memory.set("memory.limit_in_bytes", "67108864");
    let limit =
        wait(&agent, "limit", |event| event.pid == Some(pid) && text(event, "limit") == "memory.limit_in_bytes");
    assert_eq!(text(&limit, "new"), "67108864 bytes");
    cpu.set("cpu.cfs_quota_us", "150000");
    let limit = wait(&agent, "limit", |event| event.pid == Some(pid) && text(event, "limit") == "cpu.cfs_quota_us");
    assert_eq!((text(&limit, "old"), text(&limit, "new")), ("none", "1.5 CPUs"));
    server.tell("take 268435456").unwrap();
    server.wait(SOON).unwrap();
    let exit = wait(&agent, "exit", |event| event.pid == Some(pid));
    let told = ["cause", "signal", "oom_evidence"].map(|name| text(&exit, name));
    assert_eq!(told, ["oom_kill", "SIGKILL", "cgroup"], "{exit:?}");
    let service = exit.service.clone().unwrap();
    let labels = [("service", service.as_str()), ("cause", "oom_kill"), ("signal", "SIGKILL")];
    assert_eq!(agent.scrape().unwrap().sum("inferscope_process_exits_total", &labels), Some(1.0));
}

#[test]
fn what_requests_load() {
    let Some(_guard) = live::begin("what_requests_load") else { return };
    let server = Server::listen("127.0.0.1:0").unwrap();
    let agent = Agent::watch(&[server.pid()]).unwrap();
    let post = |path: &str, body: Value| drop(live::send(&server, &Request::post(path, &body, false)));
    post("/v1/load_lora_adapter", json!({ "lora_name": "sql", "lora_path": "/l/sql" }));
    post("/v1/unload_lora_adapter", json!({ "lora_name": "sql" }));
    post("/api/pull", json!({ "model": "llama3.2" }));
    post("/models/load", json!({ "model": "nowhere" }));
    for (name, subject, path, status) in [
        ("lora_loaded", "sql", "/v1/load_lora_adapter", 200),
        ("lora_unloaded", "sql", "/v1/unload_lora_adapter", 200),
        ("model_pulled", "llama3.2", "/api/pull", 200),
        ("load_failed", "nowhere", "/models/load", 404),
    ] {
        let event = wait(&agent, name, |_| true);
        let told = (text(&event, "name"), text(&event, "path"), event.attributes["status"].as_u64());
        assert_eq!(told, (subject, path, Some(status)));
        assert_eq!(event.pid, Some(server.pid()));
    }
    assert_eq!(agent.lost().unwrap(), 0.0);
}
