//! A timeline: what every thread of the watched tree did when, and the requests above it, in a form that Perfetto's
//! viewer opens. Events come from the pipeline, counters from whoever polls; all times are CLOCK_MONOTONIC.
#![forbid(unsafe_code)]

mod chrome;
mod cpus;
pub mod form;
pub mod ftrace;
mod packets;
pub mod proto;
mod requests;
pub mod samples;
mod sink;
mod threads;
mod tracks;

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use inferscope_abi::{
    BlockEvent, DIR_RX, NO_FD, PAYLOAD_MORE, PayloadHeader, STALL_CGROUP, SchedEvent, StallEvent, SyscallEvent, Thread,
};
use rustc_hash::FxHashMap;

use crate::{
    correlate::Request,
    probe::{FoundThread, arch::syscall_name},
    session::InFlight,
    tasks::Guard,
};
pub use form::Sample;
use form::{Form, Place, Slice, Value};
use sink::Sink;
pub use sink::create;
use threads::Threads;

/// Threads found later than this after the beginning may not have been there then.
const AT_ONCE_NS: u64 = 1_000_000_000;
/// Threads in the middle of a call of several records that are remembered.
const MOVING: usize = 65_536;
/// Devices whose names are remembered.
const DEVICES: usize = 1024;

/// The file format of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Perfetto,
    /// Chrome's trace events.
    Json,
}

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub bytes: u64,
    pub threads: u64,
    pub runs: u64,
    pub calls: u64,
    pub requests: u64,
    /// Runs for which the disk was too slow.
    pub left_out: u64,
}

struct Recorder {
    sink: Sink,
    form: Box<dyn Form>,
    threads: Threads,
    recorded: Recorded,
    /// Bytes of the call that a thread is in, of which more records follow.
    moving: FxHashMap<u32, u64>,
    devices: FxHashMap<(u32, u32), String>,
    /// Events that were lost before they came here, as last told.
    lost: u64,
    /// The last instant that anything was told of.
    last_ns: u64,
}

/// A timeline that is being recorded.
pub struct Timeline {
    recorder: Mutex<Recorder>,
    /// System calls that take so long are told.
    pub syscalls: Duration,
}

impl Timeline {
    /// Makes the file. Errors: it cannot be made, or there is no room for it.
    pub fn create(path: &Path, format: Format, syscalls: Duration, guard: Guard) -> io::Result<Self> {
        let form: Box<dyn Form> = match format {
            Format::Perfetto => Box::<packets::Packets>::default(),
            Format::Json => Box::<chrome::Chrome>::default(),
        };
        let recorder = Recorder {
            sink: Sink::create(path, guard)?,
            form,
            threads: Threads::default(),
            recorded: Recorded::default(),
            moving: FxHashMap::default(),
            devices: FxHashMap::default(),
            lost: 0,
            last_ns: 0,
        };
        Ok(Self { recorder: Mutex::new(recorder), syscalls })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Recorder) -> T) -> T {
        act(&mut self.recorder.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The recording begins: nothing that is told from now on is older.
    pub fn begin(&self, at_ns: u64) {
        self.with(|Recorder { sink, form, threads, last_ns, .. }| {
            (threads.began_ns, *last_ns) = (at_ns, at_ns);
            form.begin(sink, at_ns);
        });
    }

    /// Threads that were there when the watch of their process began.
    pub fn found(&self, all: &[FoundThread], now_ns: u64) {
        self.with(|Recorder { sink, form, threads, .. }| {
            let at_once = now_ns.saturating_sub(threads.began_ns) < AT_ONCE_NS;
            for found in all.iter().filter(|_| at_once) {
                if threads.found(found) {
                    form.found(sink, found.tgid, found.tid, threads.began_ns);
                }
            }
        });
    }

    /// A thread left a CPU.
    pub fn sched(&self, event: &SchedEvent) {
        self.with(|recorder| recorder.sched(event));
    }

    /// A process runs another program.
    pub fn exec(&self, pid: u32, at_ns: u64) {
        self.with(|Recorder { sink, form, .. }| form.renamed(sink, pid, at_ns));
    }

    /// A system call that took long returned.
    pub fn syscall(&self, event: &SyscallEvent) {
        self.with(|Recorder { sink, form, recorded, .. }| {
            recorded.calls += 1;
            let mut notes = Vec::new();
            match i32::try_from(-event.result) {
                Ok(error @ 1..=4095) => {
                    let text = io::Error::from_raw_os_error(error).to_string();
                    notes.push(("error", Value::Text(text)));
                }
                _ => notes.push(("result", Value::Signed(event.result))),
            }
            if event.fd != NO_FD {
                notes.push(("fd", Value::Count(event.fd.into())));
            }
            let place = Place::Thread { pid: event.header.tgid, tid: event.header.tid };
            let end_ns = Some(event.header.at_ns);
            form.slice(sink, &Slice::new(place, &syscall_name(event.number), event.enter_ns, end_ns, notes));
        });
    }

    /// A call moved bytes of a connection; of one of several records the last is drawn, for all.
    pub fn socket(&self, head: &PayloadHeader) {
        self.with(|Recorder { sink, form, moving, .. }| {
            let (pid, tid) = (head.header.tgid, head.header.tid);
            let bytes = moving.remove(&tid).unwrap_or(0) + u64::from(head.length);
            if head.flags & PAYLOAD_MORE != 0 && moving.len() < MOVING {
                moving.insert(tid, bytes);
                return;
            }
            let name = if head.direction == DIR_RX { "receive" } else { "send" };
            let notes = vec![
                ("bytes", Value::Count(bytes)),
                ("peer port", Value::Count(head.remote_port.into())),
                ("port", Value::Count(head.local_port.into())),
                ("fd", Value::Count(head.fd.into())),
            ];
            let end_ns = Some(head.header.at_ns);
            form.slice(sink, &Slice::new(Place::Thread { pid, tid }, name, head.enter_ns, end_ns, notes));
        });
    }

    /// A block device is done with a request.
    pub fn block(&self, event: &BlockEvent) {
        self.with(|Recorder { sink, form, devices, .. }| {
            let issue = &event.issue;
            let device = (issue.major, issue.minor);
            if devices.len() >= DEVICES {
                devices.clear();
            }
            let device = devices.entry(device).or_insert_with(|| device_name(device));
            let name = match issue.operation {
                0 => "read",
                1 => "write",
                2 => "flush",
                3 | 9 => "discard",
                _ => "other",
            };
            let notes = vec![
                ("bytes", Value::Count(issue.bytes.into())),
                ("device", Value::Text(device.clone())),
                ("thread", Value::Count(issue.tid.into())),
            ];
            let place = Place::Among { pid: issue.tgid, name: "block I/O" };
            form.slice(sink, &Slice::new(place, name, issue.at_ns, Some(event.header.at_ns), notes));
        });
    }

    /// A thread had to free memory itself.
    pub fn stall(&self, event: &StallEvent) {
        self.with(|Recorder { sink, form, .. }| {
            let name = if event.cause == STALL_CGROUP { "reclaim (cgroup limit)" } else { "reclaim (host)" };
            let place = Place::Thread { pid: event.header.tgid, tid: event.header.tid };
            let notes = vec![("pages freed", Value::Count(event.pages))];
            form.slice(sink, &Slice::new(place, name, event.begin_ns, Some(event.header.at_ns), notes));
        });
    }

    /// A request ended: one slice with its phases and chunks.
    pub fn request(&self, request: &Request) {
        self.with(|Recorder { sink, form, recorded, .. }| {
            recorded.requests += 1;
            requests::ended(request, |slice| form.slice(sink, slice));
        });
    }

    /// A counter's value.
    pub fn sample(&self, sample: &Sample<'_>) {
        self.with(|Recorder { sink, form, .. }| form.counter(sink, sample));
    }

    /// Something that concerns no thread.
    pub fn mark(&self, track: &str, name: &str, at_ns: u64) {
        self.with(|Recorder { sink, form, .. }| form.instant(sink, Place::Host(track), name, at_ns));
    }

    /// So many events were lost until now: a mark where that is more than before.
    pub fn lost(&self, total: u64, at_ns: u64) {
        self.with(|Recorder { sink, form, lost, .. }| {
            if total > *lost {
                let name = format!("{} events lost", total - *lost);
                form.instant(sink, Place::Host("inferscope"), &name, at_ns);
                *lost = total;
            }
        });
    }

    /// What is so when the recording ends: of every thread, and of every request that has not ended.
    pub fn end(&self, threads: &[(u32, Thread)], requests: impl Iterator<Item = InFlight>, at_ns: u64) {
        let longest_ns = self.syscalls.as_nanos() as u64;
        self.with(|recorder| {
            for (tid, thread) in threads {
                recorder.last(*tid, thread, at_ns, longest_ns);
            }
            for request in requests {
                recorder.recorded.requests += 1;
                let Recorder { sink, form, .. } = recorder;
                requests::open(&request, |slice| form.slice(sink, slice));
            }
            recorder.last_ns = recorder.last_ns.max(at_ns);
        });
    }

    /// What is recorded so far.
    pub fn recorded(&self) -> Recorded {
        self.with(|recorder| Recorded {
            bytes: recorder.sink.total(),
            threads: recorder.threads.seen,
            ..recorder.recorded
        })
    }

    /// Whether the disk refused what was to be written: what is recorded from then on is lost.
    pub fn has_failed(&self) -> bool {
        self.with(|recorder| recorder.sink.has_failed())
    }

    /// Writes what is left. Errors: the disk's.
    pub fn finish(&self) -> io::Result<Recorded> {
        self.with(|Recorder { sink, form, last_ns, .. }| {
            form.finish(sink, *last_ns);
            sink.finish()
        })?;
        Ok(self.recorded())
    }
}

impl Recorder {
    fn sched(&mut self, event: &SchedEvent) {
        let run = self.threads.run(event);
        self.last_ns = self.last_ns.max(event.header.at_ns);
        if !self.sink.has_room() {
            self.recorded.left_out += 1;
            return;
        }
        self.recorded.runs += 1;
        self.form.run(&mut self.sink, &run, event.header.at_ns);
        if let Some(fault) = threads::fault(event) {
            let place = Place::Thread { pid: run.pid, tid: run.tid };
            let name = if fault.reads { "page fault (disk)" } else { "page fault" };
            self.form.slice(&mut self.sink, &Slice::new(place, name, fault.begin_ns, Some(fault.end_ns), Vec::new()));
        }
    }

    fn last(&mut self, tid: u32, thread: &Thread, at_ns: u64, longest_ns: u64) {
        if let Some(run) = self.threads.last(tid, thread) {
            self.form.run(&mut self.sink, &run, at_ns);
        }
        if let Some((number, since_ns)) = threads::open_call(thread, at_ns, longest_ns) {
            let place = Place::Thread { pid: thread.tgid, tid };
            self.form.slice(&mut self.sink, &Slice::new(place, &syscall_name(number), since_ns, None, Vec::new()));
        }
    }
}

/// A device's name by its numbers, the numbers themselves if it has none.
fn device_name((major, minor): (u32, u32)) -> String {
    let link = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok();
    let name = link.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| format!("{major}:{minor}"))
}

#[cfg(test)]
mod tests;
