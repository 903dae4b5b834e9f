//! A timeline as Chrome's trace events in JSON, one a line, for tools that do not read Perfetto's packets. The array's
//! closing bracket is optional in this format: what is in the file can be read at any time.

use std::io::Write as _;

use rustc_hash::FxHashSet;
use serde_json::{Map, Value as Json, json};

use super::{
    form::{Form, Note, Place, Run, Sample, Slice, Value, comm, reason},
    sink::Sink,
};

/// Threads and processes whose names were written.
const NAMED: usize = 100_000;

/// Chrome's JSON.
#[derive(Default)]
pub struct Chrome {
    begun: bool,
    named: FxHashSet<(u32, u32)>,
    /// Numbers of what may overlap.
    next: u64,
}

/// Microseconds, as the format has times.
fn us(at_ns: u64) -> f64 {
    at_ns as f64 / 1e3
}

fn arguments(notes: &[Note]) -> Map<String, Json> {
    let value = |value: &Value| match value {
        Value::Count(value) => json!(value),
        Value::Signed(value) => json!(value),
        Value::Number(value) => json!(value),
        Value::Text(value) => json!(value),
    };
    notes.iter().map(|(name, note)| ((*name).to_owned(), value(note))).collect()
}

impl Chrome {
    fn put(&mut self, sink: &mut Sink, event: &Json) {
        let begun = std::mem::replace(&mut self.begun, true);
        sink.put(|block| {
            block.extend_from_slice(if begun { b",\n" } else { b"[\n" });
            // A Vec takes any length.
            let _ = write!(block, "{event}");
        });
    }

    /// Whether a thread, or with 0 a process, is not named yet, but will be now.
    fn is_new(&mut self, pid: u32, tid: u32) -> bool {
        self.named.len() < NAMED && self.named.insert((pid, tid))
    }

    /// Names a process and, unless it is 0, a thread of it.
    fn name(&mut self, sink: &mut Sink, pid: u32, tid: u32) {
        if self.is_new(pid, 0)
            && let Some(name) = comm(&format!("/proc/{pid}/comm"))
        {
            self.put(sink, &json!({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}));
        }
        if tid != 0
            && self.is_new(pid, tid)
            && let Some(name) = comm(&format!("/proc/{pid}/task/{tid}/comm"))
        {
            let args = json!({"name": name});
            self.put(sink, &json!({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": args}));
        }
    }

    /// A thread was in this state.
    fn state(&mut self, sink: &mut Sink, run: &Run, name: &str, times: (u64, u64), args: Json) {
        let (begin_ns, end_ns) = times;
        let dur = us(end_ns.saturating_sub(begin_ns));
        let event = json!({
            "ph": "X", "cat": "sched", "name": name, "pid": run.pid, "tid": run.tid, "ts": us(begin_ns), "dur": dur,
            "args": args,
        });
        self.put(sink, &event);
    }
}

/// Process and category of what stands here.
fn whose(place: Place<'_>) -> (u32, String) {
    match place {
        Place::Thread { pid, tid } => (pid, format!("thread {tid}")),
        Place::Among { pid, name } => (pid, name.to_owned()),
        Place::Host(name) => (0, name.to_owned()),
    }
}

impl Form for Chrome {
    fn begin(&mut self, sink: &mut Sink, at_ns: u64) {
        self.instant(sink, Place::Host("inferscope"), "recording begins", at_ns);
    }

    fn found(&mut self, sink: &mut Sink, pid: u32, tid: u32, _began_ns: u64) {
        self.name(sink, pid, tid);
    }

    fn run(&mut self, sink: &mut Sink, run: &Run, now_ns: u64) {
        self.name(sink, run.pid, run.tid);
        let left_ns = run.left.map_or(now_ns, |(at_ns, _)| at_ns);
        if let Some((from_ns, state)) = run.blocked {
            let until = run.runnable_ns.or(run.oncpu_ns).unwrap_or(now_ns);
            self.state(sink, run, &format!("blocked: {}", reason(state)), (from_ns, until), json!({}));
        }
        if let Some(from_ns) = run.runnable_ns {
            let args = match run.waker {
                Some((waker, cpu)) => json!({"woken by": waker, "woken on cpu": cpu}),
                None => json!({}),
            };
            self.state(sink, run, "runnable", (from_ns, run.oncpu_ns.unwrap_or(now_ns)), args);
        }
        if let Some(from_ns) = run.oncpu_ns {
            self.state(sink, run, "running", (from_ns, left_ns), json!({"cpu": run.cpu}));
        }
    }

    fn renamed(&mut self, sink: &mut Sink, pid: u32, _at_ns: u64) {
        let (process, thread) = (self.named.remove(&(pid, 0)), self.named.remove(&(pid, pid)));
        if process || thread {
            self.name(sink, pid, if thread { pid } else { 0 });
        }
    }

    fn slice(&mut self, sink: &mut Sink, slice: &Slice<'_>) {
        let (pid, category) = whose(slice.place);
        self.name(sink, pid, 0);
        self.next += 1;
        let id = self.next;
        let event = |phase: &str, name: &str, at_ns: u64, args: Map<String, Json>| {
            let ts = us(at_ns);
            json!({"ph": phase, "cat": category, "id": id, "name": name, "pid": pid, "ts": ts, "args": args})
        };
        self.put(sink, &event("b", slice.name, slice.begin_ns, arguments(&slice.notes)));
        for (name, begin_ns, end_ns) in &slice.phases {
            self.put(sink, &event("b", name, *begin_ns, Map::new()));
            if let Some(end_ns) = end_ns {
                self.put(sink, &event("e", name, *end_ns, Map::new()));
            }
        }
        let (name, instants) = slice.instants;
        for at_ns in instants {
            self.put(sink, &event("n", name, *at_ns, Map::new()));
        }
        if let Some(end_ns) = slice.end_ns {
            self.put(sink, &event("e", slice.name, end_ns, Map::new()));
        }
    }

    fn instant(&mut self, sink: &mut Sink, place: Place<'_>, name: &str, at_ns: u64) {
        let (pid, category) = whose(place);
        let scope = if pid == 0 { "g" } else { "p" };
        let ts = us(at_ns);
        self.put(
            sink,
            &json!({"ph": "i", "s": scope, "cat": category, "name": name, "pid": pid, "tid": pid, "ts": ts}),
        );
    }

    fn counter(&mut self, sink: &mut Sink, sample: &Sample<'_>) {
        let (pid, unit) = (sample.pid.unwrap_or(0), sample.unit);
        self.name(sink, pid, 0);
        let args = json!({unit: sample.value});
        let event = json!({"ph": "C", "name": sample.name, "pid": pid, "ts": us(sample.at_ns), "args": args});
        self.put(sink, &event);
    }

    fn finish(&mut self, sink: &mut Sink, at_ns: u64) {
        self.instant(sink, Place::Host("inferscope"), "recording ends", at_ns);
        sink.put(|block| block.extend_from_slice(b"\n]\n"));
    }
}
