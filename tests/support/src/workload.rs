//! A workload as a child process: held at its start until the observer is ready, and at its end until it has looked.

use crate::child::{Lines, Running};
use crate::locate;
use anyhow::Result;
use serde_json::Value;
use std::process::{Command, ExitStatus};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

pub struct Workload {
    pub running: Running,
}

impl Workload {
    /// Starts `workload ARGS --wait`; it has not begun its work yet.
    pub fn start(args: &[&str]) -> Result<Self> {
        let mut command = Command::new(locate::helper("workload")?);
        command.args(args).arg("--wait");
        let running = Running::start(command, Lines::Stdout)?;
        running.wait_line(PATIENCE, |l| l.starts_with("ready pid ").then_some(()))?;
        Ok(Self { running })
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Lets it work; its truth, once it has done so. It then stands still until [`Workload::finish`].
    pub fn work(&mut self) -> Result<Value> {
        self.running.tell("go")?;
        self.running.wait_line(PATIENCE, |l| serde_json::from_str(l).ok())
    }

    /// Lets it go on to its end, through all that it would still wait for.
    pub fn finish(&mut self) -> Result<ExitStatus> {
        self.running.hush();
        self.running.wait(PATIENCE)
    }
}

/// A figure of a workload's truth.
pub fn figure(truth: &Value, name: &str) -> u64 {
    truth[name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {truth}"))
}
