//! Trials and their verdicts: the majority of a trial's requests, and the confusion matrix of all trials. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

/// What inferscope can say, in the order of the table's columns.
pub const CLASSES: [&str; 12] = [
    "gpu_bound",
    "cpu_bound",
    "cpu_contention",
    "cpu_throttled",
    "lock_bound",
    "io_bound",
    "memory_pressure",
    "network_bound",
    "client_slow",
    "queueing",
    "host_ok",
    "unknown",
];
/// A record without a verdict.
pub const ABSENT: &str = "absent";
/// A request without a record.
pub const UNSEEN: &str = "unseen";
pub const QUIET: &str = "host_ok";

/// What was said of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    pub verdict: String,
    pub confidence: f64,
}

/// The verdict that most requests got; among equals the one that was surer in sum, then the first by name.
pub fn majority(given: &[Given]) -> Option<&str> {
    let mut votes: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for one in given {
        let votes = votes.entry(&one.verdict).or_default();
        *votes = (votes.0 + 1, votes.1 + one.confidence);
    }
    let best = votes.iter().rev().max_by(|(_, a), (_, b)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    best.map(|(verdict, _)| *verdict)
}

/// Counts of what was given, by verdict.
pub type Counts = BTreeMap<String, u64>;

/// All trials of one fault, or all quiet controls.
#[derive(Default)]
pub struct Line {
    pub what: String,
    pub expected: &'static str,
    pub trials: Counts,
    pub requests: Counts,
}

impl Line {
    pub fn new(what: &str, expected: &'static str) -> Self {
        Self { what: what.to_owned(), expected, ..Self::default() }
    }

    /// Takes up a trial; what it counts as.
    pub fn add(&mut self, given: &[Given]) -> String {
        for one in given {
            *self.requests.entry(one.verdict.clone()).or_default() += 1;
        }
        let verdict = majority(given).unwrap_or(UNSEEN).to_owned();
        *self.trials.entry(verdict.clone()).or_default() += 1;
        verdict
    }

    pub fn count(&self) -> u64 {
        self.trials.values().sum()
    }

    pub fn right(&self) -> u64 {
        self.trials.get(self.expected).copied().unwrap_or(0)
    }

    pub fn right_share(&self) -> f64 {
        share(self.right(), self.count())
    }

    pub fn request_share(&self) -> f64 {
        share(self.requests.get(self.expected).copied().unwrap_or(0), self.requests.values().sum())
    }

    /// Trials that blame something; of a quiet control that is a false alarm.
    pub fn alarms(&self) -> u64 {
        let silent = ["host_ok", "unknown", ABSENT, UNSEEN];
        self.trials.iter().filter(|(verdict, _)| !silent.contains(&verdict.as_str())).map(|(_, count)| count).sum()
    }
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

/// Columns that any of LINES needs.
fn columns<'a>(lines: &[&'a Line]) -> Vec<&'a str> {
    let used = |class: &str| {
        lines.iter().any(|l| l.expected == class || l.trials.contains_key(class) || l.requests.contains_key(class))
    };
    let mut columns: Vec<&str> = CLASSES.iter().chain(&[ABSENT, UNSEEN]).copied().filter(|class| used(class)).collect();
    let strange = lines.iter().flat_map(|line| line.requests.keys()).map(String::as_str);
    for class in strange {
        if !columns.contains(&class) {
            columns.push(class);
        }
    }
    columns
}

/// Expected classes as rows, given ones as columns: trials, and in brackets the share of requests.
pub fn markdown(lines: &[&Line]) -> String {
    let columns = columns(lines);
    let mut text = String::from("| fault | expected |");
    columns.iter().for_each(|class| text.push_str(&format!(" {class} |")));
    text.push_str(" right |\n|---|---|");
    text.push_str(&"---|".repeat(columns.len() + 1));
    text.push('\n');
    for line in lines {
        // Writing to a string does not fail.
        let _ = write!(text, "| {} | {} |", line.what, line.expected);
        for class in &columns {
            text.push_str(&cell(line, class));
        }
        let _ = writeln!(text, " {:.0} % |", 100.0 * line.right_share());
    }
    text
}

fn cell(line: &Line, class: &str) -> String {
    let trials = line.trials.get(class).copied().unwrap_or(0);
    let requests = line.requests.get(class).copied().unwrap_or(0);
    if trials == 0 && requests == 0 {
        return " |".into();
    }
    let of_requests = 100.0 * share(requests, line.requests.values().sum());
    let mark = if class == line.expected { "**" } else { "" };
    format!(" {mark}{trials}{mark} ({of_requests:.0} %) |")
}

pub fn json(lines: &[&Line]) -> Value {
    let line = |line: &&Line| {
        json!({
            "fault": line.what, "expected": line.expected, "trials": line.trials, "requests": line.requests,
            "right": line.right_share(), "right_requests": line.request_share(),
        })
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(verdicts: &[(&str, f64)]) -> Vec<Given> {
        verdicts
            .iter()
            .map(|(verdict, confidence)| Given { verdict: (*verdict).into(), confidence: *confidence })
            .collect()
    }

    #[test]
    fn most_requests_decide_then_confidence_then_the_name() {
        for (verdicts, expected) in [
            (&[][..], None),
            (&[("io_bound", 0.1), ("io_bound", 0.1), ("host_ok", 1.0)][..], Some("io_bound")),
            (&[("io_bound", 0.5), ("host_ok", 0.9)][..], Some("host_ok")),
            (&[("queueing", 0.5), ("host_ok", 0.5)][..], Some("host_ok")),
        ] {
            assert_eq!(majority(&given(verdicts)), expected, "{verdicts:?}");
        }
    }

    #[test]
    fn a_line_counts_trials_and_requests_apart() {
        let mut line = Line::new("hogs", "cpu_contention");
        assert_eq!(
            line.add(&given(&[("cpu_contention", 0.9), ("cpu_contention", 0.8), ("host_ok", 0.5)])),
            "cpu_contention"
        );
        assert_eq!(line.add(&given(&[("unknown", 0.0)])), "unknown");
        assert_eq!(line.add(&[]), UNSEEN);
        assert_eq!((line.count(), line.right(), line.alarms()), (3, 1, 1));
        assert_eq!(line.request_share(), 0.5);
    }

    #[test]
    fn alarms_are_what_blames_something() {
        let mut quiet = Line::new("quiet", QUIET);
        for verdict in ["host_ok", "unknown", ABSENT, "cpu_bound"] {
            quiet.add(&given(&[(verdict, 1.0)]));
        }
        quiet.add(&[]);
        assert_eq!(quiet.alarms(), 1);
    }

    #[test]
    fn the_matrix_has_a_column_for_all_that_was_given() {
        let mut line = Line::new("hogs", "cpu_contention");
        line.add(&given(&[("cpu_contention", 1.0)]));
        line.add(&given(&[("new_word", 1.0)]));
        assert_eq!(
            markdown(&[&line, &Line::new("quiet", QUIET)]),
            "| fault | expected | cpu_contention | host_ok | new_word | right |\n|---|---|---|---|---|---|\n\
             | hogs | cpu_contention | **1** (50 %) | | 1 (50 %) | 50 % |\n| quiet | host_ok | | | | 0 % |\n"
        );
    }

    #[test]
    fn json_names_the_shares() {
        let mut line = Line::new("hogs", "cpu_contention");
        line.add(&given(&[("cpu_contention", 1.0)]));
        assert_eq!(json(&[&line])[0]["trials"]["cpu_contention"], 1);
    }
}
