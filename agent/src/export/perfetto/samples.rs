//! Stack samples as packets of a Perfetto trace, on a sequence of their own, so that they can stand behind a timeline in
//! the same file. Samples of the CPUs' clock are perf samples; who held the GIL is a track of each process.
#![forbid(unsafe_code)]

mod proto;

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
};

use prost::Message;
use rustc_hash::FxHashMap;

use crate::profile::{Kind, Profile, State, What};
use proto::{
    Callstack, Defaults, Event, Frame, Interned, Mapping, Packet, PerfSample, Process, SampleDefaults, Text, Timebase,
    Trace, Track,
};

/// TracePacket.sequence_flags, BuiltinClock, TrackEvent.Type, Profiling.CpuMode.
const STATE_CLEARED: u32 = 1;
const NEEDS_STATE: u32 = 2;
const MONOTONIC: u32 = 3;
const SLICE_BEGIN: i32 = 1;
const SLICE_END: i32 = 2;
const MODE_KERNEL: i32 = 1;
const MODE_USER: i32 = 2;
/// No other writer of the trace has this sequence, and no other track these numbers.
const SEQUENCE: u32 = 1007;
const PROCESS_TRACKS: u64 = 1 << 60;
const GIL_TRACKS: u64 = 1 << 61;
/// Entries of one packet of names.
const ENTRIES: usize = 5000;
/// Two ticks further apart than this say nothing of the time between.
const TOGETHER: u64 = 3;

fn text(iid: u64, text: &str) -> Text {
    Text { iid: Some(iid), text: Some(text.as_bytes().to_vec()) }
}

fn packet(flags: u32) -> Packet {
    Packet { sequence: Some(SEQUENCE), flags: Some(flags), ..Packet::default() }
}

fn first(profile: &Profile) -> Packet {
    let timebase = Timebase { frequency: Some(profile.frequency_hz.into()), name: Some("cpu-clock".to_owned()) };
    let defaults = Defaults { samples: Some(SampleDefaults { timebase: Some(timebase) }), clock: Some(MONOTONIC) };
    Packet { defaults: Some(defaults), ..packet(STATE_CLEARED) }
}

/// Mappings: one per module, behind them one for everything else by the file's name.
fn mappings(profile: &Profile) -> (Interned, FxHashMap<String, u64>) {
    let mut interned = Interned::default();
    let mut by_file = FxHashMap::<String, u64>::default();
    let mut add = |file: &str, build_id: Option<&str>| {
        let iid = interned.mappings.len() as u64 + 1;
        interned.mapping_paths.push(text(iid, file));
        let build_id = build_id.map(|id| {
            interned.build_ids.push(text(iid, id));
            iid
        });
        interned.mappings.push(Mapping { iid: Some(iid), build_id, end: Some(i64::MAX as u64), path: vec![iid] });
        iid
    };
    for module in &profile.modules {
        add(&module.path, module.build_id.as_deref());
    }
    for frame in profile.frames.iter().filter(|frame| frame.module.is_none()) {
        if !by_file.contains_key(&frame.file) {
            by_file.insert(frame.file.clone(), add(&frame.file, None));
        }
    }
    (interned, by_file)
}

fn names(profile: &Profile, out: &mut Vec<Packet>) {
    let mut put = |interned| out.push(Packet { interned: Some(interned), ..packet(NEEDS_STATE) });
    let (interned, by_file) = mappings(profile);
    put(interned);
    for (part, frames) in profile.frames.chunks(ENTRIES).enumerate() {
        let mut interned = Interned::default();
        for (index, frame) in frames.iter().enumerate() {
            let iid = (part * ENTRIES + index) as u64 + 1;
            let name = if frame.kind == Kind::Python { format!("{} [py]", frame.name) } else { frame.name.clone() };
            interned.function_names.push(text(iid, &name));
            let mapping =
                frame.module.map(|module| u64::from(module) + 1).or_else(|| by_file.get(&frame.file).copied());
            interned.frames.push(Frame { iid: Some(iid), name: Some(iid), mapping, rel_pc: Some(frame.address) });
        }
        put(interned);
    }
    for (part, stacks) in profile.merged.stacks.chunks(ENTRIES).enumerate() {
        let frames = stacks.iter().map(|stack| stack.iter().map(|frame| u64::from(*frame) + 1).collect());
        let first = (part * ENTRIES) as u64 + 1;
        let callstacks = (first..).zip(frames).map(|(iid, frames)| Callstack { iid: Some(iid), frames }).collect();
        put(Interned { callstacks, ..Interned::default() });
    }
}

fn samples(profile: &Profile, out: &mut Vec<Packet>) {
    for sample in profile.merged.samples.iter().filter(|sample| sample.what == What::OnCpu) {
        let thread = &profile.threads[sample.thread as usize];
        let innermost = profile.merged.stacks[sample.stack as usize].last();
        let kernel = innermost.is_some_and(|frame| profile.frames[*frame as usize].kind == Kind::Kernel);
        let sampled = PerfSample {
            cpu: Some(sample.cpu),
            pid: Some(thread.pid),
            tid: Some(thread.tid),
            callstack: Some(u64::from(sample.stack) + 1),
            mode: Some(if kernel { MODE_KERNEL } else { MODE_USER }),
        };
        out.push(Packet { timestamp: Some(sample.at_ns), sample: Some(sampled), ..packet(NEEDS_STATE) });
    }
}

/// A slice for as long as tick after tick found the same holder.
fn holders(profile: &Profile, out: &mut Vec<Packet>) {
    struct Open {
        thread: u32,
        since_ns: u64,
        until_ns: u64,
    }
    let mut open = FxHashMap::<u32, Open>::default();
    let mut seen = Vec::new();
    let mut close = |pid: u32, open: &Open, out: &mut Vec<Packet>| {
        let track = GIL_TRACKS + u64::from(pid);
        if !seen.contains(&pid) {
            seen.push(pid);
            let parent = PROCESS_TRACKS + u64::from(pid);
            let process = Some(Process { pid: Some(pid as i32) });
            out.push(Packet {
                track: Some(Track { uuid: Some(parent), process, ..Track::default() }),
                ..packet(NEEDS_STATE)
            });
            let name = Some("GIL holder".to_owned());
            let own = Track { uuid: Some(track), name, parent: Some(parent), ..Track::default() };
            out.push(Packet { track: Some(own), ..packet(NEEDS_STATE) });
        }
        let thread = &profile.threads[open.thread as usize];
        let name = Some(format!("{} ({})", thread.name, thread.tid));
        for (at_ns, kind, name) in [(open.since_ns, SLICE_BEGIN, name), (open.until_ns, SLICE_END, None)] {
            let event = Event { kind: Some(kind), track: Some(track), name };
            out.push(Packet { timestamp: Some(at_ns), event: Some(event), ..packet(NEEDS_STATE) });
        }
    };
    for sample in profile.merged.samples.iter().filter(|sample| sample.what == What::Python(State::Holds)) {
        let pid = profile.threads[sample.thread as usize].pid;
        let until_ns = sample.at_ns + sample.weight_ns;
        match open.get_mut(&pid) {
            Some(open)
                if open.thread == sample.thread && sample.at_ns <= open.until_ns + TOGETHER * sample.weight_ns / 2 =>
            {
                open.until_ns = until_ns;
            }
            other => {
                if let Some(open) = other {
                    open.until_ns = open.until_ns.min(sample.at_ns);
                    close(pid, open, out);
                }
                open.insert(pid, Open { thread: sample.thread, since_ns: sample.at_ns, until_ns });
            }
        }
    }
    for (pid, open) in &open {
        close(*pid, open, out);
    }
}

/// The packets, as the bytes of a trace; traces may stand one behind the other.
pub fn bytes(profile: &Profile) -> Vec<u8> {
    let mut packet = vec![first(profile)];
    names(profile, &mut packet);
    samples(profile, &mut packet);
    holders(profile, &mut packet);
    Trace { packet }.encode_to_vec()
}

/// Adds them to a trace that is written; how many bytes. Errors: the disk's, and then the trace is as it was.
pub fn append(path: &Path, profile: &Profile) -> io::Result<u64> {
    let bytes = bytes(profile);
    let mut file = OpenOptions::new().append(true).open(path)?;
    let before = file.metadata()?.len();
    if let Err(error) = file.write_all(&bytes) {
        file.set_len(before)?;
        return Err(error);
    }
    Ok(bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::example;

    #[test]
    fn samples_refer_to_names_that_are_told_before() {
        let packets = Trace::decode(bytes(&example()).as_slice()).unwrap().packet;
        assert!(packets.iter().all(|packet| packet.sequence == Some(SEQUENCE)));
        let (mut names, mut frames, mut stacks, mut samples) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for packet in &packets {
            if let Some(interned) = &packet.interned {
                names.extend(interned.function_names.iter().map(|name| name.iid));
                frames.extend(interned.frames.iter().map(|frame| frame.iid));
                assert!(interned.frames.iter().all(|frame| names.contains(&frame.name) && frame.mapping.is_some()));
                let known = |frame: &u64| frames.contains(&Some(*frame));
                assert!(interned.callstacks.iter().all(|stack| stack.frames.iter().all(known)));
                stacks.extend(interned.callstacks.iter().map(|stack| stack.iid));
            }
            if let Some(sample) = packet.sample {
                assert!(stacks.contains(&sample.callstack));
                samples += 1;
            }
        }
        assert_eq!(samples, 3);
        let slices = packets.iter().filter_map(|packet| packet.event.as_ref()?.name.as_deref());
        assert_eq!(slices.collect::<Vec<_>>(), ["t (11)"]);
    }

    #[test]
    fn they_stand_behind_a_timeline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes(&example())).unwrap();
        let once = std::fs::metadata(file.path()).unwrap().len();
        assert_eq!(append(file.path(), &example()).unwrap(), once);
        let packets = Trace::decode(std::fs::read(file.path()).unwrap().as_slice()).unwrap().packet;
        assert_eq!(packets[..packets.len() / 2], packets[packets.len() / 2..]);
    }
}
