//! A profile in pprof's format: gzipped protobuf, with the field numbers of profile.proto in the pprof project. Phase and
//! thread are labels, so that `-tagfocus` and `-tagroot` split by them.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use prost::Message;
use rustc_hash::FxHashMap;

use crate::profile::{Frame, Kind, Profile, Spent, Thread, spent};

#[derive(Clone, PartialEq, Message)]
pub struct Pprof {
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    pub period: i64,
    #[prost(int64, repeated, tag = "13")]
    pub comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct ValueType {
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Label {
    #[prost(int64, tag = "1")]
    pub key: i64,
    #[prost(int64, tag = "2")]
    pub str: i64,
    #[prost(int64, tag = "3")]
    pub num: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Mapping {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "2")]
    pub memory_start: u64,
    #[prost(uint64, tag = "3")]
    pub memory_limit: u64,
    #[prost(uint64, tag = "4")]
    pub file_offset: u64,
    #[prost(int64, tag = "5")]
    pub filename: i64,
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Location {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    #[prost(uint64, tag = "3")]
    pub address: u64,
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Line {
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    #[prost(int64, tag = "2")]
    pub line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Function {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(int64, tag = "2")]
    pub name: i64,
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    #[prost(int64, tag = "4")]
    pub filename: i64,
    #[prost(int64, tag = "5")]
    pub start_line: i64,
}

/// Texts, each once; the first is the empty one.
struct Strings {
    numbers: FxHashMap<String, i64>,
    table: Vec<String>,
}

impl Strings {
    fn new() -> Self {
        Self { numbers: std::iter::once((String::new(), 0)).collect(), table: vec![String::new()] }
    }

    fn of(&mut self, text: &str) -> i64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.table.len() as i64;
        self.table.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

fn label(strings: &mut Strings, key: &str, value: &str) -> Label {
    Label { key: strings.of(key), str: strings.of(value), num: 0 }
}

fn labels(strings: &mut Strings, thread: &Thread, phase: &str) -> Vec<Label> {
    let mut labels = vec![
        label(strings, "phase", phase),
        label(strings, "service", &thread.service),
        label(strings, "process", &thread.process),
        label(strings, "thread", &thread.name),
    ];
    for (key, num) in [("pid", thread.pid), ("tid", thread.tid)] {
        labels.push(Label { key: strings.of(key), str: 0, num: i64::from(num) });
    }
    labels.retain(|label| label.str != 0 || label.num != 0);
    labels
}

fn mappings(profile: &Profile, strings: &mut Strings) -> Vec<Mapping> {
    let map = |(index, module): (usize, &crate::profile::ModuleView)| Mapping {
        id: index as u64 + 1,
        // Addresses are offsets in the file, so that one module stands once however many processes have it.
        memory_limit: i64::MAX as u64,
        filename: strings.of(&module.path),
        build_id: strings.of(module.build_id.as_deref().unwrap_or_default()),
        has_functions: true,
        ..Mapping::default()
    };
    profile.modules.iter().enumerate().map(map).collect()
}

/// One function per name and file, one location per frame.
fn code(frames: &[Frame], strings: &mut Strings) -> (Vec<Location>, Vec<Function>) {
    let (mut locations, mut functions) = (Vec::with_capacity(frames.len()), Vec::new());
    let mut known = FxHashMap::<(i64, i64, u32), u64>::default();
    for (index, frame) in frames.iter().enumerate() {
        let name = match frame.kind {
            Kind::Kernel => strings.of(&format!("[kernel] {}", frame.name)),
            _ => strings.of(&frame.name),
        };
        let file = strings.of(&frame.file);
        let function_id = *known.entry((name, file, frame.line)).or_insert_with(|| {
            let id = functions.len() as u64 + 1;
            let start_line = i64::from(frame.line);
            functions.push(Function { id, name, system_name: name, filename: file, start_line });
            id
        });
        locations.push(Location {
            id: index as u64 + 1,
            mapping_id: frame.module.map_or(0, |module| u64::from(module) + 1),
            address: frame.address,
            line: vec![Line { function_id, line: i64::from(frame.line) }],
        });
    }
    (locations, functions)
}

/// The message.
pub fn message(profile: &Profile) -> Pprof {
    let mut strings = Strings::new();
    let mut value = |name: &str, unit: &str| ValueType { r#type: strings.of(name), unit: strings.of(unit) };
    let sample_type = vec![
        value("samples", "count"),
        value("cpu", "nanoseconds"),
        value("python", "nanoseconds"),
        value("gil_held", "nanoseconds"),
        value("gil_wait", "nanoseconds"),
    ];
    let cpu = sample_type[if profile.has_clock() { 1 } else { 2 }];
    let mut sample = Vec::new();
    for ((thread, phase, stack), time) in spent(&profile.merged) {
        let Spent { samples, on_cpu_ns, python_ns, holds_gil_ns, waits_gil_ns } = time;
        let phase = if profile.requests == 0 { "no requests" } else { phase.name() };
        sample.push(Sample {
            location_id: profile.merged.stacks[stack as usize].iter().rev().map(|n| u64::from(*n) + 1).collect(),
            value: [samples, on_cpu_ns, python_ns, holds_gil_ns, waits_gil_ns].map(|value| value as i64).to_vec(),
            label: labels(&mut strings, &profile.threads[thread as usize], phase),
        });
    }
    let mapping = mappings(profile, &mut strings);
    let (location, function) = code(&profile.frames, &mut strings);
    let comment = vec![strings.of("python, gil_held and gil_wait: time of Python threads, whether they ran or not")];
    let ends = (profile.merged.samples.first(), profile.merged.samples.last());
    Pprof {
        sample_type,
        sample,
        mapping,
        location,
        function,
        period_type: Some(cpu),
        period: 1_000_000_000 / i64::from(profile.frequency_hz.max(1)),
        duration_nanos: if let (Some(first), Some(last)) = ends { (last.at_ns - first.at_ns) as i64 } else { 0 },
        time_nanos: 0,
        comment,
        default_sample_type: cpu.r#type,
        string_table: strings.table,
    }
}

/// Writes it. Errors: the writer's.
pub fn write(profile: &Profile, out: impl Write) -> io::Result<()> {
    let mut out = GzEncoder::new(out, Compression::default());
    out.write_all(&message(profile).encode_to_vec())?;
    out.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::example;

    #[test]
    fn stacks_have_times_and_labels() {
        let profile = message(&example());
        let text = |at: i64| profile.string_table[at as usize].as_str();
        let sample = &profile.sample[0];
        assert_eq!(sample.value, [2, 20_000_000, 0, 0, 0]);
        let names: Vec<_> = sample
            .location_id
            .iter()
            .map(|id| profile.location.iter().find(|location| location.id == *id).unwrap())
            .map(|location| text(profile.function[location.line[0].function_id as usize - 1].name))
            .collect();
        assert_eq!(names, ["[kernel] read", "work; x", "main"]);
        let labels: Vec<_> = sample.label.iter().map(|label| (text(label.key), text(label.str), label.num)).collect();
        assert!(labels.contains(&("phase", "decode", 0)) && labels.contains(&("tid", "", 11)), "{labels:?}");
        assert_eq!(profile.sample[1].value, [1, 10_000_000, 20_000_000, 10_000_000, 10_000_000]);
        assert_eq!((text(profile.default_sample_type), profile.period), ("cpu", 10_000_000));
        assert_eq!(text(profile.mapping[0].build_id), "ab");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut bytes = Vec::new();
        write(&example(), &mut bytes).unwrap();
        let mut plain = Vec::new();
        io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut plain).unwrap();
        assert_eq!(Pprof::decode(plain.as_slice()).unwrap(), message(&example()));
    }
}
