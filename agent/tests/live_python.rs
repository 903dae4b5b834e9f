//! Live: servers in Python: waits for the interpreter lock, which show from outside only by how they end, and workers that
//! listen on nothing.
#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command, time::Duration};
use support::{agent::Agent, client::Request, live, page, server::Server};

/// One of the scripts in tests/data/servers.
fn started(script: &str, arguments: &[&str]) -> Server {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/servers").join(script)).args(arguments);
    Server::run(command).unwrap()
}

/// Seconds of such waits that an answer has, by the server's sort; the answer took the rest of the second figure otherwise.
fn waited(what: &str) -> (f64, f64) {
    let server = started("gil.py", &[what]);
    let agent = Agent::watch(&[server.pid()]).unwrap();
    if what == "polls" {
        // A poller is told by what it does for half a second.
        page::get(&server.target, "/polled").unwrap();
    }
    let (_, record) = live::recorded(&agent, &server, &Request::chat("m", "one", 4, false));
    (record.host("total", "interpreter_wait_s").unwrap(), record.duration_s)
}

#[test]
fn who_waits_for_the_interpreter_is_told_from_who_polls() {
    let Some(_guard) = live::begin("who_waits_for_the_interpreter_is_told_from_who_polls") else { return };
    let (wait_s, duration_s) = waited("holds");
    // The other thread has the interpreter for 5 ms at a time.
    assert!(wait_s > 0.3 && wait_s < duration_s, "{wait_s} s of {duration_s} s");
    let (wait_s, duration_s) = waited("polls");
    assert!(wait_s < 0.1 * duration_s, "{wait_s} s of {duration_s} s");
}

/// Of a server that hands each connection to workers which listen on nothing.
#[test]
fn workers_of_an_unrecognised_listener_are_looked_at() {
    let Some(_guard) = live::begin("workers_of_an_unrecognised_listener_are_looked_at") else { return };
    let server = started("handed.py", &[]);
    let agent = Agent::configured(&[], "[nvml]\nenabled = false\n").unwrap();
    let request = Request::chat("m", "one", 4, false);
    // What they are only their answers show, so they are asked until then.
    let known = || {
        live::send(&server, &request);
        Ok(Some(agent.records()?).filter(|records| !records.is_empty()))
    };
    agent.wait("the workers are found", Duration::from_secs(60), known).unwrap();
    let outcomes = [0; 4].map(|_| live::send(&server, &request));
    let records = agent.records_of(&outcomes).unwrap();
    let theirs = outcomes.iter().map(|outcome| records.iter().filter(|record| record.id == outcome.id).count());
    assert_eq!(theirs.collect::<Vec<_>>(), [1; 4], "{records:?}");
    assert!(records.iter().all(|record| record.pid != server.pid()), "the workers answer");
}
