//! One JSON line per finished LLM request and per event, to a file or a pipe. What is not written is counted, and said.
#![forbid(unsafe_code)]

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::Result;

use super::{
    lines::{Lines, Queue},
    output::Out,
};
use crate::{correlate::Request, events::Record, tasks::Guard};

/// How long the end waits for the reader of the records.
const PATIENCE: Duration = Duration::from_secs(2);

/// The writer of the records.
#[derive(Debug)]
pub struct Records(Lines);

/// The request as a line.
pub fn line(request: &Request, out: &mut Vec<u8>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, request)?;
    out.write_all(b"\n")
}

/// A record of any kind as a line. Only what is no request says what it is, in its field `record`.
pub fn record(record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    match record {
        Record::Request(request) => line(request, out),
        Record::Event(event) => {
            serde_json::to_writer(&mut *out, event.as_ref())?;
            out.write_all(b"\n")
        }
    }
}

fn told(result: Result<(), &io::Error>) {
    match result {
        Ok(()) => tracing::info!("records are written again"),
        Err(error) => tracing::error!(
            %error,
            "cannot write records: what is not written is counted in inferscope_events_lost_total{{where=\"records\"}}"
        ),
    }
}

/// Where records go: the end of a file, or standard output if `path` is `-`.
pub fn open(path: &Path) -> Result<Out> {
    let out = if path == Path::new("-") { Out::stdout() } else { Out::append(path) };
    out.map_err(|error| {
        let words = match error.raw_os_error() {
            Some(libc::ENXIO) => format!("nobody reads {}: start its reader first", path.display()),
            _ => format!("cannot open the records file {}", path.display()),
        };
        anyhow::Error::from(error).context(words)
    })
}

impl Records {
    /// Starts the thread that writes to `out`.
    pub fn start(out: Out, guard: Guard) -> Result<Self> {
        Ok(Self(Lines::start("records", out, record, told, guard)?))
    }

    /// Where records go in.
    pub fn queue(&self) -> Queue {
        self.0.queue()
    }

    /// Counts records that were not written.
    pub fn lost(&self) -> Arc<AtomicU64> {
        self.0.lost()
    }

    /// Waits a little for what is queued and says what is lost then. Nobody may send any more.
    pub fn end(self) {
        let left = self.0.end(PATIENCE);
        if left != 0 {
            tracing::warn!(records = left, "records are lost: they were not read, or not written to disk, in time");
        }
    }
}
