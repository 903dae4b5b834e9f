//! A strict reading of Prometheus' text format 0.0.4: everything that a scraper may refuse or misread is a problem.
//! Source: prometheus.io/docs/instrumenting/exposition_formats. `promtool` is the second opinion, where there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

type Labels = BTreeMap<String, String>;

#[derive(Default)]
struct Reading {
    helped: BTreeSet<String>,
    kinds: BTreeMap<String, String>,
    /// Families whose last sample is behind us.
    closed: BTreeSet<String>,
    current: Option<String>,
    series: BTreeSet<(String, Labels)>,
    /// By family and labels other than `le`.
    histograms: BTreeMap<(String, Labels), Histogram>,
}

#[derive(Default)]
struct Histogram {
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

/// What is wrong with the text of a scrape, one sentence each; empty if nothing is.
pub fn problems(text: &str) -> Vec<String> {
    let mut reading = Reading::default();
    let mut problems = Vec::new();
    if !text.is_empty() && !text.ends_with('\n') {
        problems.push("the last line does not end".to_owned());
    }
    for (number, line) in text.split_terminator('\n').enumerate() {
        let read = match line.strip_prefix("# ") {
            Some(comment) => reading.comment(comment),
            None => reading.sample(line),
        };
        if let Err(problem) = read {
            problems.push(format!("line {}: {problem:#}: {line}", number + 1));
        }
    }
    for ((family, labels), histogram) in &reading.histograms {
        if let Err(problem) = histogram.check() {
            problems.push(format!("histogram {family}{labels:?}: {problem}"));
        }
    }
    problems
}

impl Reading {
    fn comment(&mut self, comment: &str) -> Result<()> {
        let (word, rest) = comment.split_once(' ').context("a comment is neither HELP nor TYPE")?;
        let (name, text) = rest.split_once(' ').context("nothing after the name")?;
        ensure!(is_name(name, true), "{name:?} is not a name");
        self.enter(name)?;
        if word == "HELP" {
            ensure!(!self.kinds.contains_key(name), "HELP after TYPE");
            ensure!(!text.is_empty() && unescape(text, false).is_some(), "bad help text");
            ensure!(self.helped.insert(name.to_owned()), "HELP stands twice");
            return Ok(());
        }
        ensure!(word == "TYPE", "a comment is neither HELP nor TYPE");
        ensure!(matches!(text, "counter" | "gauge" | "histogram" | "summary" | "untyped"), "no such type");
        ensure!(self.helped.contains(name), "TYPE without HELP");
        ensure!(self.kinds.insert(name.to_owned(), text.to_owned()).is_none(), "TYPE stands twice");
        Ok(())
    }

    /// A family's lines stand together.
    fn enter(&mut self, family: &str) -> Result<()> {
        if self.current.as_deref() != Some(family) {
            self.closed.extend(self.current.replace(family.to_owned()));
            ensure!(!self.closed.contains(family), "family {family} begins a second time");
        }
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Result<()> {
        let end = line.find(['{', ' ']).context("not a sample")?;
        let name = &line[..end];
        ensure!(is_name(name, true), "{name:?} is not a name");
        let (mut labels, rest) = labels(&line[end..])?;
        let value = number(rest.strip_prefix(' ').context("no space before the value")?)?;
        ensure!(self.series.insert((name.to_owned(), labels.clone())), "this series stands twice");
        let family = self.current.clone().context("a sample without TYPE")?;
        let kind = self.kinds.get(&family).context("a sample without TYPE")?;
        if kind != "histogram" {
            ensure!(name == family, "a sample inside of family {family}");
            ensure!(kind != "counter" || value >= 0.0, "a counter below zero");
            return Ok(());
        }
        let edge = labels.remove("le");
        let suffix = name.strip_prefix(family.as_str()).context("a sample inside of another family")?;
        let histogram = self.histograms.entry((family.clone(), labels)).or_default();
        match (suffix, edge) {
            ("_bucket", Some(edge)) => histogram.buckets.push((number(&edge)?, value)),
            ("_sum", None) => histogram.sum = Some(value),
            ("_count", None) => histogram.count = Some(value),
            _ => anyhow::bail!("not a sample of a histogram"),
        }
        Ok(())
    }
}

impl Histogram {
    fn check(&self) -> Result<()> {
        let rising = self.buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        ensure!(rising, "edges or counts do not rise");
        let last = self.buckets.last().context("no buckets")?;
        ensure!(last.0 == f64::INFINITY, "no bucket +Inf");
        ensure!(Some(last.1) == self.count, "the bucket +Inf is not the count");
        ensure!(self.sum.is_some_and(f64::is_finite), "no sum");
        Ok(())
    }
}

/// The labels at the start of `text`, and what follows them.
fn labels(text: &str) -> Result<(Labels, &str)> {
    let mut labels = Labels::new();
    let Some(mut rest) = text.strip_prefix('{') else { return Ok((labels, text)) };
    loop {
        let (name, after) = rest.split_once("=\"").context("no label")?;
        ensure!(is_name(name, false), "{name:?} is not a label's name");
        let end = closing_quote(after).context("a label value without an end")?;
        let value = unescape(&after[..end], true).context("a label value with an escape that does not exist")?;
        ensure!(labels.insert(name.to_owned(), value).is_none(), "label {name} stands twice");
        rest = &after[end + 1..];
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        rest = rest.strip_prefix(',').context("no comma between labels")?;
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn unescape(text: &str, quoted: bool) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                '\\' => out.push('\\'),
                '"' if quoted => out.push('"'),
                _ => return None,
            },
            '"' if quoted => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

fn is_name(name: &str, metric: bool) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || (metric && b == b':');
    !name.is_empty()
        && name.bytes().all(word)
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && (metric || !name.starts_with("__"))
}

fn number(text: &str) -> Result<f64> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        "NaN" => Ok(f64::NAN),
        // Rust reads `inf` and `infinity`, which are not of the format.
        _ => text.parse().ok().filter(|n: &f64| n.is_finite()).with_context(|| format!("{text:?} is not a value")),
    }
}

/// Panics at the first thing that is wrong with a scrape. Without promtool, of which `test` tells, by our own reading only.
#[track_caller]
pub fn assert_sound(test: &str, text: &str) {
    let found = problems(text);
    assert!(found.is_empty(), "{}\n{text}", found.join("\n"));
    let Some(promtool) = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).and_then(promtool) else {
        crate::live::skip(test, "promtool is not installed (Debian package prometheus): own reading only");
        return;
    };
    match promtool_problems(&promtool, text) {
        Ok(None) => {}
        Ok(Some(said)) => panic!("promtool: {said}\n{text}"),
        Err(error) => panic!("{error:#}"),
    }
}

/// `promtool`, in PATH or where `cargo xtask setup tools` leaves it in this workspace.
fn promtool(workspace: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|dir| dir.join("promtool"));
    let fetched = workspace.join(".cache/tools/prometheus/usr/bin/promtool");
    installed.chain([fetched]).find(|file| file.is_file())
}

/// What `promtool check metrics` says against the text; None if nothing.
fn promtool_problems(promtool: &Path, text: &str) -> Result<Option<String>> {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", promtool.display()))?;
    let mut input = child.stdin.take().context("no standard input")?;
    input.write_all(text.as_bytes())?;
    drop(input);
    let said = child.wait_with_output()?;
    let words = [said.stdout, said.stderr].concat();
    Ok((!said.status.success() || !words.is_empty()).then(|| String::from_utf8_lossy(&words).into_owned()))
}

#[cfg(test)]
#[path = "exposition_test.rs"]
mod tests;
