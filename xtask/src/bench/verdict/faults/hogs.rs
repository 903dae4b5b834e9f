//! Neighbours that want the same CPUs: many ordinary ones, or a few that go before all others. The latter pause, so that
//! clients, agent and bench get on.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use support::child::{Lines, Running};
use support::locate;

use super::{Fault, Kind, anywhere, same};
use crate::bench::verdict::rig::Rig;
use crate::{paths, process};

/// Hogs per CPU.
const MANY: usize = 4;
const SOON: Duration = Duration::from_secs(10);

pub const ORDINARY: Kind = Kind {
    name: "CPU hogs",
    expected: "cpu_contention",
    missing: anywhere,
    fault: || Box::new(Hogs::Ordinary(None)),
    quiet: same,
    faulty: same,
};

pub const FIRST: Kind = Kind {
    name: "neighbour of higher priority",
    expected: "cpu_contention",
    missing: anywhere,
    fault: || Box::new(Hogs::First(None)),
    quiet: same,
    faulty: same,
};

/// A program that hogs until it is dropped.
enum Hog {
    StressNg(process::Group),
    Own(Running),
}

enum Hogs {
    Ordinary(Option<Hog>),
    First(Option<Hog>),
}

impl Fault for Hogs {
    fn inject(&mut self, rig: &Rig) -> Result<()> {
        let cpus = std::thread::available_parallelism()?.get();
        match self {
            Self::Ordinary(hog) => *hog = Some(ordinary(rig, cpus * MANY)?),
            Self::First(hog) => {
                let threads = cpus.to_string();
                let args = ["--threads", &threads, "--first", "--busy-us", "7000", "--pause-us", "3000"];
                *hog = Some(Hog::Own(own(Command::new(locate::helper("workload")?), &args)?));
            }
        }
        Ok(())
    }

    fn lift(&mut self, _: &Rig) -> Result<()> {
        let (Self::Ordinary(hog) | Self::First(hog)) = self;
        match hog.take() {
            Some(Hog::StressNg(mut group)) => group.end(),
            Some(Hog::Own(running)) => drop(running),
            None => {}
        }
        Ok(())
    }
}

/// In a control group that weighs as much as so many ordinary threads: left in the bench's session, all of them together
/// would weigh as much as one (autogroup).
fn ordinary(rig: &Rig, threads: usize) -> Result<Hog> {
    let (file, weight) = if rig.neighbours.is_unified() {
        (rig.neighbours.file("cpu", "cpu.weight"), 100 * threads)
    } else {
        (rig.neighbours.file("cpu", "cpu.shares"), 1024 * threads)
    };
    let file = file.context("this host has no CPU controller")?;
    fs::write(&file, weight.to_string()).with_context(|| format!("cannot write to {}", file.display()))?;
    let group = file.with_file_name("cgroup.procs");
    let within = |program: PathBuf| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("echo $$ >'{}' && exec \"$@\"", group.display()), "sh"]).arg(program);
        command
    };
    let threads = threads.to_string();
    let Some(stress) = paths::program("stress-ng") else {
        return own(within(locate::helper("workload")?), &["--threads", &threads]).map(Hog::Own);
    };
    let mut command = within(stress);
    command.args(["--cpu", &threads, "--quiet"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process::Group::spawn(&mut command).map(Hog::StressNg)
}

fn own(mut command: Command, args: &[&str]) -> Result<Running> {
    command.arg("hog").args(args);
    let running = Running::start(command, Lines::Stdout)?;
    running.wait_line(SOON, |line| line.starts_with("hogging").then_some(()))?;
    Ok(running)
}
