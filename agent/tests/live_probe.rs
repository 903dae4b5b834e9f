//! Live: the kernel programs alone, without sessions or exports. Every event with its exact content, every byte that
//! a server moved, and every loss counted.
#![allow(clippy::unwrap_used)]

use agent::decode::{Event, decode};
use agent::probe::{LoadOptions, Loaded, load};
use aya::programs::Program;
use inferscope_abi::{DIR_RX, DIR_TX, ExitEvent, PayloadHeader, STATE_ONCPU, STATE_RUNQUEUE};
use std::time::{Duration, Instant};
use support::client::Request;
use support::clock::now_ns;
use support::server::Server;
use support::workload::{Workload, figure};
use support::{drain, live, schedstat};

#[derive(Default)]
struct Seen {
    /// (parent, child)
    forks: Vec<(u32, u32)>,
    exits: Vec<ExitEvent>,
    /// (process, path)
    execs: Vec<(u32, String)>,
    payload: Vec<(PayloadHeader, Vec<u8>)>,
    broken: u64,
}

struct Kernel {
    loaded: Loaded,
    seen: Seen,
}

impl Kernel {
    fn watch(pids: &[u32]) -> Self {
        let mut loaded = load(&LoadOptions::default()).unwrap();
        for pid in pids {
            loaded.watcher.watch(*pid, 0, now_ns()).unwrap();
        }
        Self { loaded, seen: Seen::default() }
    }

    /// Takes what the ring holds, again and again until `enough`.
    fn take_until(&mut self, what: &str, enough: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            while let Some(item) = self.loaded.ring.next() {
                note(&mut self.seen, &item);
            }
            if enough(&self.seen) {
                return;
            }
            assert!(Instant::now() < deadline, "no {what} in 30 s");
            std::thread::yield_now();
        }
    }

    fn lost(&self) -> u64 {
        let places = self.loaded.reader.lost();
        places.iter().filter(|(place, _)| *place != "capture_cap").map(|(_, n)| n).sum()
    }

    fn calls(&self, pid: u32, number: i64) -> (u64, u64) {
        let rows = self.loaded.reader.syscalls();
        let own = rows.iter().filter(|r| r.key.tgid == pid && i64::from(r.key.number) == number);
        own.fold((0, 0), |sum, r| (sum.0 + r.stats.calls, sum.1 + r.stats.errors))
    }
}

fn note(seen: &mut Seen, bytes: &[u8]) {
    match decode(bytes) {
        Ok(Event::Fork(e)) => seen.forks.push((e.header.tgid, e.child_tgid)),
        Ok(Event::Exit(e)) => seen.exits.push(*e),
        Ok(Event::Exec(e)) => {
            let path = String::from_utf8_lossy(&e.filename[..e.filename_len as usize]);
            seen.execs.push((e.header.tgid, path.trim_end_matches('\0').to_owned()));
        }
        Ok(Event::Payload(p)) => seen.payload.push((p.head, p.data.to_vec())),
        Ok(_) => {}
        Err(_) => seen.broken += 1,
    }
}

#[test]
fn forks_and_exits_with_their_codes() {
    let Some(_guard) = live::begin("forks_and_exits_with_their_codes") else { return };
    let mut spawn = Workload::start(&["spawn", "--count", "300", "--code", "3"]).unwrap();
    let mut kernel = Kernel::watch(&[spawn.pid()]);
    spawn.work().unwrap();
    kernel.take_until("300 exits", |seen| seen.exits.len() >= 300);
    assert_eq!((kernel.seen.forks.len(), kernel.seen.exits.len()), (300, 300));
    for ((parent, child), exit) in kernel.seen.forks.iter().zip(&kernel.seen.exits) {
        assert_eq!((*parent, *child), (spawn.pid(), exit.header.tgid));
        assert_eq!((exit.exit_code >> 8, exit.exit_code & 0x7f), (3, 0));
    }
    let mut dies = Workload::start(&["exit", "--signal", "9"]).unwrap();
    let pid = dies.pid();
    kernel.loaded.watcher.watch(pid, 0, now_ns()).unwrap();
    dies.finish().unwrap();
    kernel.take_until("the killed one's exit", |seen| seen.exits.iter().any(|e| e.header.tgid == pid));
    assert_eq!(kernel.seen.exits.last().unwrap().exit_code & 0x7f, 9);
    assert_eq!((kernel.lost(), kernel.seen.broken), (0, 0));
}

#[test]
fn execs_with_their_paths() {
    let Some(_guard) = live::begin("execs_with_their_paths") else { return };
    let mut chain = Workload::start(&["exec-chain", "--depth", "4"]).unwrap();
    let pid = chain.pid();
    let mut kernel = Kernel::watch(&[pid]);
    chain.work().unwrap();
    let own = |seen: &Seen| seen.execs.iter().filter(|(by, _)| *by == pid).count();
    kernel.take_until("4 execs", |seen| own(seen) >= 4);
    assert_eq!(own(&kernel.seen), 4);
    assert!(kernel.seen.execs.iter().filter(|(by, _)| *by == pid).all(|(_, path)| path.ends_with("/workload")));
    assert_eq!(kernel.calls(pid, libc::SYS_execve).0, 4);
}

#[test]
fn calls_are_counted_exactly() {
    let Some(_guard) = live::begin("calls_are_counted_exactly") else { return };
    let mut tree = Workload::start(&["fork-tree", "--depth", "2", "--width", "3", "--calls", "1000"]).unwrap();
    let mut fails = Workload::start(&["syscalls", "--kind", "fail", "--count", "777"]).unwrap();
    let kernel = Kernel::watch(&[tree.pid(), fails.pid()]);
    let truth = tree.work().unwrap();
    for pid in truth["pids"].as_array().unwrap() {
        let pid = pid.as_u64().unwrap() as u32;
        assert_eq!(kernel.calls(pid, libc::SYS_getppid), (1000, 0), "process {pid}");
    }
    fails.work().unwrap();
    assert_eq!(kernel.calls(fails.pid(), libc::SYS_close).1, 777);
    assert_eq!(kernel.lost(), 0);
}

#[test]
fn thread_states_agree_with_schedstat() {
    let Some(_guard) = live::begin("thread_states_agree_with_schedstat") else { return };
    let mut busy = Workload::start(&["busy", "--threads", "4", "--seconds", "3"]).unwrap();
    let kernel = Kernel::watch(&[busy.pid()]);
    let taken_s = schedstat::taken_s().unwrap();
    let before = schedstat::read(busy.pid()).unwrap();
    busy.work().unwrap();
    let truth = schedstat::read(busy.pid()).unwrap() - before;
    let now = kernel.loaded.reader.process(busy.pid()).unwrap().counters.at(now_ns());
    // What interrupts and the hypervisor took is in our on-CPU time, and maybe not in the kernel's.
    let taken = (schedstat::taken_s().unwrap() - taken_s) * 1e9;
    let states = [(STATE_ONCPU, truth.oncpu_ns, 0.03, taken), (STATE_RUNQUEUE, truth.runqueue_ns, 0.05, 0.0)];
    for (state, truth, ratio, more) in states {
        let (got, truth) = (now.state_ns[state] as f64, truth as f64);
        let agrees = got >= truth - ratio * truth && got <= truth + ratio * truth + more;
        assert!(agrees, "state {state}: {got} ns, truth {truth} ns, {more} ns taken");
    }
}

/// Thread-nanoseconds of a service in all states.
fn total_ns(kernel: &Kernel, service: u32) -> u64 {
    kernel.loaded.reader.service(service).unwrap().at(now_ns()).state_ns.iter().sum()
}

#[test]
fn a_thread_whose_end_the_kernel_left_out_is_ended_by_the_sweep() {
    let Some(_guard) = live::begin("a_thread_whose_end_the_kernel_left_out_is_ended_by_the_sweep") else { return };
    let mut busy = Workload::start(&["busy", "--threads", "2", "--seconds", "1"]).unwrap();
    let mut kernel = Kernel::watch(&[busy.pid()]);
    let reader = kernel.loaded.reader.clone();
    let running = || reader.service(0).unwrap().states[STATE_ONCPU].n > 0;
    busy.running.tell("go").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !running() {
        assert!(Instant::now() < deadline, "no thread ran in 30 s");
        std::thread::yield_now();
    }
    for (name, program) in kernel.loaded.ebpf.programs_mut() {
        let of_ends = match name.split_once('_') {
            Some((part, what)) => part == "sched" || (part, what.starts_with("exit")) == ("process", true),
            None => false,
        };
        if !of_ends || program.fd().is_err() {
            continue;
        }
        match program {
            Program::BtfTracePoint(program) => program.unload().unwrap(),
            Program::RawTracePoint(program) => program.unload().unwrap(),
            Program::TracePoint(program) => program.unload().unwrap(),
            _ => panic!("{name} is none of these"),
        }
    }
    assert!(busy.finish().unwrap().success());
    let before = total_ns(&kernel, 0);
    assert!(total_ns(&kernel, 0) > before, "the state of a thread that is gone is open");
    kernel.loaded.watcher.sweep_threads(now_ns());
    let swept = total_ns(&kernel, 0);
    assert_eq!(total_ns(&kernel, 0), swept);
    assert!(kernel.loaded.reader.service(0).unwrap().states.iter().all(|state| state.n == 0));
}

#[test]
fn major_faults_are_counted_as_they_happen() {
    let Some(_guard) = live::begin("major_faults_are_counted_as_they_happen") else { return };
    let mut faults = Workload::start(&["page-faults", "--pages", "200"]).unwrap();
    let kernel = Kernel::watch(&[faults.pid()]);
    let truth = figure(&faults.work().unwrap(), "major_faults");
    assert_eq!(kernel.loaded.reader.process(faults.pid()).unwrap().counters.major_faults, truth);
}

/// Captured bytes of one direction.
fn bytes_of(seen: &Seen, direction: u8) -> usize {
    let own = seen.payload.iter().filter(|(h, _)| h.direction == direction);
    own.map(|(h, data)| {
        assert_eq!(h.length as usize, data.len(), "a call of this size is captured whole");
        data.len()
    })
    .sum()
}

#[test]
fn every_byte_of_every_family_of_calls() {
    let Some(_guard) = live::begin("every_byte_of_every_family_of_calls") else { return };
    for reader in ["read", "recv", "readv", "recvmsg", "recvmmsg", "peek"] {
        let server = Server::start(&["-s", &format!("reader={reader}"), "-s", "read-size=50"]).unwrap();
        let mut kernel = Kernel::watch(&[server.pid()]);
        let (mut received, mut sent) = (0, 0);
        for writer in ["write", "send", "writev", "sendmsg", "sendmmsg"] {
            let request = Request::chat("m", "one two three", 20, true).test("writer", writer).test("per-write", 3);
            let o = live::send(&server, &Request { close: true, ..request });
            assert!(o.complete());
            received += o.bytes_sent as usize;
            sent += o.bytes_received as usize;
        }
        let moved = |seen: &Seen| (bytes_of(seen, DIR_RX), bytes_of(seen, DIR_TX));
        kernel.take_until("all bytes", |seen| moved(seen).0 >= received && moved(seen).1 >= sent);
        assert_eq!(moved(&kernel.seen), (received, sent), "{reader}");
        assert_eq!((kernel.lost(), kernel.seen.broken), (0, 0), "{reader}");
    }
}

#[test]
fn what_the_ring_refuses_is_counted() {
    let Some(_guard) = live::begin("what_the_ring_refuses_is_counted") else { return };
    let server = Server::start(&[]).unwrap();
    let mut kernel = Kernel::watch(&[server.pid()]);
    let request = Request { close: true, ..Request::chat("m", "hi", 20_000, true) };
    let drained = drain::drain_stream(&server.target, &request, 8, Duration::from_secs(120)).unwrap();
    assert_eq!((drained.ended, drained.chunks), (8, 160_000));
    kernel.take_until("the ring's content", |seen| !seen.payload.is_empty());
    let places = kernel.loaded.reader.lost();
    let lost = places.iter().find(|(place, _)| *place == "ring_payload").unwrap().1;
    let stats = server.settled().unwrap();
    assert!(lost > 0, "160,000 writes fit into the ring: the test needs more");
    assert_eq!(kernel.seen.payload.len() as u64 + lost, stats.writes + 8, "{lost} lost");
}
