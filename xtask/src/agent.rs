//! The agent as a child process: started on the real kernel, waited for, ended with xtask.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{http, paths, process, step};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running agent; dropping it ends it.
pub struct Agent {
    pub port: u16,
    group: process::Group,
}

impl Agent {
    /// Starts `BINARY run` on 127.0.0.1:PORT with MORE arguments and waits until it is ready.
    pub fn start(binary: &Path, port: u16, more: &[&str]) -> Result<Self> {
        if !process::is_root() {
            bail!("loading kernel programs needs root: run this with sudo");
        }
        if http::listens(port) {
            bail!("port {port} is taken: stop what listens there");
        }
        let log = log()?;
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(binary);
        command.args(["run", "--listen", &format!("127.0.0.1:{port}")]).args(more);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut agent = Self { port, group: process::Group::spawn(&mut command)? };
        step::work("start inferscope", "1 second", || agent.wait(&log))?;
        Ok(agent)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn wait(&mut self, log: &Path) -> Result<()> {
        let started = Instant::now();
        while !http::get(self.port, "/readyz").is_ok_and(|response| response.status == 200) {
            if let Some(status) = self.group.try_wait()? {
                bail!("inferscope ended ({status}); the end of {}:\n{}", log.display(), step::tail(log, 20));
            }
            if started.elapsed() > PATIENCE {
                bail!("inferscope is not ready; the end of {}:\n{}", log.display(), step::tail(log, 20));
            }
            process::pause(Duration::from_millis(20))?;
        }
        Ok(())
    }
}

/// Where the agent's own messages go.
fn log() -> Result<PathBuf> {
    Ok(paths::cache("log")?.join("inferscope.log"))
}
