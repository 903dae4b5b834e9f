//! A server's life: started as `nobody`, waited for until it is healthy, ended with everything that it started.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Engine, home, llama, vllm};
use crate::{http, process, step};

/// SIGILL
const ILLEGAL_INSTRUCTION: i32 = 4;
const POLL: Duration = Duration::from_millis(50);
/// The user and group id of `nobody`, as the kernel's own default for an unmapped user.
const NOBODY: u32 = 65534;

#[derive(Clone, Copy, Default)]
pub struct Options {
    /// Any free port when None
    pub port: Option<u16>,
    /// The tiny random model in place of the real one
    pub tiny: bool,
    /// May outlive xtask; otherwise the server ends even if xtask is killed
    pub lasting: bool,
}

/// How to start an engine, and how long it may take to become healthy.
pub struct Launch {
    pub command: Command,
    pub patience: Duration,
}

/// A server that answers; dropping it ends it.
pub struct Server {
    engine: Engine,
    pub port: u16,
    group: process::Group,
}

impl Server {
    /// Installs ENGINE if need be, starts it, and waits until it is healthy.
    ///
    /// A server ends with the thread that started it, so this belongs on the main thread.
    pub fn start(engine: Engine, options: &Options) -> Result<Self> {
        let port = match options.port {
            Some(port) if http::listens(port) => bail!("port {port} is taken: stop what listens there or give --port"),
            Some(port) => port,
            None => http::free_port()?,
        };
        let launch = match engine {
            Engine::Llama => llama::launch(port, options)?,
            Engine::Vllm => vllm::launch(port)?,
        };
        let log = home()?.join(format!("{}.log", engine.name()));
        let group = spawn(engine, options, &launch.command, &log)?;
        let mut server = Self { engine, port, group };
        step::work(&format!("start {}", engine.name()), "up to a minute", || server.wait(launch.patience, &log))?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.group.pid()
    }

    /// The name that a request gives for the model.
    pub fn model(&self) -> &'static str {
        match self.engine {
            Engine::Llama => "smollm2",
            Engine::Vllm => "tiny",
        }
    }

    /// Lets the server outlive xtask; `stop` finds it again.
    pub fn leave_running(self) -> Result<()> {
        let pid = self.pid();
        let started = start_time(pid).context("the server ended")?;
        fs::write(note(self.engine)?, format!("{pid} {started}\n")).context("cannot note the server's pid")?;
        self.group.detach();
        Ok(())
    }

    fn wait(&mut self, patience: Duration, log: &Path) -> Result<()> {
        let started = Instant::now();
        while !http::get(self.port, "/health").is_ok_and(|response| response.status == 200) {
            if let Some(status) = self.group.try_wait()? {
                if status.signal() == Some(ILLEGAL_INSTRUCTION) {
                    bail!(
                        "this CPU is too old for the prebuilt server: set {} to a llama-server of yours",
                        llama::OWN_BUILD
                    );
                }
                bail!(
                    "{} ended ({status}); the end of {}:\n{}",
                    self.engine.name(),
                    log.display(),
                    step::tail(log, 20)
                );
            }
            if started.elapsed() > patience {
                bail!("{} is not healthy; the end of {}:\n{}", self.engine.name(), log.display(), step::tail(log, 20));
            }
            process::pause(POLL)?;
        }
        Ok(())
    }
}

/// Ends the server that `leave_running` left.
pub fn stop(engine: Engine) -> Result<()> {
    let note = note(engine)?;
    let text = fs::read_to_string(&note).unwrap_or_default();
    let mut words = text.split_whitespace();
    let (Some(pid), Some(started)) = (words.next().and_then(|pid| pid.parse().ok()), words.next()) else {
        println!("{} was not started by `cargo xtask servers start`", engine.name());
        return Ok(());
    };
    // The pid may belong to another program by now.
    let alive = || start_time(pid).is_some_and(|now| now == started);
    if alive() {
        process::end_group(pid, alive);
    }
    fs::remove_file(note).context("cannot remove the note of the server's pid")?;
    println!("{} is stopped", engine.name());
    Ok(())
}

/// A directory that the server may write to.
pub fn state_home(name: &str) -> Result<PathBuf> {
    let dir = home()?.join(format!("state-{name}"));
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    if process::is_root() {
        chown(&dir, Some(NOBODY), Some(NOBODY)).with_context(|| format!("cannot give {} away", dir.display()))?;
    }
    Ok(dir)
}

fn spawn(engine: Engine, options: &Options, launch: &Command, log: &Path) -> Result<process::Group> {
    let state = state_home(engine.name())?;
    let mut command = Command::new("setpriv");
    if process::is_root() {
        let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
        command.args([&user, &group, "--clear-groups", "--inh-caps=-all", "--no-new-privs"]);
    } else {
        command.arg("--no-new-privs");
    }
    if !options.lasting {
        command.args(["--pdeathsig", "TERM"]);
    }
    command.arg("--").arg(launch.get_program()).args(launch.get_args());
    for (name, value) in launch.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.current_dir(&state).env("HOME", &state).env("TMPDIR", &state);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    process::Group::spawn(&mut command)
}

fn note(engine: Engine) -> Result<PathBuf> {
    Ok(home()?.join(format!("{}.pid", engine.name())))
}

/// When the process started, as field 22 of /proc/PID/stat says: with the pid it names one process for ever.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    (fields.next()? != "Z").then(|| fields.nth(18).map(str::to_owned))?
}
