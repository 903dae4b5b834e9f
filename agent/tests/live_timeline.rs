//! Live: `attach --out`. What the file says of threads agrees with the kernel's own books, of requests with the client;
//! states follow one another without a gap, and whatever ends the recording leaves a whole file.
#![allow(clippy::unwrap_used)]

use agent::export::perfetto::proto::{Event, Packet, SLICE_BEGIN, SLICE_END, Trace};
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::child::{Lines, Running};
use support::client::Request;
use support::server::Server;
use support::workload::Workload;
use support::{live, locate, schedstat};

const SOON: Duration = Duration::from_secs(30);

/// One slice of a track.
struct Slice {
    name: String,
    begin_ns: u64,
    end_ns: u64,
}

/// Slices by track, in order of their end.
fn slices(file: &Path) -> BTreeMap<u64, Vec<Slice>> {
    let packets = Trace::decode(std::fs::read(file).unwrap().as_slice()).unwrap().packet;
    let names = |p: &Packet| p.interned.as_ref().map(|i| i.event_names.clone());
    let names = packets.iter().find_map(names).unwrap();
    let name = |event: &Event| match event.name_iid {
        Some(iid) => names.iter().find(|name| name.iid == Some(iid)).unwrap().name().to_owned(),
        None => event.name().to_owned(),
    };
    let mut events: Vec<(u64, &Event)> =
        packets.iter().filter_map(|p| Some((p.timestamp(), p.event.as_ref()?))).collect();
    events.sort_by_key(|(at, _)| *at);
    let (mut open, mut all) = (BTreeMap::<u64, Vec<(String, u64)>>::new(), BTreeMap::<u64, Vec<Slice>>::new());
    for (at, event) in events {
        match event.kind() {
            SLICE_BEGIN => open.entry(event.track()).or_default().push((name(event), at)),
            SLICE_END => {
                let (name, begin_ns) = open.get_mut(&event.track()).unwrap().pop().unwrap();
                all.entry(event.track()).or_default().push(Slice { name, begin_ns, end_ns: at });
            }
            _ => {}
        }
    }
    assert!(open.values().all(Vec::is_empty), "slices that do not end");
    all
}

fn seconds<'a>(slices: impl IntoIterator<Item = &'a Slice>, name: &str) -> f64 {
    let of_name = slices.into_iter().filter(|slice| slice.name == name);
    of_name.map(|slice| (slice.end_ns - slice.begin_ns) as f64 / 1e9).sum()
}

fn attach(pid: u32, file: &Path) -> Running {
    let mut command = Command::new(locate::agent().unwrap());
    command.args(["attach", "--duration", "10m", "--pid", &pid.to_string(), "--out"]).arg(file);
    let attach = Running::start(command, Lines::Stderr).unwrap();
    attach.wait_line(SOON, |line| line.starts_with("watching").then_some(())).unwrap();
    attach
}

#[test]
fn threads_are_where_the_kernel_says() {
    let Some(_guard) = live::begin("threads_are_where_the_kernel_says") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let mut busy = Workload::start(&["busy", "--threads", "4", "--seconds", "2"]).unwrap();
    let mut attach = attach(busy.pid(), &file);
    let before = schedstat::read(busy.pid()).unwrap();
    busy.work().unwrap();
    let grown = schedstat::read(busy.pid()).unwrap() - before;
    assert!(attach.stop(libc::SIGINT, SOON).unwrap().success());
    attach.wait_line(SOON, |line| line.starts_with("timeline: ").then_some(())).unwrap();
    let all = slices(&file);
    for (what, truth) in [("running", grown.oncpu_ns), ("runnable", grown.runqueue_ns)] {
        let (got, truth) = (seconds(all.values().flatten(), what), truth as f64 / 1e9);
        // As in live_sched: the kernel leaves out what interrupts and the hypervisor took.
        assert!((got - truth).abs() < 0.02 + 0.05 * truth, "{what}: {got} s, schedstat {truth} s");
    }
    for track in all.values() {
        for pair in track.windows(2) {
            assert_eq!(pair[0].end_ns, pair[1].begin_ns, "between {} and {}", pair[0].name, pair[1].name);
        }
    }
}

#[test]
fn requests_stand_over_the_threads() {
    let Some(_guard) = live::begin("requests_stand_over_the_threads") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let server = Server::start(&["-s", "prefill-ms=20", "-s", "delay-us=2000"]).unwrap();
    let mut attach = attach(server.pid(), &file);
    let outcomes: Vec<_> =
        (0..4).map(|i| live::send(&server, &Request::chat("m", "one two three", 20, i != 3))).collect();
    assert!(attach.stop(libc::SIGINT, SOON).unwrap().success());
    let all = slices(&file);
    let requests: Vec<&Vec<Slice>> = all.values().filter(|track| track.iter().any(|s| s.name == "chat m")).collect();
    assert_eq!(requests.len(), 4);
    for (track, o) in requests.iter().zip(&outcomes) {
        let whole = track.iter().find(|slice| slice.name == "chat m").unwrap();
        assert!(whole.begin_ns >= o.t_send_ns && whole.begin_ns < o.t_first_byte_ns);
        let phases = seconds(*track, "prefill") + seconds(*track, "decode");
        let want = if o.ttft_ns.is_some() { seconds(*track, "chat m") } else { 0.0 };
        assert!((phases - want).abs() < 1e-6, "{phases} s in phases of {want} s");
    }
    // It slept before the first token of each, and between the tokens of those that were streamed.
    let asleep = seconds(all.values().flatten(), "asleep");
    assert!(asleep > 4.0 * 0.02 + 3.0 * 19.0 * 0.002, "{asleep} s asleep");
}

#[test]
fn a_process_that_ends_leaves_a_whole_file() {
    let Some(_guard) = live::begin("a_process_that_ends_leaves_a_whole_file") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let server = Server::start(&[]).unwrap();
    let mut attach = attach(server.pid(), &file);
    live::send(&server, &Request::chat("m", "hi", 20, true));
    drop(server);
    assert!(attach.wait(SOON).unwrap().success());
    assert!(slices(&file).values().flatten().any(|slice| slice.name == "chat m"));
}

#[test]
fn a_file_that_cannot_be_made_is_told_before_anything_else() {
    let Some(_guard) = live::begin("a_file_that_cannot_be_made_is_told_before_anything_else") else { return };
    let mut command = Command::new(locate::agent().unwrap());
    command.args(["attach", "--pid", &std::process::id().to_string(), "--out", "/nonexistent/trace"]);
    let said = command.output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{words}");
    assert!(words.contains("/nonexistent/trace") && words.contains("choose a file"), "{words}");
}
