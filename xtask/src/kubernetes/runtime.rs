//! runc, Debian's, as containerd calls it: a bundle, `run --detach`, `exec`, `delete`. What a killed run left is removed at
//! the next.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::settings::Settings;
use crate::{paths, process, step};

/// Its program, and where it keeps what it knows.
#[derive(Clone)]
pub struct Runtime {
    program: PathBuf,
    home: PathBuf,
}

impl Runtime {
    /// With no container of an earlier run.
    pub fn new(program: PathBuf) -> Result<Self> {
        let home = paths::cache("kubernetes/run")?;
        let runtime = Self { program, home };
        let left = process::output(runtime.command().args(["list", "--quiet"]))?;
        left.lines().for_each(|id| runtime.delete(id));
        Ok(runtime)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.home.join("state"));
        command
    }

    /// Starts it and returns its first process, by the host's pid.
    pub fn run(&self, name: &'static str, settings: &Settings) -> Result<Running> {
        let bundle = self.home.join("bundles").join(&settings.id);
        fs::create_dir_all(&bundle)?;
        fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&settings.json())?)?;
        let log = self.home.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let note = bundle.join("pid");
        let mut command = self.command();
        command.args(["run", "--detach", "--pid-file"]).arg(&note).arg("--bundle").arg(&bundle).arg(&settings.id);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let status = command.status().context("cannot start runc")?;
        let mut running = Running { runtime: self.clone(), id: settings.id.clone(), pid: 0, log };
        if !status.success() {
            bail!("runc does not start {name} ({status}): {}", step::tail(&running.log, 10));
        }
        running.pid = fs::read_to_string(&note)?.trim().parse().context("runc noted no pid")?;
        Ok(running)
    }

    fn delete(&self, id: &str) {
        // What is gone already is what is wanted.
        process::succeeds(self.command().args(["delete", "--force", id]));
    }
}

/// A container; dropped, it is deleted.
pub struct Running {
    runtime: Runtime,
    id: String,
    /// Of the host.
    pub pid: u32,
    pub log: PathBuf,
}

impl Running {
    /// What `kubectl exec` does: a command beside the container's own, with its settings; its standard output, however it
    /// ends.
    pub fn exec(&self, args: &[&str]) -> Result<String> {
        let mut command = self.exec_command();
        let done = command.args(args).stdin(Stdio::null()).output().context("cannot start runc")?;
        if done.stdout.is_empty() && !done.status.success() {
            bail!("{} ({}): {}", args.join(" "), done.status, String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    fn exec_command(&self) -> Command {
        let mut command = self.runtime.command();
        command.args(["exec", &self.id]);
        command
    }

    /// The command line for a person.
    pub fn exec_hint(&self) -> String {
        let command = self.exec_command();
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        format!("{} {} inferscope top", command.get_program().to_string_lossy(), words.join(" "))
    }

    /// A file of the container, as it sees it.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join("root").join(path.trim_start_matches('/'))
    }

    pub fn is_alive(&self) -> bool {
        let state = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.runtime.delete(&self.id);
    }
}
