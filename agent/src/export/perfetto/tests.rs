//! What is recorded, decoded again: runs and waits, calls, requests, counters, losses, and a disk that is full.

use inferscope_abi::{
    BlockIssue, Header, Kind, NEXT_ENDED, NO_SYSCALL, STATE_BLOCK_IO, STATE_FUTEX, STATE_NAMES, STATE_ONCPU,
    STATE_RUNQUEUE, STATE_SLEEP, STATE_UNKNOWN, WAIT_NEW, WAIT_NO_SYSCALL, WAIT_NONE, Wait,
};
use prost::Message;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use super::{
    proto::{COUNTER, INSTANT, Packet, SLICE_BEGIN, SLICE_END, Trace},
    *,
};
use crate::tasks::supervised;

const BEGAN_NS: u64 = 50;

fn header(tid: u32, at_ns: u64) -> Header {
    Header { kind: Kind::Sched as u32, tgid: 7, tid, reserved: 0, at_ns }
}

/// A run on CPU 1, woken on CPU 2 by thread 9.
fn run(tid: u32, blocked: (u64, usize), runnable_ns: u64, oncpu_ns: u64, left: (u64, u32)) -> SchedEvent {
    let (blocked_ns, state) = (blocked.0, blocked.1 as u16);
    let wait = Wait { blocked_ns, runnable_ns, waker: 9, waker_cpu: 2, cpu: 1, state, ..Wait::default() };
    SchedEvent { header: header(tid, left.0), oncpu_ns, wait, next: left.1, reserved: 0 }
}

/// A run after another thread had taken the CPU.
fn resumed(tid: u32, runnable_ns: u64, oncpu_ns: u64, left: (u64, u32)) -> SchedEvent {
    let wait = Wait { runnable_ns, cpu: 1, state: WAIT_NONE, ..Wait::default() };
    SchedEvent { header: header(tid, left.0), oncpu_ns, wait, next: left.1, reserved: 0 }
}

fn bytes(format: Format, act: impl FnOnce(&Timeline)) -> (Recorded, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let guard = supervised().0.guard("timeline");
    let timeline = Timeline::create(&path, format, Duration::from_nanos(100), guard).unwrap();
    timeline.begin(BEGAN_NS);
    act(&timeline);
    let recorded = timeline.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, recorded.bytes);
    (recorded, bytes)
}

fn recorded(act: impl FnOnce(&Timeline)) -> (Recorded, Vec<Packet>) {
    let (recorded, bytes) = bytes(Format::Perfetto, act);
    (recorded, Trace::decode(bytes.as_slice()).unwrap().packet)
}

/// What must be added to a time to find it in the file.
fn offset(packets: &[Packet]) -> u64 {
    let clocks = &packets[0].clock_snapshot.as_ref().unwrap().clocks;
    let at = |id: u32| clocks.iter().find(|clock| clock.id() == id).unwrap().timestamp();
    at(proto::BOOTTIME) - at(proto::MONOTONIC)
}

/// Time, former thread's state and next thread of a CPU's switches.
fn switches(packets: &[Packet], cpu: u32) -> Vec<(u64, i64, i32)> {
    let mut all = Vec::new();
    for bundle in packets.iter().filter_map(|p| p.ftrace.as_ref()).filter(|bundle| bundle.cpu() == cpu) {
        let mut at_ns = 0;
        for (i, delta) in bundle.compact.iter().flat_map(|c| c.timestamp.iter().enumerate()) {
            at_ns += delta;
            let compact = bundle.compact.as_ref().unwrap();
            all.push((at_ns - offset(packets), compact.prev_state[i], compact.next_tid[i]));
        }
    }
    all
}

/// Time, CPU, waker and woken thread; or the reason's word of a wait.
fn wakes(packets: &[Packet]) -> Vec<(u64, u32, u32, i32, Option<&str>)> {
    let symbols = &packets[0].interned.as_ref().unwrap().kernel_symbols;
    let word = |iid: u64| symbols.iter().find(|symbol| symbol.iid() == iid).unwrap().name();
    let of = |cpu: u32, event: &ftrace::Event| {
        let at_ns = event.timestamp() - offset(packets);
        match (&event.waking, &event.blocked) {
            (Some(waking), _) => (at_ns, cpu, event.tid(), waking.tid(), None),
            (_, Some(blocked)) => (at_ns, cpu, event.tid(), blocked.tid(), Some(word(blocked.caller()))),
            _ => panic!("{event:?}"),
        }
    };
    let bundles = packets.iter().filter_map(|p| p.ftrace.as_ref());
    bundles.flat_map(|bundle| bundle.event.iter().map(move |event| of(bundle.cpu(), event))).collect()
}

/// Time, kind and name of each event that is on no track of inferscope's own.
fn events(packets: &[Packet]) -> Vec<(u64, i32, String)> {
    let names = packets.iter().filter_map(|p| p.interned.as_ref()).flat_map(|interned| &interned.event_names);
    let names: FxHashMap<u64, &str> = names.map(|name| (name.iid(), name.name())).collect();
    let own = |p: &&Packet| p.track.as_ref().is_some_and(|track| track.name() == "inferscope");
    let own = packets.iter().find(own).and_then(|p| p.track.as_ref()?.uuid);
    let event = |p: &Packet| {
        let event = p.event.as_ref().filter(|event| event.track != own)?;
        let name = event.name_iid.map_or(event.name(), |iid| names[&iid]);
        Some((p.timestamp() - offset(packets), event.kind(), name.to_owned()))
    };
    packets.iter().filter_map(event).collect()
}

#[test]
fn runs_become_switches_and_wake_ups() {
    let (recorded, packets) = recorded(|timeline| {
        timeline.sched(&run(8, (100, STATE_FUTEX), 200, 210, (300, STATE_RUNQUEUE as u32)));
        // The next one begins at the same instant.
        timeline.sched(&run(9, (90, STATE_BLOCK_IO), 150, 300, (320, STATE_BLOCK_IO as u32)));
        timeline.sched(&resumed(8, 300, 330, (400, NEXT_ENDED)));
    });
    let want = [(BEGAN_NS, 0, 0), (210, 0, 8), (300, 0, 9), (320, 2, 0), (330, 0, 8), (400, 16, 0)];
    assert_eq!(switches(&packets, 1), want);
    assert_eq!(switches(&packets, 2), [(BEGAN_NS, 0, 0)], "a reader wants to know what the waker's CPU ran");
    let want =
        [(200, 2, 9, 8, Some("futex")), (200, 2, 9, 8, None), (150, 2, 9, 9, Some("block_io")), (150, 2, 9, 9, None)];
    assert_eq!(wakes(&packets), want);
    assert_eq!((recorded.runs, recorded.threads, recorded.left_out), (3, 2, 0));
    let first = &packets[0];
    assert_eq!(first.interned.as_ref().unwrap().kernel_symbols.len(), STATE_NAMES.len());
    assert_eq!(first.defaults.as_ref().unwrap().clock(), proto::BOOTTIME);
}

#[test]
fn a_run_whose_beginning_was_not_told_has_no_length() {
    let (_, packets) = recorded(|timeline| {
        timeline.sched(&run(10, (100, STATE_SLEEP), 200, 210, (300, STATE_SLEEP as u32)));
        timeline.sched(&resumed(10, 400, 0, (500, STATE_SLEEP as u32)));
    });
    let runs: Vec<u64> =
        switches(&packets, 1).iter().filter(|(.., next)| *next == 10).map(|(at_ns, ..)| *at_ns).collect();
    assert_eq!(runs, [210, 500]);
}

#[test]
fn what_was_before_and_is_after_is_shown() {
    let blocked = |tid| FoundThread { tgid: 7, tid, syscall: Some(libc::SYS_futex as u32), on_socket: false };
    let running = FoundThread { tgid: 7, tid: 12, syscall: None, on_socket: false };
    let thread = |state: u32, since_ns| Thread {
        tgid: 7,
        state,
        since_ns,
        syscall: NO_SYSCALL,
        wait: Wait { state: WAIT_NONE, cpu: 1, ..Wait::default() },
        ..Thread::default()
    };
    let (recorded, packets) = recorded(|timeline| {
        timeline.found(&[blocked(10), blocked(11), running], 60);
        // It was woken: the wait before it is the one it was found in.
        timeline.sched(&run(10, (0, usize::from(WAIT_NONE)), 200, 210, (300, STATE_SLEEP as u32)));
        let threads = [
            (10, thread(STATE_SLEEP as u32, 300)),
            (11, thread(STATE_UNKNOWN, 0)),
            (12, thread(STATE_ONCPU as u32, 400)),
            // Its next run is told already.
            (10, thread(STATE_ONCPU as u32, 250)),
            // It waits in a call that began long ago.
            (13, Thread { syscall: libc::SYS_read as u32, syscall_since_ns: 350, ..thread(STATE_SLEEP as u32, 360) }),
        ];
        timeline.end(&threads, std::iter::empty(), 500);
    });
    assert_eq!(recorded.threads, 4);
    let found = [(BEGAN_NS, 0, 0), (BEGAN_NS, 0, 10), (BEGAN_NS, 1, 0), (BEGAN_NS, 0, 11), (BEGAN_NS, 1, 0)];
    assert_eq!(switches(&packets, 0), found);
    assert_eq!(switches(&packets, 1), [(BEGAN_NS, 0, 0), (210, 0, 10), (300, 1, 0), (400, 0, 12)]);
    let mut reasons: Vec<_> =
        wakes(&packets).into_iter().filter_map(|(at, _, _, tid, why)| Some((at, tid, why?))).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, [(200, 10, "futex"), (500, 10, "sleep"), (500, 11, "futex"), (500, 13, "sleep")]);
    assert_eq!(events(&packets), [(350, SLICE_BEGIN, "read".to_owned())], "a slice without an end");
}

#[test]
fn a_thread_found_blocked_that_runs_unseen_does_not_run_from_the_beginning() {
    let found = FoundThread { tgid: 7, tid: 10, syscall: Some(libc::SYS_futex as u32), on_socket: false };
    let (_, packets) = recorded(|timeline| {
        timeline.found(&[found], 60);
        timeline.sched(&resumed(10, 0, 0, (90, STATE_FUTEX as u32)));
        timeline.sched(&resumed(11, 0, 0, (95, STATE_FUTEX as u32)));
    });
    assert_eq!(switches(&packets, 1), [(BEGAN_NS, 0, 0), (90, 0, 10), (90, 1, 11), (95, 1, 0)]);
}

#[test]
fn a_new_thread_was_not_blocked() {
    let mut event = run(8, (0, usize::from(WAIT_NONE)), 200, 210, (300, STATE_FUTEX as u32));
    event.wait.flags = WAIT_NEW;
    let (_, packets) = recorded(|timeline| timeline.sched(&event));
    assert_eq!(wakes(&packets), [(200, 2, 9, 8, None)]);
}

#[test]
fn calls_sockets_faults_and_stalls_are_slices() {
    let mut fault = run(8, (100, STATE_BLOCK_IO), 200, 210, (300, STATE_FUTEX as u32));
    fault.wait.flags = WAIT_NO_SYSCALL;
    let issue = BlockIssue { at_ns: 600, tgid: 7, tid: 8, bytes: 4096, ..BlockIssue::default() };
    let payload = |length, flags| PayloadHeader {
        header: header(8, 520),
        enter_ns: 510,
        length,
        flags,
        direction: DIR_RX,
        ..PayloadHeader::default()
    };
    let (recorded, packets) = recorded(|timeline| {
        timeline.sched(&fault);
        let number = libc::SYS_fsync as u32;
        timeline.syscall(&SyscallEvent { header: header(8, 500), enter_ns: 400, result: -28, number, fd: 3 });
        timeline.socket(&payload(8192, PAYLOAD_MORE));
        timeline.socket(&payload(100, 0));
        timeline.block(&BlockEvent { header: header(8, 700), issue });
        timeline.stall(&StallEvent {
            header: header(8, 900),
            begin_ns: 800,
            pages: 32,
            cause: STALL_CGROUP,
            reserved: 0,
        });
    });
    let slice = |name: &str, begin, end| [(begin, SLICE_BEGIN, name.to_owned()), (end, SLICE_END, String::new())];
    let want = [
        slice("page fault (disk)", 100, 210),
        slice("fsync", 400, 500),
        slice("receive", 510, 520),
        slice("read", 600, 700),
        slice("reclaim (cgroup limit)", 800, 900),
    ];
    assert_eq!(events(&packets), want.concat());
    assert_eq!(recorded.calls, 1);
    let notes: Vec<_> = packets.iter().filter_map(|p| p.event.as_ref()).flat_map(|event| &event.annotations).collect();
    assert!(notes.iter().any(|note| note.text() == "No space left on device (os error 28)"), "{notes:?}");
    assert!(notes.iter().any(|note| note.uint() == 8292), "a call of two records is one: {notes:?}");
}

fn request() -> Request {
    Request {
        pid: 7,
        operation: Some("chat"),
        model: Some("m".into()),
        start_ns: 1_000,
        ttft_s: Some(2e-6),
        duration_s: 5e-6,
        output_tokens: Some(9),
        chunk_times_ns: vec![3_000, 4_000],
        ..Request::default()
    }
}

#[test]
fn a_request_is_a_slice_with_its_phases_and_chunks() {
    let (recorded, packets) = recorded(|timeline| {
        timeline.request(&request());
        timeline.request(&Request { ttft_s: None, chunk_times_ns: Vec::new(), ..request() });
        timeline.request(&Request { ttft_s: None, chunk_times_ns: Vec::new(), start_ns: 7_000, ..request() });
    });
    assert_eq!(recorded.requests, 3);
    let (begin, end) = (SLICE_BEGIN, SLICE_END);
    let want = [
        (1_000, begin, "chat m"),
        (1_000, begin, "prefill"),
        (3_000, end, ""),
        (3_000, begin, "decode"),
        (6_000, end, ""),
        (3_000, INSTANT, "chunk"),
        (4_000, INSTANT, "chunk"),
        (6_000, end, ""),
        (1_000, begin, "chat m"),
        (6_000, end, ""),
        (7_000, begin, "chat m"),
        (12_000, end, ""),
    ];
    assert_eq!(events(&packets), want.map(|(at, kind, name)| (at, kind, name.to_owned())));
    let tracks = packets.iter().filter(|p| p.track.as_ref().is_some_and(|t| t.name() == "requests")).count();
    assert_eq!(tracks, 2, "overlapping requests need tracks of their own, others do not");
}

#[test]
fn a_request_that_has_not_ended_has_no_end() {
    let open = InFlight {
        service: 1,
        tgid: 7,
        role: crate::session::exchange::Role::Server,
        server_port: 1,
        is_llm: true,
        streams: true,
        start_ns: 100,
        first_content_ns: Some(200),
        last_content_ns: Some(200),
    };
    let (_, packets) = recorded(|timeline| timeline.end(&[], [open].into_iter(), 500));
    let (begin, end) = (SLICE_BEGIN, SLICE_END);
    let want =
        [(100, begin, "LLM request, not ended"), (100, begin, "prefill"), (200, end, ""), (200, begin, "decode")];
    assert_eq!(events(&packets), want.map(|(at, kind, name)| (at, kind, name.to_owned())));
    let waits = InFlight { first_content_ns: None, last_content_ns: None, ..open };
    for (streams, phases) in [(true, &[(100, begin, "prefill")][..]), (false, &[])] {
        let open = InFlight { streams, ..waits };
        let (_, packets) = recorded(|timeline| timeline.end(&[], [open].into_iter(), 500));
        let want = [&[(100, begin, "LLM request, not ended")][..], phases].concat();
        let want: Vec<_> = want.into_iter().map(|(at, kind, name)| (at, kind, name.to_owned())).collect();
        assert_eq!(events(&packets), want);
    }
}

#[test]
fn counters_and_losses() {
    let (_, packets) = recorded(|timeline| {
        let sample = Sample { pid: Some(7), name: "resident memory", unit: "By", at_ns: 5, value: 3.0 };
        timeline.sample(&sample);
        timeline.sample(&Sample { at_ns: 6, value: 4.0, ..sample });
        for total in [0, 3, 3, 5] {
            timeline.lost(total, 9);
        }
    });
    let values: Vec<f64> =
        packets.iter().filter_map(|p| p.event.as_ref().filter(|e| e.kind() == COUNTER)?.value).collect();
    assert_eq!(values, [3.0, 4.0]);
    let names = packets.iter().filter_map(|p| p.interned.as_ref()).flat_map(|interned| &interned.event_names);
    let marks: Vec<&str> = names.map(|name| name.name()).filter(|name| name.contains("lost")).collect();
    assert_eq!(marks, ["3 events lost", "2 events lost"]);
}

#[test]
fn json_is_whole_and_in_microseconds() {
    let (_, bytes) = bytes(Format::Json, |timeline| {
        timeline.sched(&run(8, (100_000, STATE_FUTEX), 200_000, 210_000, (300_500, STATE_SLEEP as u32)));
        timeline.request(&request());
        timeline.sample(&Sample { pid: None, name: "GPU 0 power", unit: "W", at_ns: 5_000, value: 3.0 });
    });
    let all: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
    let states: Vec<_> = all
        .iter()
        .filter(|event| event["cat"] == "sched")
        .map(|event| (event["name"].as_str().unwrap(), event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap()))
        .collect();
    assert_eq!(states, [("blocked: futex", 100.0, 100.0), ("runnable", 200.0, 10.0), ("running", 210.0, 90.5)]);
    let count = |phase: &str| all.iter().filter(|event| event["ph"] == phase).count();
    assert_eq!((count("b"), count("e"), count("n"), count("C"), count("i")), (3, 3, 2, 1, 2));
}

#[test]
fn a_full_disk_is_told_and_costs_no_wait() {
    let guard = supervised().0.guard("timeline");
    let timeline = Timeline::create(Path::new("/dev/full"), Format::Perfetto, Duration::ZERO, guard).unwrap();
    timeline.begin(BEGAN_NS);
    let began = std::time::Instant::now();
    for at in (100..20_000_000).step_by(100) {
        timeline.sched(&run(8, (at, STATE_FUTEX), at + 10, at + 20, (at + 90, STATE_FUTEX as u32)));
    }
    let error = timeline.finish().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(began.elapsed() < Duration::from_secs(30));
}

/// Before and after a process, a shell at first, has become `cat`.
fn becomes_cat(before: impl FnOnce(u32), after: impl FnOnce(u32)) {
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", "echo first; read line; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(from.next().unwrap().unwrap(), "first");
    before(child.id());
    to.write_all(b"\nsecond\n").unwrap();
    assert_eq!(from.next().unwrap().unwrap(), "second");
    after(child.id());
    drop(to);
    assert!(child.wait().unwrap().success());
}

fn run_of(pid: u32, at_ns: u64) -> SchedEvent {
    let run = resumed(pid, at_ns, at_ns + 10, (at_ns + 20, STATE_RUNQUEUE as u32));
    SchedEvent { header: Header { tgid: pid, ..run.header }, ..run }
}

#[test]
fn a_process_that_runs_another_program_has_its_name_on_the_tracks_that_it_has() {
    let mut whose = 0;
    let (_, packets) = recorded(|timeline| {
        let before = |pid| {
            timeline.exec(pid, 90);
            timeline.sched(&run_of(pid, 100));
        };
        let after = |pid| {
            timeline.exec(pid, 150);
            timeline.sched(&run_of(pid, 200));
            whose = pid as i32;
        };
        becomes_cat(before, after);
    });
    let tracks = || packets.iter().filter_map(|packet| packet.track.as_ref());
    let processes = tracks().filter_map(|track| Some((track.uuid(), track.process.as_ref()?.name().to_owned())));
    let threads = tracks().filter_map(|track| Some((track.uuid(), track.thread.as_ref()?.name().to_owned())));
    for all in [processes.collect::<Vec<_>>(), threads.collect()] {
        let names: Vec<&str> = all.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["sh", "cat"], "once before it is known, nothing is said of it");
        assert_eq!(all[0].0, all[1].0);
    }
    let compact = packets.iter().filter_map(|packet| packet.ftrace.as_ref()?.compact.as_ref());
    let named = compact
        .flat_map(|all| all.next_tid.iter().zip(&all.next_name).map(|(tid, name)| (*tid, &all.names[*name as usize])));
    let names: Vec<&str> = named.filter(|(tid, _)| *tid == whose).map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["sh", "cat"]);
    let events = packets.iter().filter_map(|packet| packet.ftrace.as_ref()).flat_map(|bundle| &bundle.event);
    let renamed = |event: &ftrace::Event| {
        let renamed = event.renamed.as_ref()?;
        Some((event.timestamp() - offset(&packets), renamed.tid(), renamed.name().to_owned()))
    };
    assert_eq!(events.filter_map(renamed).collect::<Vec<_>>(), [(150, whose, "cat".to_owned())]);
}

/// Names of processes and threads in Chrome's form, in the file's order.
fn metadata(act: impl FnOnce(&Timeline)) -> Vec<(String, String)> {
    let all: Vec<serde_json::Value> = serde_json::from_slice(&bytes(Format::Json, act).1).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    all.iter()
        .filter(|event| event["ph"] == "M")
        .map(|event| (text(&event["name"]), text(&event["args"]["name"])))
        .collect()
}

#[test]
fn json_names_a_process_anew_that_runs_another_program() {
    let names = metadata(|timeline| {
        let before = |pid| timeline.sched(&run_of(pid, 100));
        let after = |pid| {
            timeline.exec(pid, 150);
            timeline.sched(&run_of(pid, 200));
        };
        becomes_cat(before, after);
    });
    let names: Vec<_> = names.iter().map(|(what, name)| (what.as_str(), name.as_str())).collect();
    assert_eq!(names, [("process_name", "sh"), ("thread_name", "sh"), ("process_name", "cat"), ("thread_name", "cat")]);
}

#[test]
fn json_names_a_process_of_which_there_is_only_a_counter_at_first() {
    let pid = std::process::id();
    let names = metadata(|timeline| {
        let sample = Sample { pid: Some(pid), name: "resident memory", unit: "By", at_ns: 5, value: 3.0 };
        timeline.sample(&sample);
        timeline.sample(&sample);
        timeline.sched(&run_of(pid, 100));
    });
    let what: Vec<&str> = names.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(what, ["process_name", "thread_name"]);
}
