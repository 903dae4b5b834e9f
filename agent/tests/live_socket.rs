//! Live: what the kernel programs take off sockets. Whatever calls a server makes, on whatever socket, in whatever
//! processes, each response has one exact record, and what could not be delivered is counted.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use support::agent::Agent;
use support::client::{Client, Request};
use support::drain::drain_stream;
use support::live::{self, assert_exact, send};
use support::server::Server;

/// More than the small server has here.
const THREADS: f64 = 32.0;
const WRITERS: [&str; 5] = ["write", "send", "writev", "sendmsg", "sendmmsg"];

const READS: [libc::c_long; 5] =
    [libc::SYS_read, libc::SYS_readv, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_recvmmsg];

fn chat(stream: bool) -> Request {
    Request::chat("m", "one two three", 20, stream)
}

#[test]
fn every_reader_and_writer() {
    let Some(_guard) = live::begin("every_reader_and_writer") else { return };
    let readers = ["read", "recv", "readv", "recvmsg", "recvmmsg", "peek"];
    let servers = readers.map(|reader| Server::start(&["-s", &format!("reader={reader}")]).unwrap());
    let agent = Agent::watch(&servers.each_ref().map(Server::pid)).unwrap();
    let mut outcomes = Vec::new();
    for server in &servers {
        for writer in WRITERS {
            // Of one sendmmsg call's messages the kernel side walks up to 32.
            for iovecs in [1, 3, if writer == "sendmmsg" { 30 } else { 1000 }] {
                let request = |stream| chat(stream).test("writer", writer).test("iovecs", iovecs);
                outcomes.extend([send(server, &request(true)), send(server, &request(false))]);
            }
        }
    }
    assert_eq!(outcomes.len(), 180);
    assert_exact(&agent, &outcomes);
}

/// What went through a process's sockets is counted to the byte, whatever was on them.
#[test]
fn bytes_of_sockets_are_counted_exactly() {
    let Some(_guard) = live::begin("bytes_of_sockets_are_counted_exactly") else { return };
    let server = Server::start(&[]).unwrap();
    let agent = Agent::watch(&[server.pid()]).unwrap();
    let outcomes = WRITERS.map(|writer| send(&server, &chat(true).test("writer", writer).test("iovecs", 3)));
    assert_exact(&agent, &outcomes);
    let m = agent.scrape().unwrap();
    let moved = |direction| m.count("process_network_io_bytes_total", &[("direction", direction)]);
    let sent: u64 = outcomes.iter().map(|o| o.bytes_sent).sum();
    let received: u64 = outcomes.iter().map(|o| o.bytes_received).sum();
    assert_eq!((moved("receive"), moved("transmit")), (sent as f64, received as f64));
}

/// What is beyond the walk of one call is a counted loss, and costs at most the records of its own connection.
#[test]
fn more_messages_than_one_call_is_walked_for() {
    let Some(_guard) = live::begin("more_messages_than_one_call_is_walked_for") else { return };
    let server = Server::start(&[]).unwrap();
    let agent = Agent::watch(&[server.pid()]).unwrap();
    let cut = send(&server, &chat(false).test("writer", "sendmmsg").test("iovecs", 60));
    assert!(cut.complete());
    let after = send(&server, &chat(true));
    let records = agent.records_of(std::slice::from_ref(&after)).unwrap();
    assert!(records.iter().all(|r| r.id.is_none() || r.id == after.id || r.output_tokens == cut.output_tokens));
    let own: Vec<_> = records.iter().filter(|r| r.id == after.id).collect();
    assert_eq!((own.len(), own[0].output_tokens, own[0].chunks), (1, Some(20), 20));
    let tails = agent.scrape().unwrap().count("inferscope_events_lost_total", &[("where", "iovec_tail")]);
    assert!(tails >= 1.0, "{tails} counted");
}

#[test]
fn small_reads_and_nonblocking_sockets() {
    let Some(_guard) = live::begin("small_reads_and_nonblocking_sockets") else { return };
    let readers = ["read", "recv", "recvmsg", "peek"];
    let servers = readers.map(|reader| {
        let set = format!("reader={reader}");
        Server::start(&["-s", &set, "-s", "read-size=24", "-s", "nonblocking=1"]).unwrap()
    });
    let agent = Agent::watch(&servers.each_ref().map(Server::pid)).unwrap();
    let mut outcomes = Vec::new();
    for server in &servers {
        for writes in [1, 3, 50] {
            outcomes.push(send(server, &Request { writes, ..chat(true) }));
        }
    }
    assert_exact(&agent, &outcomes);
}

#[test]
fn every_cut_and_framing() {
    let Some(_guard) = live::begin("every_cut_and_framing") else { return };
    let server = Server::start(&[]).unwrap();
    let agent = Agent::watch(&[server.pid()]).unwrap();
    let mut outcomes = Vec::new();
    for framing in ["chunked", "length", "close"] {
        for eol in ["lf", "crlf"] {
            for (key, value) in
                [("split", "0"), ("split", "3"), ("per-write", "7"), ("head", "together"), ("tail", "together")]
            {
                for stream in [true, false] {
                    let request = chat(stream).test("framing", framing).test("eol", eol).test(key, value);
                    outcomes.push(send(&server, &request));
                }
            }
        }
    }
    assert_exact(&agent, &outcomes);
}

#[test]
fn every_address_family_and_process_model() {
    let Some(_guard) = live::begin("every_address_family_and_process_model") else { return };
    let path = std::env::temp_dir().join(format!("live-{}.sock", std::process::id()));
    let unix = format!("unix:{}", path.display());
    let named = format!("unix:@live-{}", std::process::id());
    for at in ["127.0.0.1:0", "[::1]:0", &unix, &named] {
        if at.starts_with("[::1]") && std::net::TcpListener::bind(at).is_err() {
            continue;
        }
        for mode in ["threads", "single", "fork"] {
            // The last server's children may hold its name a moment longer.
            let own = if at.starts_with("unix:") { format!("{at}-{mode}") } else { at.to_owned() };
            let server = Server::start(&["--listen", &own, "--mode", mode]).unwrap();
            let agent = Agent::watch(&[server.pid()]).unwrap();
            let outcomes = [send(&server, &chat(true)), send(&server, &chat(false)), send(&server, &chat(true))];
            assert_exact(&agent, &outcomes);
        }
    }
}

#[test]
fn workers_that_were_there_before() {
    let Some(_guard) = live::begin("workers_that_were_there_before") else { return };
    let server = Server::start(&["--mode", "prefork", "--workers", "3"]).unwrap();
    let pid = server.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let mut pids: Vec<u32> = children.split_whitespace().map(|p| p.parse().unwrap()).collect();
    pids.push(pid);
    let agent = Agent::watch(&pids).unwrap();
    let outcomes: Vec<_> = (0..12).map(|i| send(&server, &chat(i % 2 == 0))).collect();
    assert_exact(&agent, &outcomes);
}

#[test]
fn descriptors_used_again() {
    let Some(_guard) = live::begin("descriptors_used_again") else { return };
    let server = Server::start(&["--mode", "single"]).unwrap();
    let agent = Agent::watch(&[server.pid()]).unwrap();
    let mut outcomes = Vec::new();
    for i in 0..100 {
        let request = Request { close: i % 3 == 0, ..chat(i % 2 == 0) };
        outcomes.push(send(&server, &request.test("dup", i % 5 / 4)));
    }
    assert_exact(&agent, &outcomes);
}

#[test]
fn many_at_once() {
    let Some(_guard) = live::begin("many_at_once") else { return };
    let server = Server::start(&["-s", "delay-us=200"]).unwrap();
    let agent = Agent::watch(&[server.pid()]).unwrap();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::new(&server.target);
                    (0..25).map(|i| client.send(&chat(i % 2 == 0)).unwrap()).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|c| c.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|o| o.complete()).count(), 200);
    assert_exact(&agent, &outcomes);
    // A counter that was read in the middle of its change would be off by as long as the machine is up.
    for r in agent.records().unwrap() {
        let total = r.host["total"].as_object().unwrap();
        let reasons = total["offcpu_s"].as_object().unwrap().values();
        let states = reasons.chain([&total["oncpu_s"], &total["runqueue_s"]]).map(|v| v.as_f64().unwrap());
        let (sum, bound) = (states.sum::<f64>(), THREADS * (r.duration_s + 0.001));
        assert!(sum > r.duration_s * 0.9 && sum < bound, "{sum} s in {} s: {r:?}", r.duration_s);
    }
}

/// The agent comes while a response is on its way: that one has no record (or none that is wrong), the next one has.
#[test]
fn a_capture_that_starts_in_the_middle() {
    let Some(_guard) = live::begin("a_capture_that_starts_in_the_middle") else { return };
    let server = Server::start(&[]).unwrap();
    let mut client = Client::new(&server.target);
    let slow = Request::chat("m", "one two three", 300, true).test("delay-us", 20_000);
    let (first, agent, second) = std::thread::scope(|scope| {
        let streaming = scope.spawn(|| (client.send(&slow).unwrap(), client));
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while server.stats().unwrap().content_chunks < 10 && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let agent = Agent::watch(&[server.pid()]).unwrap();
        let (first, mut client) = streaming.join().unwrap();
        let second = client.send(&chat(true)).unwrap();
        (first, agent, second)
    });
    assert!(first.complete() && first.content_chunks == 300);
    let records = agent.records_of(std::slice::from_ref(&second)).unwrap();
    assert!(records.iter().all(|r| r.id == second.id || r.id.is_none()), "a record of what was seen in part");
    let own: Vec<_> = records.into_iter().filter(|r| r.id == second.id).collect();
    assert_eq!((own.len(), own[0].output_tokens, own[0].chunks), (1, Some(20), 20));
}

/// A server that reads with a thread per connection waits within a call when the agent comes. What that call brings
/// is seen though its beginning was not.
#[test]
fn reads_that_began_before() {
    let Some(_guard) = live::begin("reads_that_began_before") else { return };
    let readers = ["read", "recv", "readv", "recvmsg", "recvmmsg"];
    let servers = readers.map(|reader| Server::start(&["-s", &format!("reader={reader}")]).unwrap());
    let mut clients = servers.each_ref().map(|server| Client::new(&server.target));
    for (server, client) in servers.iter().zip(&mut clients) {
        assert!(client.send(&chat(true)).unwrap().complete());
        wait_until_it_reads(server.pid());
    }
    let agent = Agent::watch(&servers.each_ref().map(Server::pid)).unwrap();
    let outcomes: Vec<_> = clients.iter_mut().map(|client| client.send(&chat(true)).unwrap()).collect();
    assert_exact(&agent, &outcomes);
}

/// Until a thread of a process is within a call that reads a socket.
fn wait_until_it_reads(pid: u32) {
    let reading = |thread: std::path::PathBuf| {
        let call = std::fs::read_to_string(thread.join("syscall")).ok()?;
        let mut words = call.split_whitespace();
        let number: libc::c_long = words.next()?.parse().ok()?;
        let fd = u32::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok()?;
        let socket = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?.to_str()?.starts_with("socket:");
        Some(socket && READS.contains(&number))
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while std::time::Instant::now() < deadline {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        if threads.flatten().any(|thread| reading(thread.path()) == Some(true)) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("no thread of {pid} reads a socket");
}

/// The agent stands still while the server streams, so the ring fills up. Every call that moved payload is then
/// either an event or counted as lost.
#[test]
fn sent_is_seen_plus_lost() {
    let Some(_guard) = live::begin("sent_is_seen_plus_lost") else { return };
    let server = Server::start(&[]).unwrap();
    let agent = Agent::watch(&[server.pid()]).unwrap();
    let figures = || {
        let m = agent.scrape().unwrap();
        let seen = m.count("inferscope_events_total", &[("kind", "payload")]);
        let lost = m.count("inferscope_events_lost_total", &[("where", "ring_payload")]);
        (seen, lost)
    };
    let before = figures();
    agent.running.signal(libc::SIGSTOP);
    let request = Request { close: true, ..Request::chat("m", "hi", 20_000, true) };
    let drained = drain_stream(&server.target, &request, 16, Duration::from_secs(120));
    agent.running.signal(libc::SIGCONT);
    let drained = drained.unwrap();
    assert_eq!((drained.ended, drained.chunks), (16, 320_000));
    // One read took each request; what /test/stats moves comes after the last look at the agent.
    let last = std::cell::Cell::new((0.0, 0.0));
    agent
        .wait("the agent has caught up", Duration::from_secs(60), || {
            let now = figures();
            let settled = now == last.get() && now.0 > before.0;
            last.set(now);
            Ok(settled.then_some(()))
        })
        .unwrap();
    let (seen, lost) = (last.get().0 - before.0, last.get().1 - before.1);
    let stats = server.settled().unwrap();
    assert_eq!(stats.content_chunks, 320_000);
    assert!(seen > 0.0 && lost > 0.0, "{seen} seen, {lost} lost");
    assert_eq!(seen + lost, (stats.writes + 16) as f64, "{seen} seen, {lost} lost");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{seen} seen, {lost} lost\n").as_bytes());
    // Afterwards it is as if nothing had been.
    let o = send(&server, &chat(true));
    let records = agent.records_of(std::slice::from_ref(&o)).unwrap();
    let own = records.iter().find(|r| r.id == o.id).expect("a record after the loss");
    assert_eq!((own.output_tokens, own.chunks), (Some(20), 20));
}
