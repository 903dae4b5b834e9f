//! What the user sees while something long runs: its name, how long it should take, how long it took.
//!
//! On a terminal one line that moves; elsewhere one plain line at the start and one at the end. The output of the
//! commands themselves goes to `.cache/log`, and its tail is shown only when a command fails.

use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{paths, process};

const TAIL_LINES: usize = 20;
const TICK: Duration = Duration::from_millis(120);

/// Prints a line for something that needs no work, such as `ok  bpf-linker 0.13.0`.
pub fn already(what: &str) {
    println!("  ok       {what}");
}

/// Runs COMMAND to its end with its output in a log. EXPECT is shown beside WHAT: "about 2 minutes".
pub fn run(what: &str, expect: &str, command: &mut Command) -> Result<()> {
    run_within(what, expect, Duration::from_secs(3600), command)
}

/// As `run`, and ends the command and everything it started after LIMIT.
pub fn run_within(what: &str, expect: &str, limit: Duration, command: &mut Command) -> Result<()> {
    let done = captured(what, expect, limit, command)?;
    if !done.status.success() {
        bail!("{what} failed ({}); the end of {}:\n{}", done.status, done.log.display(), tail(&done.log, TAIL_LINES));
    }
    Ok(())
}

/// How a command ended, and where its output is.
pub struct Done {
    pub status: ExitStatus,
    pub log: PathBuf,
}

/// As `run_within`, but a command that ends badly is no error.
pub fn captured(what: &str, expect: &str, limit: Duration, command: &mut Command) -> Result<Done> {
    let log = log_path(what)?;
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut line = Line::begin(what, expect);
    let mut child = process::Group::spawn(command)?;
    loop {
        if let Some(status) = child.try_wait()? {
            line.finish(status.success());
            return Ok(Done { status, log });
        }
        let late = line.started.elapsed() > limit;
        if late || process::interrupted() {
            child.end();
            line.finish(false);
            if late {
                bail!(
                    "{what} took longer than {}; the end of {}:\n{}",
                    seconds(limit),
                    log.display(),
                    tail(&log, TAIL_LINES)
                );
            }
            bail!("interrupted");
        }
        line.tick(&log);
        std::thread::sleep(TICK);
    }
}

/// Runs WORK, which prints nothing itself, under a line of its own.
pub fn work<T>(what: &str, expect: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let line = Line::begin(what, expect);
    let done = work();
    line.finish(done.is_ok());
    done
}

/// The last COUNT lines of FILE, for an error message.
pub fn tail(file: &Path, count: usize) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&bytes), count)
}

/// The last COUNT lines of TEXT, indented.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| format!("    {line}\n")).collect()
}

/// `95s` reads worse than `1m 35s`, and `0.4s` better than `0s`.
pub fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        whole @ 10..60 => format!("{whole}s"),
        whole => format!("{}m {:02}s", whole / 60, whole % 60),
    }
}

fn log_path(what: &str) -> Result<PathBuf> {
    let name: String =
        what.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).take(60).collect();
    Ok(paths::cache("log")?.join(format!("{name}.log")))
}

struct Line {
    what: String,
    started: Instant,
    moving: bool,
    frame: usize,
}

impl Line {
    fn begin(what: &str, expect: &str) -> Self {
        let moving = std::io::stdout().is_terminal();
        if !moving {
            println!("  start    {what} ({expect})");
        }
        Self { what: format!("{what} ({expect})"), started: Instant::now(), moving, frame: 0 }
    }

    fn tick(&mut self, log: &Path) {
        if !self.moving {
            return;
        }
        self.frame += 1;
        let turn = ["|", "/", "-", "\\"][self.frame % 4];
        let last = tail(log, 1);
        let last: String = last.trim().chars().filter(|c| !c.is_control()).take(60).collect();
        print!("\r\x1b[2K  {turn} {:>6} {}  {last}", seconds(self.started.elapsed()), self.what);
        // A terminal that went away shows in the command's own result.
        let _ = std::io::stdout().flush();
    }

    fn finish(&self, good: bool) {
        let clear = if self.moving { "\r\x1b[2K" } else { "" };
        let mark = if good { "done" } else { "FAILED" };
        println!("{clear}  {mark:<8} {} in {}", self.what, seconds(self.started.elapsed()));
    }
}
