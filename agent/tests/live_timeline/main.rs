//! Live: `attach --out`. What the file says of threads agrees with the kernel's own books, of requests with the client,
//! of files with what was done to them; and whatever ends the recording leaves a whole file.
#![allow(clippy::unwrap_used)]

mod endings;
mod requests;
mod system;
mod threads;
mod trace;

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::child::{Lines, Running};
use support::locate;

const SOON: Duration = Duration::from_secs(60);

/// `attach` to these processes, recording.
fn attach(pids: &[u32], file: &Path, more: &[&str]) -> Running {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut command = Command::new(locate::agent().unwrap());
    command.args(["attach", "--duration", "10m", "--pid", &pids.join(","), "--out"]).arg(file).args(more);
    let attach = Running::start(command, Lines::Stderr).unwrap();
    attach.wait_line(SOON, |line| line.starts_with("watching").then_some(())).unwrap();
    attach
}

/// Ends it as Ctrl-C does.
fn end(mut attach: Running) {
    assert!(attach.stop(libc::SIGINT, SOON).unwrap().success());
    attach.wait_line(SOON, |line| line.starts_with("timeline: ").then_some(())).unwrap();
}
