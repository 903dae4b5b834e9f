//! Live: who is watched while room changes. What finds no room is counted once and watched as soon as there is some.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use support::agent::Agent;
use support::client::Request;
use support::live::{self, recorded};
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

/// An agent with its configuration.
struct Configured {
    agent: Agent,
    _folder: tempfile::TempDir,
}

impl Configured {
    fn start(discover: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, format!("{QUIET}{discover}")).unwrap();
        let agent = Agent::start(&["--config".to_owned(), file.display().to_string()]).unwrap();
        Self { agent, _folder: folder }
    }

    fn wait(&self, what: &str, accept: impl Fn(&Metrics) -> bool) -> Metrics {
        self.agent.wait_metrics(what, SOON, accept).unwrap()
    }
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
