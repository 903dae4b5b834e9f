//! Live: outputs that do not take what they are given. A pipe that nobody reads, a disk that is full: neither the end nor
//! the drain waits for them, every record is whole or counted, and a summary says what was lost.
#![allow(clippy::unwrap_used)]

use std::io::{PipeReader, Read, Write, read_to_string};
use std::process::Command;
use std::time::{Duration, Instant};
use support::agent::Agent;
use support::child::{Lines, Running};
use support::client::{Client, Request};
use support::drain::drain_stream;
use support::live::{self, recorded, send};
use support::metrics::Metrics;
use support::server::Server;
use support::transport::Target;
use support::{confine, locate, page};

const SOON: Duration = Duration::from_secs(30);
/// To end takes no longer, whoever does not read.
const END: Duration = Duration::from_secs(8);
/// Records of requests only.
const QUIET: &str =
    "[discover]\nenabled = false\n[nvml]\nenabled = false\n[changes]\nenabled = false\n[logs]\nenabled = false\n";

fn chat() -> Request {
    Request::chat("m", "one two three", 3, true)
}

/// The program with a standard output that nobody reads as long as it runs.
fn unread(args: &[&str]) -> (Running, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(locate::agent().unwrap());
    command.args(args).stdout(writer);
    (Running::start(command, Lines::Stderr).unwrap(), reader)
}

fn send_many(server: &Server, requests: usize) {
    let mut client = Client::new(&server.target);
    (0..requests).for_each(|_| assert!(client.send(&chat()).unwrap().complete()));
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        std::thread::yield_now();
    }
}

/// The number after `before` in what a program said.
fn number_after(said: &str, before: &str) -> usize {
    let rest = said.split_once(before).unwrap_or_else(|| panic!("no `{before}` in: {said}")).1;
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn an_attach_that_nobody_reads_ends() {
    let Some(_guard) = live::begin("an_attach_that_nobody_reads_ends") else { return };
    let server = Server::start(&[]).unwrap();
    let (mut attach, reader) = unread(&["attach", "--pid", &server.pid().to_string(), "--duration", "10m"]);
    attach.wait_line(SOON, |line| line.starts_with("watching").then_some(())).unwrap();
    // The pipe has room for some 350 of their lines.
    send_many(&server, 800);
    let status = attach.stop(libc::SIGINT, END).unwrap();
    let said = attach.lines().join("\n");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("nobody reads standard output") && said.contains("of 800 requests"), "{said}");
    let text = read_to_string(reader).unwrap();
    assert!(text.ends_with('\n') && text.lines().all(|line| line.starts_with("chat ")), "not whole lines");
    assert_eq!(text.lines().count() + number_after(&said, "the summary and "), 800);
}

#[test]
fn an_attach_says_which_requests_had_not_ended() {
    let Some(_guard) = live::begin("an_attach_says_which_requests_had_not_ended") else { return };
    let server = Server::start(&["-s", "delay-us=10000000"]).unwrap();
    let (mut attach, reader) = unread(&["attach", "--pid", &server.pid().to_string(), "--duration", "10m"]);
    attach.wait_line(SOON, |line| line.starts_with("watching").then_some(())).unwrap();
    let mut client = server.target.connect(SOON).unwrap();
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";
    write!(client, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    // The head of the answer is there, so the request was read.
    client.read_exact(&mut [0; 12]).unwrap();
    assert!(attach.stop(libc::SIGINT, END).unwrap().success());
    let text = read_to_string(reader).unwrap();
    assert!(text.contains("0 requests, ") && text.contains("\n1 request had not ended\n"), "{text}");
    assert!(!text.contains("no requests were seen"), "{text}");
}

#[test]
fn an_attach_says_what_was_lost() {
    let Some(_guard) = live::begin("an_attach_says_what_was_lost") else { return };
    let server = Server::start(&[]).unwrap();
    let mut command = Command::new(locate::agent().unwrap());
    command.args(["attach", "--json", "--pid", &server.pid().to_string(), "--duration", "10m"]);
    let mut attach = Running::start(command, Lines::Stdout).unwrap();
    // With --json it does not say that it watches: its first record does.
    until("it watches", || {
        send(&server, &chat());
        attach.wait_line(Duration::from_millis(300), |line| line.contains("ttft_s").then_some(())).is_ok()
    });
    attach.signal(libc::SIGSTOP);
    let request = Request { close: true, ..Request::chat("m", "hi", 20_000, true) };
    let drained = drain_stream(&server.target, &request, 16, Duration::from_secs(120));
    attach.signal(libc::SIGCONT);
    assert_eq!(drained.unwrap().ended, 16);
    assert!(attach.stop(libc::SIGINT, END).unwrap().success());
    let lines = attach.lines();
    let summary: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    let lost = &summary["summary"]["lost"];
    assert!(lost["ring_payload"].as_u64().is_some_and(|lost| lost > 0), "{summary}");
    assert!(lost.get("records").is_none(), "{summary}");
}

#[test]
fn records_that_nobody_reads_do_not_hold_up_the_end() {
    let Some(_guard) = live::begin("records_that_nobody_reads_do_not_hold_up_the_end") else { return };
    let server = Server::start(&[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, QUIET).unwrap();
    let (config, pid) = (config.display().to_string(), server.pid().to_string());
    let args = ["run", "--config", &config, "--pid", &pid, "--listen", "127.0.0.1:0", "--records", "-"];
    let (mut agent, reader) = unread(&args);
    let address = |line: &str| Some(line.split_once("listening on http://")?.1.split_once('/')?.0.to_owned());
    let target = Target::parse(&agent.wait_line(SOON, address).unwrap()).unwrap();
    until("it is ready", || page::get(&target, "/readyz").unwrap().0 == 200);
    send_many(&server, 300);
    until("300 requests are seen", || {
        let metrics = Metrics::parse(&page::get(&target, "/metrics").unwrap().1).unwrap();
        metrics.sum("gen_ai_server_request_duration_seconds_count", &[]) == Some(300.0)
    });
    let status = agent.stop(libc::SIGTERM, END).unwrap();
    let said = agent.lines().join("\n");
    assert!(status.success(), "{said}");
    assert_eq!(said.matches("records are lost").count(), 1, "{said}");
    let text = read_to_string(reader).unwrap();
    let whole = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
    assert!(whole == text.lines().count() && whole > 8 && whole < 300, "{whole} of {} lines", text.lines().count());
    assert_eq!(whole + number_after(&said, "records="), 300, "{said}");
}

#[test]
fn a_full_disk_has_whole_records_and_counted_losses() {
    let Some(_guard) = live::begin("a_full_disk_has_whole_records_and_counted_losses") else { return };
    let server = Server::start(&[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, QUIET).unwrap();
    let args = ["--config", &config.display().to_string(), "--pid", &server.pid().to_string()].map(str::to_owned);
    let agent = Agent::prepared(&args, |command| {
        confine::small_files(command, 60_000);
        Ok(())
    });
    let agent = agent.unwrap();
    send_many(&server, 100);
    let lost = |m: &Metrics| m.sum("inferscope_events_lost_total", &[("where", "records")]).unwrap() as usize;
    let told = |m: &Metrics| lost(m) + agent.records().unwrap().len() == 100;
    let m = agent.wait_metrics("each record is written or lost", SOON, told).unwrap();
    assert!(lost(&m) > 50 && lost(&m) < 95, "{} lost", lost(&m));
    let text = std::fs::read_to_string(agent.records_path()).unwrap();
    assert!(text.ends_with('\n') && text.len() <= 60_000, "half a record is left");
    confine::lift_file_size(agent.pid()).unwrap();
    let (o, r) = recorded(&agent, &server, &chat());
    assert_eq!(r.id, o.id);
    assert_eq!(lost(&agent.scrape().unwrap()), lost(&m));
    let warnings = agent.running.lines().iter().filter(|line| line.contains("cannot write records")).count();
    assert_eq!(warnings, 1, "{:?}", agent.running.lines());
}
