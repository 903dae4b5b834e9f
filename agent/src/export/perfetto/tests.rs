//! What is recorded, decoded again: states, requests, counters, losses, and a disk that is full.

use std::time::Duration;

use inferscope_abi::{Header, Kind, STATE_FUTEX, STATE_ONCPU, STATE_RUNQUEUE, STATE_UNKNOWN};
use prost::Message;

use super::{
    proto::{COUNTER, Packet, Trace},
    *,
};
use crate::tasks::supervised;

fn sched(tid: u32, at_ns: u64, state: usize, waker: u32) -> SchedEvent {
    let header = Header { kind: Kind::Sched as u32, tgid: 7, tid, reserved: 0, at_ns };
    SchedEvent { header, state: state as u32, cpu: 1, waker, reserved: 0 }
}

fn recorded(act: impl FnOnce(&Timeline)) -> (Recorded, Vec<Packet>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let timeline = Timeline::create(&path, supervised().0.guard("timeline")).unwrap();
    act(&timeline);
    let recorded = timeline.finish(1_000).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, recorded.bytes);
    (recorded, Trace::decode(bytes.as_slice()).unwrap().packet)
}

/// Time, kind and name number of each event on a thread's track.
fn events(packets: &[Packet], tid: i32) -> Vec<(u64, i32, u64)> {
    let is_its = |p: &&Packet| p.track.as_ref().is_some_and(|t| t.thread.as_ref().is_some_and(|t| t.tid == Some(tid)));
    let tracks: Vec<u64> = packets.iter().filter(is_its).filter_map(|p| p.track.as_ref()?.uuid).collect();
    let event = |p: &Packet| {
        let event = p.event.as_ref().filter(|e| tracks.contains(&e.track()))?;
        Some((p.timestamp(), event.kind(), event.name_iid()))
    };
    packets.iter().filter_map(event).collect()
}

#[test]
fn states_follow_one_another_and_all_end() {
    let (recorded, packets) = recorded(|timeline| {
        timeline.sched(&sched(8, 100, STATE_ONCPU, 0));
        timeline.sched(&sched(9, 110, STATE_ONCPU, 0));
        timeline.sched(&sched(8, 200, STATE_FUTEX, 0));
        timeline.sched(&sched(8, 300, STATE_RUNQUEUE, 9));
        timeline.sched(&sched(9, 310, STATE_UNKNOWN as usize, 0));
    });
    let name = |state: usize| state as u64 + 1;
    let (begin, end) = (SLICE_BEGIN, SLICE_END);
    let eight = [
        (100, begin, name(STATE_ONCPU)),
        (200, end, 0),
        (200, begin, name(STATE_FUTEX)),
        (300, end, 0),
        (300, begin, name(STATE_RUNQUEUE)),
        (1_000, end, 0),
    ];
    assert_eq!(events(&packets, 8), eight);
    assert_eq!(events(&packets, 9), [(110, begin, name(STATE_ONCPU)), (310, end, 0)]);
    assert_eq!((recorded.slices, recorded.threads, recorded.left_out), (4, 2, 0));
    let woken = packets.iter().find(|p| p.timestamp() == 300 && p.event.as_ref().unwrap().kind() == begin).unwrap();
    let woken: Vec<_> = woken.event.as_ref().unwrap().annotations.iter().map(|a| (a.name_iid(), a.uint())).collect();
    assert_eq!(woken, [(2, 9), (3, 1)]);
    let first = &packets[0];
    let names = &first.interned.as_ref().unwrap().event_names;
    assert_eq!(names[STATE_FUTEX].name(), "blocked: futex");
    assert_eq!(first.defaults.as_ref().unwrap().clock(), proto::MONOTONIC);
}

#[test]
fn a_request_is_a_slice_with_its_phases() {
    let request = Request {
        pid: 7,
        operation: Some("chat"),
        model: Some("m".into()),
        start_ns: 1_000,
        ttft_s: Some(2e-6),
        duration_s: 5e-6,
        output_tokens: Some(9),
        ..Request::default()
    };
    let (recorded, packets) = recorded(|timeline| {
        timeline.request(&request);
        timeline.request(&Request { ttft_s: None, ..request.clone() });
    });
    assert_eq!(recorded.requests, 2);
    let event = |p: &Packet| Some((p.timestamp(), p.event.as_ref()?.kind(), p.event.as_ref()?.name().to_owned()));
    let events: Vec<_> = packets.iter().filter_map(event).collect();
    let (begin, end) = (SLICE_BEGIN, SLICE_END);
    let want = [
        (1_000, begin, "chat m"),
        (1_000, begin, "prefill"),
        (3_000, end, ""),
        (3_000, begin, "decode"),
        (6_000, end, ""),
        (6_000, end, ""),
        (1_000, begin, "chat m"),
        (6_000, end, ""),
    ];
    assert_eq!(events, want.map(|(at, kind, name)| (at, kind, name.to_owned())));
    let tracks = packets.iter().filter(|p| p.track.as_ref().is_some_and(|t| t.name() == "requests")).count();
    assert_eq!(tracks, 2, "overlapping requests need tracks of their own");
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
    let marks: Vec<&str> =
        packets.iter().filter_map(|p| Some(p.event.as_ref().filter(|e| e.kind() == INSTANT)?.name())).collect();
    assert_eq!(marks, ["3 events lost", "2 events lost"]);
}

#[test]
fn a_full_disk_is_told_and_costs_no_wait() {
    let guard = supervised().0.guard("timeline");
    let timeline = Timeline::create(Path::new("/dev/full"), guard).unwrap();
    let began = std::time::Instant::now();
    for at in 0..200_000 {
        timeline.sched(&sched(8, at, if at % 2 == 0 { STATE_ONCPU } else { STATE_FUTEX }, 0));
    }
    let error = timeline.finish(1_000_000).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(began.elapsed() < Duration::from_secs(30));
}
