//! The agent under test as a child process: started, waited for, scraped, read and stopped.

use crate::child::{Lines, Running};
use crate::metrics::{self, Metrics};
use crate::outcome::Outcome;
use crate::record::{self, Record};
use crate::transport::Target;
use crate::{locate, page};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

pub struct Agent {
    pub running: Running,
    pub target: Target,
    records: PathBuf,
}

impl Agent {
    /// Starts an agent that watches these processes and no others, GPUs aside.
    pub fn watch(pids: &[u32]) -> Result<Self> {
        Self::configured(pids, "[discover]\nenabled = false\n[nvml]\nenabled = false\n")
    }

    /// Starts `inferscope run --pid N ... --config FILE`, the file holding `config`.
    pub fn configured(pids: &[u32], config: &str) -> Result<Self> {
        let file = scratch("toml");
        std::fs::write(&file, config).with_context(|| file.display().to_string())?;
        let mut args = vec![String::from("--config"), file.display().to_string()];
        for pid in pids {
            args.extend([String::from("--pid"), pid.to_string()]);
        }
        let agent = Self::start(&args);
        std::fs::remove_file(&file)?;
        agent
    }

    /// Starts `inferscope run ARGS --listen 127.0.0.1:0 --records FILE` and waits until it is ready.
    pub fn start(args: &[String]) -> Result<Self> {
        Self::prepared(args, |_| Ok(()))
    }

    /// Like [`Agent::start`], with a change to the command: an environment, or what the host withholds from it.
    pub fn prepared(args: &[String], prepare: impl FnOnce(&mut Command) -> Result<()>) -> Result<Self> {
        let records = scratch("jsonl");
        let mut command = Command::new(locate::agent()?);
        command.arg("run").args(args).args(["--listen", "127.0.0.1:0", "--records"]).arg(&records);
        prepare(&mut command)?;
        let running = Running::start(command, Lines::Stderr)?;
        let address = running.wait_line(START, |line| {
            let (_, rest) = line.split_once("listening on http://")?;
            Some(rest.split(|c: char| !(c.is_ascii_digit() || ".:[]".contains(c))).next()?.to_owned())
        })?;
        let agent = Self { running, target: Target::parse(&address)?, records };
        agent.wait(
            "the agent is ready",
            START,
            || Ok((page::get(&agent.target, "/readyz")?.0 == 200).then_some(())),
        )?;
        Ok(agent)
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub fn scrape(&self) -> Result<Metrics> {
        let (status, text) = page::get(&self.target, "/metrics")?;
        ensure!(status == 200, "/metrics said {status}");
        Ok(Metrics::parse(&text)?.knowing(sample_names()?))
    }

    pub fn records_path(&self) -> &Path {
        &self.records
    }

    /// Records so far.
    pub fn records(&self) -> Result<Vec<Record>> {
        record::read(&self.records)
    }

    /// Records once there are at least `n` that `keep` accepts; those it accepts.
    pub fn wait_records(&self, n: usize, keep: impl Fn(&Record) -> bool) -> Result<Vec<Record>> {
        self.wait(&format!("{n} records"), Duration::from_secs(20), || {
            let kept: Vec<Record> = self.records()?.into_iter().filter(&keep).collect();
            Ok((kept.len() >= n).then_some(kept))
        })
    }

    /// Records of LLM requests, once each of these outcomes has one or time is up: [`crate::compare`] says what lacks.
    pub fn records_of(&self, outcomes: &[Outcome]) -> Result<Vec<Record>> {
        let ids: Vec<&str> = outcomes.iter().filter_map(|o| o.id.as_deref()).collect();
        let llm = |all: Vec<Record>| all.into_iter().filter(|r| r.operation.is_some()).collect::<Vec<_>>();
        let complete = self.wait("a record of each request", Duration::from_secs(15), || {
            let all = llm(self.records()?);
            let found = ids.iter().all(|id| all.iter().any(|r| r.id.as_deref() == Some(*id)));
            Ok(found.then_some(all))
        });
        complete.or_else(|_| self.records().map(llm))
    }

    /// The metrics once `accept` does.
    pub fn wait_metrics(&self, what: &str, within: Duration, accept: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        self.wait(what, within, || Ok(Some(self.scrape()?).filter(&accept)))
    }

    /// Asks again until there is an answer, every 20 ms: the agent offers nothing to wait on.
    pub fn wait<T>(&self, what: &str, within: Duration, ask: impl Fn() -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + within;
        loop {
            let answer = ask();
            if let Ok(Some(t)) = answer {
                return Ok(t);
            }
            if Instant::now() >= deadline {
                let log = self.running.lines().join("\n");
                let context = format!("waited {within:?} for: {what}; the agent said:\n{log}");
                return match answer {
                    Err(e) => Err(e).context(context),
                    Ok(_) => bail!(context),
                };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Events lost so far, over all places.
    pub fn lost(&self) -> Result<f64> {
        Ok(self.scrape()?.count("inferscope_events_lost_total", &[]))
    }

    /// SIGTERM, then the exit status and the records.
    pub fn stop(mut self) -> Result<(ExitStatus, Vec<Record>)> {
        let status = self.running.stop(libc::SIGTERM, STOP)?;
        Ok((status, record::read(&self.records)?))
    }
}

/// What the agent under test says that its samples are called.
fn sample_names() -> Result<Arc<BTreeSet<String>>> {
    static NAMES: OnceLock<Arc<BTreeSet<String>>> = OnceLock::new();
    if let Some(names) = NAMES.get() {
        return Ok(Arc::clone(names));
    }
    let table = Command::new(locate::agent()?).arg("metrics-table").output().context("inferscope metrics-table")?;
    let names = metrics::names_in(&String::from_utf8(table.stdout)?);
    ensure!(!names.is_empty(), "`inferscope metrics-table` names no metric");
    Ok(Arc::clone(NAMES.get_or_init(|| Arc::new(names))))
}

/// A path of this process' own that does not exist yet.
fn scratch(extension: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("inferscope-test-{}-{n}.{extension}", std::process::id()))
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.running.stop(libc::SIGTERM, STOP);
        let _ = std::fs::remove_file(&self.records);
    }
}
