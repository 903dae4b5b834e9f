//! The agent's stages from the ring's bytes to the exports, in the order in which the pipeline runs them.

use std::fmt::Write;

use agent::correlate::{self, Judge, Labels};
use agent::decode::{Event, decode};
use agent::export::requests::RequestMetrics;
use agent::export::routes::Routes;
use agent::session::exchange::Exchange;
use agent::session::{Limits, Sessions};
use serde_json::Value;

pub struct Replay {
    sessions: Sessions,
    judge: Judge,
    metrics: RequestMetrics,
    /// When the last request ended.
    last_ns: u64,
    /// One JSON line per finished request.
    lines: String,
    undecodable: u64,
}

impl Default for Replay {
    fn default() -> Self {
        Replay {
            sessions: Sessions::new(Limits::default()),
            judge: Judge::default(),
            metrics: RequestMetrics::new(100, Routes::default()),
            last_ns: 0,
            lines: String::new(),
            undecodable: 0,
        }
    }
}

fn finish(judge: &mut Judge, metrics: &RequestMetrics, lines: &mut String, exchange: Exchange) {
    let service = format!("service-{}", exchange.service);
    let mut request = correlate::request(exchange, &Labels { service: &service, engine: "unknown", model: None });
    judge.judge(&mut request, None);
    metrics.observe(&request);
    let line = serde_json::to_string(&request).unwrap();
    // Prompts, completions, error messages and keys of the samples hold these words.
    assert!(!line.contains("secret") && !line.contains("evil") && !line.contains("tokens\":9999"), "{line}");
    writeln!(lines, "{line}").unwrap();
}

impl Replay {
    pub fn record(&mut self, bytes: &[u8]) {
        let Self { sessions, judge, metrics, last_ns, lines, undecodable } = self;
        let mut out = |exchange: Exchange| {
            *last_ns = exchange.end.at_ns;
            finish(judge, metrics, lines, exchange);
        };
        match decode(bytes) {
            Ok(Event::Payload(payload)) => sessions.payload(&payload, &mut out),
            Ok(Event::Close(close)) => sessions.close(&close, &mut out),
            Ok(Event::Exit(exit)) => {
                // The order in which a process's connections end is that of a hash table.
                let mut last_words = String::new();
                let mut out = |exchange| finish(judge, metrics, &mut last_words, exchange);
                sessions.process_exit(exit.header.tgid, exit.header.at_ns, &mut out);
                let mut sorted: Vec<_> = last_words.lines().collect();
                sorted.sort_unstable();
                sorted.iter().for_each(|line| writeln!(lines, "{line}").unwrap());
            }
            Ok(_) => {}
            Err(_) => *undecodable += 1,
        }
    }

    /// Forgets connections, as for another recording.
    pub fn sessions_anew(&mut self) {
        self.sessions = Sessions::new(Limits::default());
    }

    /// The records, and a last line of what is left and what was given up.
    pub fn told(&self) -> String {
        let stats = self.sessions.stats();
        let failures: Vec<_> = stats.failures().filter(|(_, count)| *count > 0).collect();
        format!(
            "{}in flight {}, lost {}, out of step {}, bytes left out {}, skipped {}, undecodable {}, failures {failures:?}\n",
            self.lines,
            self.sessions.in_flight().count(),
            stats.exchanges_lost,
            stats.resyncs,
            stats.bytes_left_out,
            stats.bytes_skipped,
            self.undecodable,
        )
    }

    pub fn metrics(&self) -> String {
        let mut families = self.metrics.families_at(self.last_ns);
        families.sort_by(|a, b| a.name().cmp(b.name()));
        prometheus::TextEncoder::new().encode_to_string(&families).unwrap()
    }
}

/// The records of finished requests.
pub fn finished(records: &[Vec<u8>]) -> Vec<Value> {
    let mut replay = Replay::default();
    records.iter().for_each(|record| replay.record(record));
    replay.lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every record of `some` tells of a request that `whole` tells of too, and tells nothing else of it. What was lost may
/// be missing: then the record has no such field.
pub fn assert_none_extra(scene: &str, left_out: usize, whole: &[Value], some: &[Value]) {
    for record in some {
        // What was counted where the response said nothing is only as good as what was seen.
        let counted = record["tokens_estimated"] == true;
        let agrees = |other: &&Value| {
            let same = |field: &str| record[field] == other[field];
            let same_or_missing = |field: &str| same(field) || record[field].is_null();
            ["service", "pid", "role", "path", "start_ns"].into_iter().all(same)
                && ["id", "model", "input_tokens", "finish_reason"].into_iter().all(same_or_missing)
                && (counted || same_or_missing("output_tokens"))
        };
        assert!(whole.iter().any(|other| agrees(&other)), "{scene} without record {left_out}: made up: {record}");
        let twice = some.iter().filter(|other| *other == record).count();
        assert_eq!(twice, 1, "{scene} without record {left_out}: twice: {record}");
    }
}
