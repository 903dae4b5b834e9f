//! The steps of a test run: how each ended, how long it took, and the sum of all test cases.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::libtest::{self, Counts};
use crate::{process, step};

/// How a step ended: its test cases, and why some did not run.
#[derive(Default)]
pub struct Verdict {
    pub counts: Counts,
    pub reasons: Vec<String>,
}

impl Verdict {
    /// A step without test cases of its own.
    pub fn done() -> Self {
        Self::default()
    }

    pub fn skipped(why: &str) -> Self {
        Self { counts: Counts::one_skipped(), reasons: vec![why.to_owned()] }
    }

    pub fn of_tests(output: &str, good: bool) -> Self {
        let reasons = libtest::reasons(output).into_iter().map(str::to_owned).collect();
        Self { counts: Counts::of(output, good), reasons }
    }
}

impl From<Counts> for Verdict {
    fn from(counts: Counts) -> Self {
        Self { counts, reasons: Vec::new() }
    }
}

#[derive(Default)]
pub struct Report {
    rows: Vec<(&'static str, Duration, Verdict)>,
}

impl Report {
    /// Runs WORK under NAME; an error is a failed case, and is shown at once.
    pub fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<Verdict>) {
        if process::interrupted() {
            return;
        }
        println!("== {name}");
        let started = Instant::now();
        let verdict = work().unwrap_or_else(|error| {
            println!("error: {error:#}");
            Verdict::from(Counts::one(false))
        });
        for reason in &verdict.reasons {
            println!("  skipped  {reason}");
        }
        self.rows.push((name, started.elapsed(), verdict));
    }

    /// Prints the table and the sum; an error if anything failed.
    pub fn finish(&self) -> Result<()> {
        let mut total = Counts::default();
        println!("\n{:<26}{:>9}{:>9}{:>9}{:>9}", "step", "time", "passed", "failed", "skipped");
        for (name, time, verdict) in &self.rows {
            let counts = verdict.counts;
            let time = step::seconds(*time);
            println!("{name:<26}{time:>9}{:>9}{:>9}{:>9}", counts.passed, counts.failed, counts.skipped);
            total += counts;
        }
        let time: Duration = self.rows.iter().map(|(_, time, _)| *time).sum();
        println!("{:<26}{:>9}", "all", step::seconds(time));
        if process::interrupted() {
            bail!("interrupted: the tests after the last step above did not run");
        }
        println!("\n{total}");
        if total.failed > 0 { Err(crate::exit::Exit(1).into()) } else { Ok(()) }
    }
}

/// What a failing run has to say: everything from the first list of failures, or the end of a run that broke off.
pub fn failures(output: &str) -> String {
    const LINES: usize = 80;
    let lines: Vec<&str> = output.lines().collect();
    let broken = |line: &&str| line.trim() == "failures:" || line.starts_with("error");
    let from = lines.iter().position(broken).unwrap_or(lines.len().saturating_sub(LINES));
    lines[from..].iter().take(LINES).map(|line| format!("    {line}\n")).collect()
}
