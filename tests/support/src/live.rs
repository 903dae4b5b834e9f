//! What every live test begins with (one at a time, as root, and a skip that says why where that cannot be), and what
//! it does most: send a request and hold the record to it. Panics are these tests' verdicts.

use crate::agent::Agent;
use crate::client::{Client, Request};
use crate::compare::{Comparison, compare};
use crate::outcome::Outcome;
use crate::record::Record;
use crate::server::Server;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Leave to run, or None after a line `SKIPPED name: reason` on standard error. Timing tests on few cores disturb
/// each other, so the guard must live as long as the test.
#[must_use]
pub fn begin(name: &str) -> Option<MutexGuard<'static, ()>> {
    if let Some(why) = missing() {
        skip(name, why);
        return None;
    }
    Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Says that a test did not run. Past the test harness' capture, so that a counting caller sees it.
pub fn skip(name: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}

/// One request on a connection of its own.
pub fn send(server: &Server, request: &Request) -> Outcome {
    Client::new(&server.target).send(request).unwrap_or_else(|e| panic!("{}: {e:#}", request.path))
}

/// One request, and whether it has a record that agrees with what the client saw. For replies without an id, the
/// record is the newest one, so nothing else may be going on.
pub fn recorded(agent: &Agent, server: &Server, request: &Request) -> (Outcome, Record) {
    let before = agent.records().expect("records are readable").len();
    let o = send(server, request);
    let new = agent.wait_records(before + 1, |_| true).expect("a record");
    assert_eq!(new.len(), before + 1, "one request, one record: {:?}", &new[before..]);
    (o, new[before].clone())
}

/// Fails unless every outcome has exactly one record with equal fields, no record is left over and nothing was lost.
pub fn assert_exact(agent: &Agent, outcomes: &[Outcome]) -> Comparison {
    let records = agent.records_of(outcomes).expect("records are readable");
    let comparison = compare(outcomes, &records);
    assert!(comparison.exact(), "{comparison}");
    let lost = agent.lost().expect("metrics are readable");
    assert_eq!(lost, 0.0, "events were lost");
    comparison
}

fn missing() -> Option<&'static str> {
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Some("live tests need root");
    }
    None
}
