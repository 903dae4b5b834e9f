//! Live: bad luck while it runs. A full ring, process ids used again, kills and signals, reloads, many scrapers,
//! a GPU library that hangs: counted or survived, and nothing left in the kernel.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;
use support::agent::Agent;
use support::client::{Client, Request};
use support::drain::drain_stream;
use support::held::Held;
use support::live::{self, assert_exact, recorded, send};
use support::metrics::Metrics;
use support::server::Server;
use support::{clock, locate};

const SOON: Duration = Duration::from_secs(30);
const QUIET: &str = "[discover]\nenabled = false\n[nvml]\nenabled = false\n";

fn chat(stream: bool) -> Request {
    Request::chat("m", "one two three", 20, stream)
}

/// The smallest ring and a server as fast as it can, beside the agent and while it stands still: what moved is seen or
/// counted as lost, to the last call.
#[test]
fn a_ring_too_small() {
    let Some(_guard) = live::begin("a_ring_too_small") else { return };
    let server = Server::start(&[]).unwrap();
    let agent = Agent::configured(&[server.pid()], &format!("{QUIET}[capture]\nring_bytes = 262144\n")).unwrap();
    let figures = || {
        let m = agent.scrape().unwrap();
        let seen = m.count("inferscope_events_total", &[("kind", "payload")]);
        (seen, m.count("inferscope_events_lost_total", &[("where", "ring_payload")]))
    };
    let before = figures();
    let request = Request { close: true, ..Request::chat("m", "hi", 5000, true) };
    for signals in [[0, 0], [libc::SIGSTOP, libc::SIGCONT]] {
        agent.running.signal(signals[0]);
        let drained = drain_stream(&server.target, &request, 8, Duration::from_secs(120));
        agent.running.signal(signals[1]);
        let drained = drained.unwrap();
        assert_eq!((drained.ended, drained.chunks), (8, 40_000));
    }
    let last = std::cell::Cell::new(before);
    let settled = || Ok((last.replace(figures()) == figures() && last.get().0 > before.0).then_some(()));
    agent.wait("the agent has caught up", SOON, settled).unwrap();
    let (seen, lost) = (last.get().0 - before.0, last.get().1 - before.1);
    assert!(seen > 0.0 && lost > 0.0, "{seen} seen, {lost} lost");
    // One read took each request.
    assert_eq!(seen + lost, (server.settled().unwrap().writes + 16) as f64, "{seen} seen, {lost} lost");
    let o = send(&server, &chat(true));
    let records = agent.records_of(std::slice::from_ref(&o)).unwrap();
    let own: Vec<_> = records.iter().filter(|r| r.id == o.id).collect();
    assert_eq!((own.len(), own[0].output_tokens, own[0].chunks), (1, Some(20), 20), "after the loss");
}

/// A server with this process id; None if others took it each time.
fn server_with_pid(pid: u32) -> Option<Server> {
    for _ in 0..50 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let server = Server::start(&[]).unwrap();
        if server.pid() == pid {
            return Some(server);
        }
    }
    None
}

/// While the agent looks away a server ends and another one gets its id: two services, each with its own requests.
#[test]
fn a_process_id_used_again() {
    let Some(_guard) = live::begin("a_process_id_used_again") else { return };
    if !std::path::Path::new("/proc/sys/kernel/ns_last_pid").exists() {
        return live::skip("a_process_id_used_again", "this kernel has no ns_last_pid to choose a process id with");
    }
    let server = Server::start(&[]).unwrap();
    let pid = server.pid();
    let exe = locate::helper("sse-server").unwrap();
    let config = format!("{QUIET}[discover.include]\nexe = [\"{}\"]\n", exe.display());
    let agent = Agent::configured(&[], &config).unwrap();
    let watched = |m: &Metrics| m.sum("inferscope_service_info", &[("pid", &pid.to_string())]) == Some(1.0);
    agent.wait_metrics("the first server", SOON, watched).unwrap();
    let (_, first) = recorded(&agent, &server, &chat(true));
    agent.running.signal(libc::SIGSTOP);
    drop(server);
    let second = server_with_pid(pid);
    agent.running.signal(libc::SIGCONT);
    let Some(server) = second else {
        return live::skip("a_process_id_used_again", "other programs took the process id each time");
    };
    let name = first.service.to_string();
    let other = |m: &Metrics| {
        let names = m.label_values("inferscope_service_info", "service");
        watched(m) && names.iter().all(|n| !name.contains(&format!("\"{n}\"")))
    };
    let fresh = |m: &Metrics| watched(m) && (other(m) || exits(m) > 0.0);
    let m = agent.wait_metrics("the second server", SOON, fresh).unwrap();
    assert_eq!(exits(&m), 1.0, "the first server's end was seen");
    let (o, r) = recorded(&agent, &server, &chat(true));
    assert_eq!((r.pid, &r.id, r.chunks), (pid, &o.id, 20));
    let calls = [("pid", pid.to_string()), ("syscall", "getppid".to_owned())];
    let calls: Vec<(&str, &str)> = calls.iter().map(|(k, v)| (*k, v.as_str())).collect();
    assert_eq!(agent.scrape().unwrap().sum("inferscope_syscalls_total", &calls), None);
}

fn exits(m: &Metrics) -> f64 {
    m.count("inferscope_process_exits_total", &[])
}

/// An id that was given with --pid stands for that process, not for the next one that gets it.
#[test]
fn the_next_owner_of_a_given_id_is_not_watched() {
    let Some(_guard) = live::begin("the_next_owner_of_a_given_id_is_not_watched") else { return };
    if !std::path::Path::new("/proc/sys/kernel/ns_last_pid").exists() {
        return live::skip("the_next_owner_of_a_given_id_is_not_watched", "this kernel has no ns_last_pid");
    }
    let (server, witness) = (Server::start(&[]).unwrap(), Server::start(&[]).unwrap());
    let pid = server.pid();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, QUIET).unwrap();
    let given = [pid, witness.pid()].map(|pid| ["--pid".to_owned(), pid.to_string()]).concat();
    let agent = Agent::start(&[vec!["--config".to_owned(), file.display().to_string()], given].concat()).unwrap();
    recorded(&agent, &server, &chat(true));
    drop(server);
    agent.wait_metrics("the end of the first", SOON, |m| exits(m) == 1.0).unwrap();
    let Some(server) = server_with_pid(pid) else {
        return live::skip("the_next_owner_of_a_given_id_is_not_watched", "other programs took the process id");
    };
    // A reload looks at every process. What it finds of the third server shows that it has looked, also at the second,
    // which is older and so would have been told of before.
    let third = Server::start(&[]).unwrap();
    let port = third.target.port().unwrap();
    std::fs::write(&file, format!("{QUIET}[discover.include]\nports = [{port}]\n")).unwrap();
    agent.running.signal(libc::SIGHUP);
    let watched = |m: &Metrics, pid: u32| m.sum("inferscope_service_info", &[("pid", &pid.to_string())]).is_some();
    let m = agent.wait_metrics("the third server", SOON, |m| watched(m, third.pid())).unwrap();
    assert!(watched(&m, witness.pid()) && !watched(&m, pid));
    send(&server, &chat(true));
    // What comes later is there, so what came before would be.
    let after = send(&witness, &chat(true));
    agent.wait_records(1, |r| r.id == after.id).unwrap();
    assert_eq!(agent.records().unwrap().iter().filter(|r| r.pid == pid).count(), 1);
}

/// Everything that is loaded. Another program's map may go between its listing and the look at it: then again.
fn in_kernel() -> Held {
    let look = || {
        let (mut programs, mut maps) = (BTreeSet::new(), BTreeSet::new());
        for program in aya::programs::loaded_programs() {
            programs.insert(program.ok()?.id());
        }
        for map in aya::maps::loaded_maps() {
            maps.insert(map.ok()?.id());
        }
        Some(Held { programs, maps })
    };
    (0..1000).find_map(|_| look()).expect("the kernel lists its programs and maps")
}

/// However it ends, no program and no map of it stays in the kernel, and the next run is as good as the first.
#[test]
fn nothing_stays_in_the_kernel() {
    let Some(_guard) = live::begin("nothing_stays_in_the_kernel") else { return };
    let server = Server::start(&[]).unwrap();
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGKILL] {
        let mut agent = Agent::watch(&[server.pid()]).unwrap();
        recorded(&agent, &server, &chat(true));
        let held = Held::by(agent.pid()).unwrap();
        assert!(held.programs.len() >= 8 && held.maps.len() >= 8, "{held:?}");
        let there = in_kernel();
        assert!(held.programs.is_subset(&there.programs) && held.maps.is_subset(&there.maps));
        let status = agent.running.stop(signal, Duration::from_secs(20)).unwrap();
        assert_eq!(status.success(), signal != libc::SIGKILL, "signal {signal}: {status}");
        held.wait_gone(SOON, in_kernel).unwrap();
    }
}

#[test]
fn a_reload_takes_over_what_is_sound() {
    let Some(_guard) = live::begin("a_reload_takes_over_what_is_sound") else { return };
    let server = Server::start(&[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let args = ["--config", &file.display().to_string(), "--pid", &server.pid().to_string()].map(str::to_owned);
    std::fs::write(&file, QUIET).unwrap();
    let agent = Agent::start(&args).unwrap();
    let reload = |text: &str, says: &str| {
        std::fs::write(&file, text).unwrap();
        agent.running.signal(libc::SIGHUP);
        agent.running.wait_line(SOON, |line| line.contains(says).then_some(())).unwrap();
    };
    let routed = |path: &str, route: &str| {
        send(&server, &Request::get(path));
        let has = |m: &Metrics| m.sum("http_server_request_duration_seconds_count", &[("http_route", route)]).is_some();
        agent.wait_metrics(route, SOON, has).unwrap();
    };
    reload(&format!("{QUIET}[metrics]\nroute_templates = [\"/v9/{{thing}}/x\"]\n"), "metrics.route_templates");
    routed("/v9/abc/x", "/v9/{thing}/x");
    reload("listen = 7\n", "not taken over");
    routed("/v9/def/x", "/v9/{thing}/x");
    reload(&format!("{QUIET}[limits]\nseries = 200\n"), "takes effect after a restart");
    let (o, r) = recorded(&agent, &server, &chat(true));
    assert_eq!(r.id, o.id);
}

#[test]
fn several_scrapers_at_once() {
    let Some(_guard) = live::begin("several_scrapers_at_once") else { return };
    let server = Server::start(&["-s", "delay-us=500"]).unwrap();
    let agent = Agent::watch(&[server.pid()]).unwrap();
    let outcomes = std::thread::scope(|scope| {
        let scrapers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let requests =
                        || agent.scrape().unwrap().count("gen_ai_server_request_duration_seconds_count", &[]);
                    (0..25).map(|_| requests()).collect::<Vec<f64>>()
                })
            })
            .collect();
        let mut client = Client::new(&server.target);
        let outcomes: Vec<_> = (0..40).map(|i| client.send(&chat(i % 2 == 0)).unwrap()).collect();
        for scraper in scrapers {
            let seen = scraper.join().unwrap();
            assert!(seen.is_sorted() && seen.len() == 25, "a counter went back: {seen:?}");
        }
        outcomes
    });
    assert_exact(&agent, &outcomes);
    let m = agent.scrape().unwrap();
    assert_eq!(m.count("gen_ai_server_request_duration_seconds_count", &[]), 40.0);
}

/// The fake library beside a script of one GPU; the test says through its control file when a call hangs.
#[test]
fn a_gpu_library_that_hangs_costs_only_its_own_figures() {
    let name = "a_gpu_library_that_hangs_costs_only_its_own_figures";
    let Some(_guard) = live::begin(name) else { return };
    let Ok(fake) = locate::helper("libfake_nvml.so") else {
        return live::skip(name, "no libfake_nvml.so: cargo build --release -p fake-nvml makes it");
    };
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libnvidia-ml.so.1");
    let server = Server::start(&[]).unwrap();
    let config = "[discover]\nenabled = false\n[nvml]\ninterval = \"100ms\"\n";
    let file = folder.path().join("config.toml");
    std::fs::write(&file, config).unwrap();
    let args = [
        "--config",
        &file.display().to_string(),
        "--pid",
        &server.pid().to_string(),
        "--nvml-lib",
        &library.display().to_string(),
    ];
    let agent = Agent::start(&args.map(str::to_owned)).unwrap();
    let state = |word: &'static str| move |m: &Metrics| m.count("inferscope_nvml_up", &[("state", word)]) == 1.0;
    agent.wait_metrics("no library yet", SOON, state("absent")).unwrap();
    recorded(&agent, &server, &chat(true));
    std::fs::copy(fake, &library).unwrap();
    drop(agent);
    let agent = Agent::start(&args.map(str::to_owned)).unwrap();
    let power = |m: &Metrics| m.sum("hw_gpu_power_watts", &[]).is_some_and(|watts| watts > 0.0);
    agent.wait_metrics("a GPU", SOON, |m| state("ok")(m) && power(m)).unwrap();
    std::fs::write(folder.path().join("fake-nvml.control"), "hang=nvmlDeviceGetPowerUsage\n").unwrap();
    agent.wait_metrics("the hang is told", SOON, state("hung")).unwrap();
    let before = clock::now_ns();
    recorded(&agent, &server, &chat(true));
    agent.scrape().unwrap();
    assert!(clock::now_ns() - before < 5_000_000_000, "a scrape or a record waited for the library");
    std::fs::write(folder.path().join("fake-nvml.control"), "").unwrap();
    agent.wait_metrics("the library answers again", SOON, state("ok")).unwrap();
}
