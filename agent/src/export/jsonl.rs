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
use crate::{correlate::Request, events::Record, privacy::Content, tasks::Guard};

/// How long the end waits for the reader of the records.
const PATIENCE: Duration = Duration::from_secs(2);

/// The writer of the records.
#[derive(Debug)]
pub struct Records(Lines);

/// The request as a line, its contents as the last field of it.
pub fn line(request: &Request, content: Option<&Content>, out: &mut Vec<u8>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, request)?;
    if let Some(content) = content {
        // A request is an object and never an empty one.
        out.pop();
        out.write_all(b",\"content\":")?;
        serde_json::to_writer(&mut *out, content)?;
        out.write_all(b"}")?;
    }
    out.write_all(b"\n")
}

/// A record of any kind as a line. Only what is no request says what it is, in its field `record`.
pub fn record(record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    match record {
        Record::Request(request, content) => line(request, content.as_deref(), out),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn contents_are_one_more_field_of_the_line() {
        let request = Request { model: Some("m".into()), ..Request::default() };
        let content = Content { mode: "hash", prompt_hash: Some("\"}\n".into()), ..Content::default() };
        let told = |content: Option<&Content>| {
            let mut out = Vec::new();
            line(&request, content, &mut out).unwrap();
            assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1), "one line");
            serde_json::from_slice::<Value>(&out).unwrap()
        };
        let (without, mut with) = (told(None), told(Some(&content)));
        let field = with.as_object_mut().unwrap().remove("content");
        assert_eq!(field, Some(serde_json::to_value(&content).unwrap()));
        assert_eq!(with, without);
    }
}
