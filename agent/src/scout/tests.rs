//! The scout's answers on proc trees made here: what it tells, when, and how often.

use super::*;
use crate::discover::Include;
use std::{fs, os::unix::fs::symlink, path::Path};

/// A Python program that is no engine, in a proc tree of its own.
fn python(root: &Path, pid: u32) {
    let dir = root.join(pid.to_string());
    fs::create_dir_all(dir.join("fd")).unwrap();
    fs::create_dir_all(dir.join("net")).unwrap();
    fs::write(dir.join("cmdline"), "python3\0app.py\0").unwrap();
    fs::write(dir.join("stat"), format!("{pid} (python3) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 70 0 0")).unwrap();
    symlink("/usr/bin/python3.11", dir.join("exe")).unwrap();
}

fn listens(root: &Path, pid: u32) {
    let dir = root.join(pid.to_string());
    let line = "  0: 0100007F:2328 00000000:0000 0A 0:0 00:0 0 0 0 9000 1 0\n";
    fs::write(dir.join("net/tcp"), format!("  sl  local_address rem_address st\n{line}")).unwrap();
    symlink("socket:[9000]", dir.join("fd/3")).unwrap();
}

fn state(root: &Path) -> (State, Receiver<Find>) {
    let (finds, found) = sync_channel(PENDING);
    let discovery = Discovery::with_proc_root(Rules::default(), root.to_owned());
    let (looks, known, again, live) = (Vec::new(), Vec::new(), BTreeSet::new(), Arc::default());
    let (listeners, pace) = (Listeners::new(), Pace::new(Rules::default().interval, false));
    let again_at = None;
    (State { discovery, wire: true, looks, listeners, pace, known, again, again_at, finds, live }, found)
}

#[test]
fn a_python_program_that_is_no_engine_is_asked_whether_it_listens() {
    let root = tempfile::tempdir().unwrap();
    python(root.path(), 70);
    listens(root.path(), 70);
    let (mut state, found) = state(root.path());
    let now = Instant::now();
    state.answer(Ask::Exec { pid: 70, filename: b"/usr/bin/python3".to_vec() }, now);
    assert!(state.looks[0].engine);
    state.looks[0].next = LISTENS_FROM;
    assert!(state.look(now + LOOKS[0]));
    assert_eq!(told(&found), ["candidate 70"]);
}

#[test]
fn a_server_that_binds_late_is_a_candidate_then() {
    let root = tempfile::tempdir().unwrap();
    python(root.path(), 70);
    let (mut state, found) = state(root.path());
    for _ in 0..100 {
        assert!(state.scan());
    }
    assert!(found.try_recv().is_err());
    listens(root.path(), 70);
    for _ in 0..6 {
        assert!(state.scan());
    }
    assert_eq!(told(&found), ["candidate 70"]);
    assert!((0..100).all(|_| state.scan()) && found.try_recv().is_err(), "reported once");
    // There was no room for it.
    assert!(state.answer(Ask::Again { pid: 70 }, Instant::now()));
    assert!((0..100).all(|_| state.scan()));
    assert_eq!(told(&found), ["candidate 70"]);
}

/// The one namespace of a proc tree made here.
const NETWORK: u32 = 4_026_531_840;

fn in_network(root: &Path, pid: u32) {
    let ns = root.join(pid.to_string()).join("ns");
    fs::create_dir_all(&ns).unwrap();
    symlink(format!("net:[{NETWORK}]"), ns.join("net")).unwrap();
}

#[test]
fn a_process_is_looked_at_when_it_begins_to_listen() {
    let root = tempfile::tempdir().unwrap();
    python(root.path(), 70);
    in_network(root.path(), 70);
    let (mut state, found) = state(root.path());
    state.pace.told = true;
    state.discovery.is_told_of_listeners();
    assert!(state.scan());
    // Its table is not read again: the kernel's word is enough.
    symlink("socket:[9000]", root.path().join("70/fd/3")).unwrap();
    let ask = |network, socket| Ask::Listen { pid: 70, network, socket, port: 9000 };
    assert!(state.answer(ask(NETWORK, 9001), Instant::now()) && state.look_at_listeners());
    assert_eq!(told(&found), [""; 0], "it does not have that socket");
    assert!(state.answer(ask(NETWORK, 9000), Instant::now()) && state.answer(ask(NETWORK, 9000), Instant::now()));
    assert!(state.look_at_listeners() && state.listeners.next().is_none());
    assert_eq!(told(&found), ["candidate 70"]);
    assert!(!state.pace.missed);
    assert!(state.answer(ask(0, 9000), Instant::now()));
    assert!(state.pace.missed, "where it listens is not known");
}

#[test]
fn a_service_that_begins_to_listen_on_more_tells_of_its_ports() {
    let root = tempfile::tempdir().unwrap();
    python(root.path(), 70);
    listens(root.path(), 70);
    in_network(root.path(), 70);
    let (mut state, found) = state(root.path());
    state.discovery.is_told_of_listeners();
    assert!(state.answer(Ask::Wire { pid: 70, dialect: "openai_chat", port: 9000 }, Instant::now()) && state.scan());
    let ports = || {
        let services = found.try_iter().filter_map(|find| match find {
            Find::Service(found) => Some(found.ports),
            _ => None,
        });
        services.last().unwrap()
    };
    assert_eq!(ports(), [9000]);
    symlink("socket:[9007]", root.path().join("70/fd/4")).unwrap();
    let ask = Ask::Listen { pid: 70, network: NETWORK, socket: 9007, port: 9100 };
    assert!(state.answer(ask, Instant::now()) && state.look_at_listeners());
    assert_eq!(ports(), [9000, 9100]);
}

#[test]
fn what_was_missed_is_found_by_the_next_scan_and_that_comes_soon() {
    let root = tempfile::tempdir().unwrap();
    python(root.path(), 70);
    in_network(root.path(), 70);
    let (mut state, found) = state(root.path());
    state.pace = Pace::new(Duration::from_secs(3600), true);
    state.discovery.is_told_of_listeners();
    assert!((0..20).all(|_| state.scan()));
    listens(root.path(), 70);
    let before = state.pace.next();
    assert!(state.answer(Ask::Missed, Instant::now()));
    assert!(state.pace.next() < before);
    assert!(state.scan());
    assert_eq!(told(&found), ["candidate 70"]);
    assert!(!state.pace.missed);
}

#[test]
fn listeners_that_wait_are_bounded_and_the_rest_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let (mut state, _found) = state(root.path());
    for pid in 1..=PENDING as u32 + 5 {
        let ask = Ask::Listen { pid, network: NETWORK, socket: 9, port: 9000 };
        assert!(state.answer(ask, Instant::now()));
    }
    assert_eq!(state.live.asks_lost.load(Ordering::Relaxed), 5);
}

fn told(found: &Receiver<Find>) -> Vec<String> {
    let words = |find| match find {
        Find::Service(found) => format!("service {}", found.process.pid),
        Find::Candidate(pid) => format!("candidate {pid}"),
        Find::Unwanted(pid) => format!("unwanted {pid}"),
        Find::NoCandidates => "no candidates".to_owned(),
    };
    found.try_iter().map(words).collect()
}

#[test]
fn a_service_without_room_is_told_of_again() {
    let root = tempfile::tempdir().unwrap();
    python(root.path(), 70);
    listens(root.path(), 70);
    let (mut state, found) = state(root.path());
    assert!(state.scan());
    assert!(state.answer(Ask::Wire { pid: 70, dialect: "openai_chat", port: 9000 }, Instant::now()));
    assert!(state.scan());
    assert_eq!(told(&found), ["candidate 70", "service 70"]);
    assert!(state.answer(Ask::Again { pid: 70 }, Instant::now()) && state.scan() && state.scan());
    assert_eq!(told(&found), ["service 70"]);
}

#[test]
fn what_new_rules_do_not_want_is_let_go() {
    let root = tempfile::tempdir().unwrap();
    python(root.path(), 70);
    listens(root.path(), 70);
    let (mut state, found) = state(root.path());
    let mut reload = |rules: Rules| {
        assert!(state.answer(Ask::Rules(Box::new(rules)), Instant::now()));
        told(&found)
    };
    let include = |pids: &[u32], ports: &[u16]| Rules {
        enabled: false,
        include: Include { pids: pids.to_vec(), exe: Vec::new(), ports: ports.to_vec() },
        ..Rules::default()
    };
    assert_eq!(reload(Rules::default()), ["candidate 70"], "the same rules");
    assert_eq!(reload(include(&[], &[9000])), ["no candidates", "service 70"]);
    assert_eq!(reload(include(&[70], &[])), ["no candidates", "service 70"], "wanted by another rule");
    assert_eq!(reload(include(&[], &[])), ["unwanted 70", "no candidates"]);
    assert_eq!(reload(Rules::default()), ["no candidates", "candidate 70"]);
    let exclude = Rules { exclude: vec!["app.py".to_owned()], ..Rules::default() };
    assert_eq!(reload(exclude), ["no candidates"]);
    assert!(state.answer(Ask::Rules(Box::default()), Instant::now()));
    assert!(state.answer(Ask::Wire { pid: 70, dialect: "openai_chat", port: 9000 }, Instant::now()));
    assert_eq!(told(&found), ["no candidates", "candidate 70", "service 70"]);
    let silent = Rules { wire: false, ..Rules::default() };
    assert!(state.answer(Ask::Rules(Box::new(silent)), Instant::now()));
    assert!(state.answer(Ask::Wire { pid: 70, dialect: "openai_chat", port: 9000 }, Instant::now()));
    assert_eq!(told(&found), ["unwanted 70", "no candidates"]);
}

#[test]
fn what_there_is_no_room_for_is_counted() {
    let live = Arc::new(Live::default());
    let (asks, asked) = sync_channel(1);
    let (_finds, found) = sync_channel(1);
    let scout = Scout { asks, finds: found, live: Arc::clone(&live), thread: None };
    (1..=3).for_each(|pid| scout.ask(Ask::Exec { pid, filename: Vec::new() }));
    assert_eq!((asked.try_iter().count(), live.asks_lost.load(Ordering::Relaxed)), (1, 2));
    let root = tempfile::tempdir().unwrap();
    let (mut state, _found) = state(root.path());
    for pid in 0..PENDING as u32 + 5 {
        state.answer(Ask::Exec { pid, filename: b"/usr/bin/python3".to_vec() }, Instant::now());
    }
    assert_eq!((state.looks.len(), state.live.asks_lost.load(Ordering::Relaxed)), (PENDING, 5));
}
