//! What the trials of an engine came to: rows against the targets, the matrix, and what each fault did to the requests, so
//! that one that changes nothing shows.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::load::Seen;
use super::matrix::{self, Line, QUIET};
use super::trial::Trial;
use crate::bench::table::{Row, median};
use crate::paths;

const RIGHT: f64 = 0.9;
const ALARMS: f64 = 0.02;

/// What a fault did to the clients of one trial.
#[derive(Clone, Copy, Debug)]
pub struct Effect {
    pub quiet: Seen,
    /// Against quiet.
    pub times: Seen,
    pub failed: usize,
}

pub struct Report {
    engine: &'static str,
    lines: Vec<Line>,
    effects: Vec<Vec<Effect>>,
    quiet: Line,
    skipped: Vec<(String, String)>,
    broken: Vec<(String, String)>,
    busy: f64,
    slow_after: u64,
    /// Events that the agent lost.
    pub lost: f64,
}

impl Report {
    /// BUSY is the share of the CPUs that other programs use.
    pub fn new(engine: &'static str, busy: f64) -> Self {
        let quiet = Line::new("quiet control", QUIET);
        let (lines, effects, skipped, broken) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { engine, lines, effects, quiet, skipped, broken, busy, slow_after: 0, lost: 0.0 }
    }

    pub fn begin(&mut self, fault: &str, expected: &'static str) {
        self.lines.push(Line::new(fault, expected));
        self.effects.push(Vec::new());
    }

    pub fn skip(&mut self, fault: &str, why: &str) {
        self.skipped.push((fault.to_owned(), why.to_owned()));
    }

    /// A fault that could not be put in or taken away; it is not tried again.
    pub fn broke(&mut self, fault: &str, error: &anyhow::Error) {
        println!("  {fault}: {error:#}");
        self.broken.push((fault.to_owned(), format!("{error:#}")));
    }

    pub fn add(&mut self, fault: &str, trial: Trial) {
        println!("  {trial}");
        let Some(place) = self.lines.iter().position(|line| line.what == fault) else { return };
        self.quiet.add(&trial.quiet);
        self.lines[place].add(&trial.faulty);
        self.effects[place].push(trial.effect);
        self.slow_after += u64::from(!trial.recovered);
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.lines.iter().zip(&self.effects).map(|(line, all)| self.row(line, all)).collect();
        let skipped = |(fault, why): &(String, String)| Row::skipped(format!("{}: {fault}", self.engine), why);
        rows.extend(self.skipped.iter().map(skipped));
        let broken = |(fault, why): &(String, String)| {
            Row::held(format!("{}: {fault}, put in", self.engine), why, "it can be", false)
        };
        rows.extend(self.broken.iter().map(broken));
        let (alarms, controls) = (self.quiet.alarms(), self.quiet.count());
        let measured = format!(
            "{alarms} of {controls}, {} of them `host_ok`; {} trials still slow after their fault; {} events lost; others \
             use {:.0} % of the CPUs",
            self.quiet.right(),
            self.slow_after,
            self.lost,
            100.0 * self.busy
        );
        let holds = controls > 0 && self.quiet.right() > 0 && alarms as f64 <= ALARMS * controls as f64;
        rows.push(Row::held(
            format!("{}: false alarms in quiet controls", self.engine),
            measured,
            "at most 2 %",
            holds,
        ));
        rows
    }

    fn row(&self, line: &Line, effects: &[Effect]) -> Row {
        let [ttft, tpot, duration] = middle_times(effects).words();
        let measured = format!(
            "{} of {} trials, {:.0} % of requests; TTFT {ttft}, TPOT {tpot}, duration {duration}",
            line.right(),
            line.count(),
            100.0 * line.request_share(),
        );
        let what = format!("{}: {} is `{}`", self.engine, line.what, line.expected);
        Row::held(what, measured, "at least 90 % of trials", line.right_share() >= RIGHT)
    }

    fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n{}\n", self.engine, matrix::markdown(&self.all()));
        text.push_str("| fault | TTFT in quiet | TTFT | TPOT | duration |\n|---|---|---|---|---|\n");
        for (line, effects) in self.lines.iter().zip(&self.effects) {
            let quiet_ms = middle(effects, |effect| effect.quiet.ttft_s) * 1e3;
            let [ttft, tpot, duration] = middle_times(effects).words();
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {} | {quiet_ms:.0} ms | {ttft} | {tpot} | {duration} |", line.what);
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        let effect = |(line, effects): (&Line, &Vec<Effect>)| {
            let Seen { ttft_s, tpot_s, duration_s } = middle_times(effects);
            json!({
                "fault": line.what, "ttft_times": ttft_s, "tpot_times": tpot_s, "duration_times": duration_s,
            })
        };
        json!({
            "engine": self.engine, "busy": self.busy, "matrix": matrix::json(&self.all()), "skipped": self.skipped,
            "effects": self.lines.iter().zip(&self.effects).map(effect).collect::<Vec<_>>(),
        })
    }

    fn all(&self) -> Vec<&Line> {
        self.lines.iter().chain([&self.quiet]).collect()
    }
}

/// The median of a figure over trials that have it.
fn middle(effects: &[Effect], figure: impl Fn(&Effect) -> f64) -> f64 {
    median(&effects.iter().map(figure).filter(|value| value.is_finite()).collect::<Vec<_>>())
}

fn middle_times(effects: &[Effect]) -> Seen {
    let times = |figure: fn(&Seen) -> f64| middle(effects, |effect| figure(&effect.times));
    Seen {
        ttft_s: times(|seen| seen.ttft_s),
        tpot_s: times(|seen| seen.tpot_s),
        duration_s: times(|seen| seen.duration_s),
    }
}

/// Prints the matrices, writes them to target/verdict.md and target/verdict.json; the rows.
pub fn publish(reports: &[Report], as_json: bool) -> Result<Vec<Row>> {
    if reports.is_empty() {
        return Ok(Vec::new());
    }
    let markdown: String = reports.iter().map(|report| report.markdown() + "\n").collect();
    let json = serde_json::Value::from(reports.iter().map(Report::json).collect::<Vec<_>>()).to_string();
    for (name, text) in [("verdict.md", &markdown), ("verdict.json", &json)] {
        let file = paths::target().join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    println!("\n{}", if as_json { json } else { markdown });
    Ok(reports.iter().flat_map(Report::rows).collect())
}
