//! The agent's records as they come, read from where the last look ended: what it said of each request.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use support::outcome::Outcome;
use support::record::Record;

use super::matrix::{ABSENT, Given, UNSEEN};
use crate::process;

/// How long a record may lag behind its request: longer under hogs.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Records {
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
    known: HashMap<String, Record>,
}

impl Records {
    pub fn new(path: PathBuf) -> Self {
        Self { path, offset: 0, rest: Vec::new(), known: HashMap::new() }
    }

    /// What was said of each of OUTCOMES that `has_record`, once all have one or time is up.
    pub fn of(&mut self, outcomes: &[&Outcome]) -> Result<Vec<Given>> {
        let ids = outcomes.iter().filter(|one| has_record(one)).filter_map(|one| one.id.as_deref());
        let ids: Vec<&str> = ids.collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.read()?;
            if ids.iter().all(|id| self.known.contains_key(*id)) || Instant::now() > deadline {
                break;
            }
            process::pause(Duration::from_millis(20))?;
        }
        let given = ids.iter().map(|id| given(self.known.get(*id))).collect();
        // Nobody asks for a request twice.
        self.known.clear();
        Ok(given)
    }

    fn read(&mut self) -> Result<()> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(()) };
        file.seek(SeekFrom::Start(self.offset))?;
        self.offset += file.read_to_end(&mut self.rest)? as u64;
        let complete = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..complete).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            let record: Record = serde_json::from_str(line).with_context(|| format!("not a record: {line}"))?;
            if let Some(id) = record.id.clone() {
                self.known.insert(id, record);
            }
        }
        Ok(())
    }
}

/// Whether a request came to an end under a name.
pub fn has_record(outcome: &Outcome) -> bool {
    outcome.complete() && outcome.id.is_some()
}

fn given(record: Option<&Record>) -> Given {
    let Some(record) = record else { return Given { verdict: UNSEEN.into(), confidence: 0.0 } };
    let verdict = record.verdict.clone().unwrap_or_else(|| ABSENT.into());
    Given { verdict, confidence: record.verdict_confidence.unwrap_or(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn outcome(id: &str) -> Outcome {
        Outcome { id: Some(id.into()), status: 200, ..Outcome::default() }
    }

    #[test]
    fn reads_on_where_it_ended_and_only_whole_lines() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let mut records = Records::new(file.path().to_owned());
        write!(file, "{{\"id\":\"a\",\"verdict\":\"io_bound\",\"verdict_confidence\":0.5}}\n{{\"id\":").expect("room");
        let io = Given { verdict: "io_bound".into(), confidence: 0.5 };
        assert_eq!(records.of(&[&outcome("a")]).expect("records"), [io]);
        writeln!(file, "\"b\"}}").expect("room");
        let absent = Given { verdict: ABSENT.into(), confidence: 0.0 };
        assert_eq!(records.of(&[&outcome("b")]).expect("records"), [absent]);
    }

    #[test]
    fn a_request_without_a_record_is_unseen() {
        assert_eq!(given(None).verdict, UNSEEN);
    }
}
