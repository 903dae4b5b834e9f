//! Live: servers of no known name that begin to listen late, in a network namespace of their own, are found by the kernel's
//! word alone, or, where that was lost, because it is known to be lost. No scan of all processes comes between.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use std::time::Duration;
use support::agent::Agent;
use support::client::{Client, Request};
use support::compare::compare;
use support::confine::within_network;
use support::live;
use support::metrics::Metrics;
use support::server::{Server, Silent};
use support::workload::{Workload, figure};

const SOON: Duration = Duration::from_secs(60);
const SELDOM: &str = "[nvml]\nenabled = false\n[discover]\ninterval = \"24h\"\n";

/// The agent's counts once it shows this server: what it is only its answers show, so it is asked until then.
fn found(agent: &Agent, server: &Server) -> Metrics {
    let pid = server.pid().to_string();
    let request = Request::post("/v1/chat/completions", &json!({ "model": "echo", "say": "hello" }), false);
    let asked = || {
        within_network(server.pid(), || Client::new(&server.target).send(&request))?;
        Ok(Some(agent.scrape()?).filter(|m| m.sum("inferscope_service_info", &[("pid", &pid)]) == Some(1.0)))
    };
    agent.wait(&format!("the server {pid} is found"), SOON, asked).unwrap()
}

/// An agent that has looked at everything once: it knows a server that listened before.
fn settled(config: &str) -> (Agent, Server) {
    let first = Server::echo().unwrap();
    let agent = Agent::configured(&[], config).unwrap();
    found(&agent, &first);
    (agent, first)
}

fn heard(m: &Metrics) -> f64 {
    m.count("inferscope_events_total", &[("kind", "listen")])
}

fn payloads(m: &Metrics) -> f64 {
    m.count("inferscope_events_total", &[("kind", "payload")])
}

fn unheard(m: &Metrics) -> f64 {
    m.count("inferscope_events_lost_total", &[("where", "ring_listen")])
}

#[test]
fn a_late_listener_in_its_own_network_is_found_by_the_kernels_word() {
    let Some(_guard) = live::begin("a_late_listener_in_its_own_network_is_found_by_the_kernels_word") else { return };
    let silent = Silent::start().unwrap();
    let (agent, _first) = settled(SELDOM);
    let before = heard(&agent.scrape().unwrap());
    let m = found(&agent, &silent.speak().unwrap());
    assert!(heard(&m) > before && unheard(&m) == 0.0, "{} heard, {} not", heard(&m), unheard(&m));
}

/// This process listens too and is nobody's: what it answers would show what it is, what it asks others would not.
#[test]
fn what_an_unrecognised_listener_asks_others_is_not_copied() {
    const CHUNKS: u64 = 1000;
    let Some(_guard) = live::begin("what_an_unrecognised_listener_asks_others_is_not_copied") else { return };
    let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(&[]).unwrap();
    let (agent, _first) = settled(SELDOM);
    found(&agent, &server);
    let seen = || payloads(&agent.scrape().unwrap());
    let before = seen();
    // Slow enough to be read one by one.
    let request = Request::chat("m", "one two three", CHUNKS, true).test("delay-us", 200);
    let outcomes = [0; 4].map(|_| live::send(&server, &request));
    let records = agent.records_of(&outcomes).unwrap();
    assert_eq!(records.iter().filter(|r| r.chunks == CHUNKS).count(), 4);
    let (seen, sent) = (seen() - before, (4 * CHUNKS) as f64);
    // Something is left to others that listen on this host.
    assert!((sent..sent * 1.25).contains(&seen), "{seen} events of {sent} chunks");
}

/// Chunks are written all the while that the server is found.
#[test]
fn what_is_in_flight_when_a_listener_is_recognised_is_whole() {
    const STREAMS: u64 = 4;
    let Some(_guard) = live::begin("what_is_in_flight_when_a_listener_is_recognised_is_whole") else { return };
    let server = Server::start(&[]).unwrap();
    let (agent, _first) = settled(SELDOM);
    // What is asked here is no LLM request: once it is seen, the server is listened to.
    let before = payloads(&agent.scrape().unwrap());
    let listened = || server.stats().and_then(|_| Ok(Some(agent.scrape()?).filter(|m| payloads(m) > before)));
    agent.wait("the server is listened to", SOON, listened).unwrap();
    let long = Request::chat("m", "one two three", 1000, true).test("delay-us", 1000);
    let send = || live::send(&server, &long);
    let outcomes = std::thread::scope(|scope| {
        let streams: Vec<_> = (0..STREAMS).map(|_| scope.spawn(send)).collect();
        let running = || Ok(Some(server.stats()?).filter(|stats| stats.llm_requests == STREAMS));
        agent.wait("all streams run", SOON, running).unwrap();
        let short = live::send(&server, &Request::chat("m", "one", 1, true));
        let long = streams.into_iter().map(|stream| stream.join().unwrap());
        long.chain([short]).collect::<Vec<_>>()
    });
    let records: Vec<_> = agent.records_of(&outcomes).unwrap().into_iter().filter(|r| r.pid == server.pid()).collect();
    let comparison = compare(&outcomes, &records);
    assert!(comparison.exact(), "{comparison}");
    assert!(records.iter().all(|r| !r.gap), "{records:?}");
}

#[test]
fn a_listener_whose_event_was_lost_is_found_because_it_was() {
    let Some(_guard) = live::begin("a_listener_whose_event_was_lost_is_found_because_it_was") else { return };
    const MANY: u64 = 20_000;
    let silent = Silent::start().unwrap();
    let mut flood = Workload::start(&["listen", "--count", &MANY.to_string()]).unwrap();
    let (agent, _first) = settled(&format!("{SELDOM}[capture]\nring_bytes = 262144\n"));
    let before = heard(&agent.scrape().unwrap());
    agent.running.signal(libc::SIGSTOP);
    let flooded = flood.work().and_then(|truth| Ok((truth, silent.speak()?)));
    agent.running.signal(libc::SIGCONT);
    let (truth, server) = flooded.unwrap();
    assert_eq!(figure(&truth, "count"), MANY);
    let m = found(&agent, &server);
    let (seen, lost) = (heard(&m) - before, unheard(&m));
    // Other programs of the host may listen too.
    assert!(seen > 0.0 && lost > 0.0 && seen + lost > MANY as f64, "{seen} heard, {lost} lost");
    assert!(flood.finish().unwrap().success());
}
