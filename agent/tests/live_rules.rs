//! Live: who is watched while rules and room change. What new rules do not want is let go and found again when they do;
//! what finds no room is counted once and watched as soon as there is some.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;
use support::agent::Agent;
use support::client::{Client, Request};
use support::live::{self, recorded, send};
use support::metrics::Metrics;
use support::server::Server;

const SOON: Duration = Duration::from_secs(30);
const QUIET: &str = "[nvml]\nenabled = false\n[discover]\n";

fn chat() -> Request {
    Request::chat("m", "one two three", 20, true)
}

fn watches(m: &Metrics, server: &Server) -> bool {
    m.sum("inferscope_service_info", &[("pid", &server.pid().to_string())]).is_some()
}

fn lost(m: &Metrics, place: &str) -> f64 {
    m.count("inferscope_events_lost_total", &[("where", place)])
}

/// An agent whose configuration can be changed.
struct Configured {
    agent: Agent,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Configured {
    fn start(discover: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, format!("{QUIET}{discover}")).unwrap();
        let agent = Agent::start(&["--config".to_owned(), file.display().to_string()]).unwrap();
        Self { agent, file, _folder: folder }
    }

    fn reload(&self, discover: &str) {
        std::fs::write(&self.file, format!("{QUIET}{discover}")).unwrap();
        self.agent.running.signal(libc::SIGHUP);
    }

    fn wait(&self, what: &str, accept: impl Fn(&Metrics) -> bool) -> Metrics {
        self.agent.wait_metrics(what, SOON, accept).unwrap()
    }
}

/// A port, an executable, an id, an exclusion: each rule that goes takes its service with it, and what is in flight.
#[test]
fn what_no_rule_wants_any_more_is_let_go() {
    let Some(_guard) = live::begin("what_no_rule_wants_any_more_is_let_go") else { return };
    let (server, witness) = (Server::start(&["-s", "delay-us=20000"]).unwrap(), Server::start(&[]).unwrap());
    let (port, stays) = (server.target.port().unwrap(), witness.target.port().unwrap());
    let exe = std::fs::read_link(format!("/proc/{}/exe", server.pid())).unwrap().display().to_string();
    let include = |rule: String| format!("enabled = false\n[discover.include]\n{rule}\n");
    let both = include(format!("ports = [{port}, {stays}]"));
    let run = Configured::start(&both);
    for wanted in [
        both.clone(),
        include(format!("ports = [{stays}]\npids = [{}]", server.pid())),
        include(format!("exe = [\"{exe}\"]")),
    ] {
        run.reload(&wanted);
        run.wait(&wanted, |m| watches(m, &server) && watches(m, &witness));
        let (o, r) = recorded(&run.agent, &server, &Request::chat("m", "hi", 3, true));
        assert_eq!((r.id, r.pid), (o.id, server.pid()));
        let long = std::thread::scope(|scope| {
            let stream = scope.spawn(|| send(&server, &Request::chat("m", "hi", 150, true)));
            run.wait("it is in flight", |m| m.count("http_server_active_requests", &[]) == 1.0);
            run.reload(&include(format!("ports = [{stays}]")));
            run.wait("let go", |m| !watches(m, &server) && watches(m, &witness));
            stream.join().unwrap()
        });
        let unseen = send(&server, &chat());
        let (after, _) = recorded(&run.agent, &witness, &chat());
        let ids: Vec<_> = run.agent.records().unwrap().into_iter().map(|r| r.id).collect();
        assert!(ids.contains(&after.id) && !ids.contains(&long.id) && !ids.contains(&unseen.id), "{wanted}");
    }
    let m = run.agent.scrape().unwrap();
    assert_eq!(m.count("inferscope_exchanges_lost_total", &[]), 3.0, "one was in flight each time");
    assert_eq!(m.count("http_server_active_requests", &[]), 0.0);
    run.reload(&format!("exclude = [\"sse-server\"]\n{both}"));
    run.wait("excluded", |m| !watches(m, &server) && !watches(m, &witness));
    assert_eq!(run.agent.lost().unwrap(), 0.0);
}

/// What was found by what it speaks goes with the rule, and so does what is only listened to.
#[test]
fn servers_found_on_the_wire_go_with_the_rule() {
    let Some(_guard) = live::begin("servers_found_on_the_wire_go_with_the_rule") else { return };
    let server = Server::start(&[]).unwrap();
    let run = Configured::start("wire = true\n");
    // On one connection, as a client that stays.
    let client = RefCell::new(Client::new(&server.target));
    let found = |what: &str| {
        let spoke = |m: &Metrics| {
            client.borrow_mut().send(&chat()).unwrap();
            watches(m, &server)
        };
        run.wait(what, spoke);
    };
    found("it spoke");
    run.reload("wire = false\n");
    run.wait("let go", |m| !watches(m, &server));
    let records = run.agent.records().unwrap().len();
    send(&server, &chat());
    run.reload("wire = true\n");
    found("it spoke again");
    run.reload("enabled = false\n");
    run.wait("let go again", |m| !watches(m, &server));
    assert!(run.agent.records().unwrap().len() > records);
}

/// Three servers and two places, of which one is that of candidates: one after the other, each with its requests.
#[test]
fn a_service_without_room_is_watched_when_there_is_some() {
    let Some(_guard) = live::begin("a_service_without_room_is_watched_when_there_is_some") else { return };
    let mut servers: Vec<Server> = (0..3).map(|_| Server::start(&[]).unwrap()).collect();
    let ports: Vec<String> = servers.iter().map(|s| s.target.port().unwrap().to_string()).collect();
    let ports = ports.join(", ");
    let run =
        Configured::start(&format!("enabled = false\n[discover.include]\nports = [{ports}]\n[limits]\nservices = 2\n"));
    while !servers.is_empty() {
        let watched = |m: &Metrics| servers.iter().position(|server| watches(m, server));
        let m = run.wait("one is watched", |m| watched(m).is_some() && lost(m, "services") == 2.0);
        let server = servers.remove(watched(&m).unwrap());
        let (o, r) = recorded(&run.agent, &server, &chat());
        assert_eq!((r.id, r.pid, r.chunks), (o.id, server.pid(), 20));
    }
    let m = run.agent.scrape().unwrap();
    assert_eq!((lost(&m, "services"), lost(&m, "watch")), (2.0, 0.0), "each once");
    let lines = run.agent.running.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("raise limits.services")).count(), 2, "{lines:?}");
}

/// The same of processes: a service of which none could be watched takes no place.
#[test]
fn a_process_without_room_is_watched_when_there_is_some() {
    let Some(_guard) = live::begin("a_process_without_room_is_watched_when_there_is_some") else { return };
    const ROOM: usize = 16;
    let mut servers: Vec<Server> = (0..ROOM + 2).map(|_| Server::start(&[]).unwrap()).collect();
    let ports: Vec<String> = servers.iter().map(|s| s.target.port().unwrap().to_string()).collect();
    let ports = ports.join(", ");
    let run = Configured::start(&format!(
        "enabled = false\n[discover.include]\nports = [{ports}]\n[limits]\nprocesses = {ROOM}\n"
    ));
    let full = |m: &Metrics| m.count("inferscope_service_info", &[]) == ROOM as f64 && lost(m, "watch") == 2.0;
    let m = run.wait("all but two", full);
    let waiting: Vec<u32> = servers.iter().filter(|server| !watches(&m, server)).map(Server::pid).collect();
    assert_eq!(waiting.len(), 2);
    let first = servers.iter().position(|server| watches(&m, server)).unwrap();
    drop(servers.remove(first));
    let second = servers.iter().position(|server| watches(&m, server)).unwrap();
    drop(servers.remove(second));
    let all = |m: &Metrics| servers.iter().all(|server| watches(m, server));
    let m = run.wait("the last two", all);
    assert_eq!((lost(&m, "watch"), lost(&m, "services")), (2.0, 0.0), "each once");
    for server in servers.iter().filter(|server| waiting.contains(&server.pid())) {
        let (o, r) = recorded(&run.agent, server, &chat());
        assert_eq!((r.id, r.pid, r.chunks), (o.id, server.pid(), 20));
    }
}
