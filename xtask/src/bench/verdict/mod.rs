//! The verdict against injected faults, on the real servers: trials of each fault, each with a quiet control before it, and
//! the confusion matrix of what inferscope said.

mod disk;
mod faults;
mod gpu;
pub mod groups;
mod load;
mod matrix;
mod network;
mod records;
mod report;
mod rig;
mod trial;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use report::Report;
use rig::Rig;

use super::table::Row;
use crate::servers::Engine;
use crate::{cargo, process, step};
use faults::{Fault, KINDS, Kind};

/// More than this share of the CPUs in use by others is no quiet host.
const BUSY: f64 = 0.1;

/// The bench's own options.
#[derive(clap::Args, Clone, Default)]
pub struct Options {
    /// verdict: trials of each fault; 20 if not given, 3 with --quick
    #[arg(long)]
    trials: Option<u32>,
    /// verdict: only faults whose name or class contains one of these words
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
}

pub fn run(context: &super::Context) -> Result<Vec<Row>> {
    cargo::programs(&["build", "--release", "--package", "fake-nvml", "--lib"])?;
    let kinds = chosen(&context.verdict.faults)?;
    let trials = context.verdict.trials.unwrap_or(if context.quick { 3 } else { 20 });
    let (mut reports, mut broken) = (Vec::new(), Vec::new());
    for engine in context.engines.chosen() {
        if process::interrupted() {
            break;
        }
        // What one engine gave is not lost with the other.
        match measure(engine, &kinds, trials) {
            Ok(report) => reports.push(report),
            Err(error) => broken.push(Row::failed(&error.context(engine.name()))),
        }
    }
    let mut rows = report::publish(&reports, context.json)?;
    rows.extend(broken);
    rows.extend(context.engines.without_vllm());
    Ok(rows)
}

fn chosen(words: &[String]) -> Result<Vec<&'static Kind>> {
    let fits = |kind: &&Kind| {
        words.is_empty()
            || words.iter().any(|word| kind.name.contains(word.as_str()) || kind.expected.contains(word.as_str()))
    };
    let kinds: Vec<&Kind> = KINDS.iter().filter(fits).collect();
    if kinds.is_empty() {
        let all: Vec<String> = KINDS.iter().map(|kind| format!("{} ({})", kind.name, kind.expected)).collect();
        bail!("--faults fits none of: {}", all.join(", "));
    }
    Ok(kinds)
}

fn measure(engine: Engine, kinds: &[&'static Kind], trials: u32) -> Result<Report> {
    let busy = busy(Duration::from_secs(2))?;
    let rig = Rig::new(engine)?;
    let quiet_s = warm_up(&rig)?;
    let mut report = Report::new(engine.name(), busy);
    let mut faults: Vec<(&Kind, Box<dyn Fault>)> = Vec::new();
    for kind in kinds {
        match (kind.missing)(&rig) {
            Some(why) => report.skip(kind.name, &why),
            None => {
                report.begin(kind.name, kind.expected);
                faults.push((kind, (kind.fault)()));
            }
        }
    }
    let began = Instant::now();
    for round in 0..trials {
        println!("{} round {} of {trials}", engine.name(), round + 1);
        faults.retain_mut(|(kind, fault)| {
            if process::interrupted() {
                return true;
            }
            match trial::run(&rig, kind, fault.as_mut(), 1 + round as usize % 4, quiet_s) {
                Ok(trial) => report.add(kind.name, trial),
                Err(_) if process::interrupted() => {}
                Err(error) => {
                    report.broke(kind.name, &error);
                    return false;
                }
            }
            true
        });
        if process::interrupted() {
            if round == 0 {
                bail!("interrupted");
            }
            // The rounds that are done say something.
            break;
        }
        let left = began.elapsed() / (round + 1) * (trials - round - 1);
        println!("  about {} left", step::seconds(left));
    }
    report.lost = rig.lost()?;
    Ok(report)
}

/// Users in all numbers, so that the service's baseline is known; what a probe takes in quiet.
fn warm_up(rig: &Rig) -> Result<f64> {
    const EACH: Duration = Duration::from_secs(5);
    step::work("warm up", "25 seconds", || {
        for at_a_time in [1, 2, 3, 4] {
            let load = rig.load(at_a_time);
            load.run(EACH, &rig.serial)?;
            let link = (KINDS.iter().find(|kind| kind.expected == "network_bound")).map(|kind| kind.quiet);
            if let Some(quiet) = link.filter(|_| at_a_time < 3) {
                quiet(rig, load).run(EACH / 2, &rig.serial)?;
            }
        }
        if process::interrupted() {
            bail!("interrupted");
        }
        rig.quiet_probe()
    })
}

/// The share of this host's CPUs that is in use before anything is measured.
fn busy(length: Duration) -> Result<f64> {
    let read = || std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat");
    let before = read()?;
    process::pause(length)?;
    let share = busy_share(&before, &read()?).context("/proc/stat has no line of all CPUs")?;
    if share > BUSY {
        println!("  other programs use {:.0} % of this host's CPUs: its quiet controls are not quiet", 100.0 * share);
    }
    Ok(share)
}

/// Of the first line of /proc/stat: user, nice, system, idle, iowait, and others that are busy.
fn busy_share(before: &str, after: &str) -> Option<f64> {
    let ticks = |text: &str| -> Option<(f64, f64)> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let all: Vec<f64> = line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
        Some((all.iter().sum(), all.get(3)? + all.get(4)?))
    };
    let ((total, idle), (total_now, idle_now)) = (ticks(before)?, ticks(after)?);
    Some(1.0 - (idle_now - idle) / (total_now - total).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_chosen_by_a_part_of_their_name_or_class() {
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            chosen(&words).map(|kinds| kinds.iter().map(|kind| kind.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["queue"]).expect("one"), ["8 times too many requests"]);
        assert_eq!(names(&["cpu_contention", "quota"]).expect("three").len(), 3);
        assert_eq!(names(&[]).expect("all").len(), KINDS.len());
        assert!(names(&["nothing"]).is_err());
    }

    #[test]
    fn the_busy_share_leaves_idle_and_waiting_out() {
        let share = busy_share("cpu  10 0 10 100 0 0 0 0 5 5\ncpu0 1\n", "cpu  40 0 20 150 10 0 0 0 9 9\n");
        assert_eq!(share, Some(0.4));
        assert_eq!(busy_share("nothing", "cpu  1 2 3 4 5"), None);
    }

    #[test]
    fn every_fault_expects_a_class_that_there_is() {
        assert!(KINDS.iter().all(|kind| matrix::CLASSES.contains(&kind.expected)));
    }
}
