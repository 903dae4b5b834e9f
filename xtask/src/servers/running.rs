//! A server's life: started as `nobody`, waited for until it is healthy, ended with everything that it started.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::Ipv4Addr;
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

/// Where a server runs, and with what, if not as everyone starts one.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The address that it is asked at, and then it listens on all that it has; 127.0.0.1 alone if none.
    pub host: Option<Ipv4Addr>,
    /// `cgroup.procs` files of the control groups that it belongs to from its first page on.
    pub groups: Vec<PathBuf>,
    /// The network namespace that it lives in.
    pub netns: Option<PathBuf>,
    /// llama only: the file that the model is read from.
    pub model: Option<PathBuf>,
    pub env: Vec<(String, OsString)>,
}

impl Surroundings {
    pub fn address(&self) -> Ipv4Addr {
        self.host.unwrap_or(Ipv4Addr::LOCALHOST)
    }

    pub fn listen(&self) -> Ipv4Addr {
        if self.host.is_some() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST }
    }

    /// A command line that enters all of it, and then runs the rest of its arguments.
    fn command(&self) -> Command {
        let Some(netns) = &self.netns else {
            return self.grouped(Command::new("setpriv"), "setpriv");
        };
        let mut command = self.grouped(Command::new("nsenter"), "nsenter");
        command.arg(format!("--net={}", netns.display())).arg("setpriv");
        command
    }

    fn grouped(&self, plain: Command, program: &str) -> Command {
        if self.groups.is_empty() {
            return plain;
        }
        let mut command = Command::new("sh");
        let enter = self.groups.iter().map(|file| format!("echo $$ >'{}' && ", file.display())).collect::<String>();
        command.args(["-c", &format!("{enter}exec {program} \"$@\""), "sh"]);
        command
    }
}

/// How to start an engine, and how long it may take to become healthy.
pub struct Launch {
    pub command: Command,
    pub patience: Duration,
}

/// A server that answers; dropping it ends it.
pub struct Server {
    engine: Engine,
    address: Ipv4Addr,
    pub port: u16,
    group: process::Group,
}

impl Server {
    /// Installs ENGINE if need be, starts it, and waits until it is healthy.
    ///
    /// A server ends with the thread that started it, so this belongs on the main thread.
    pub fn start(engine: Engine, options: &Options) -> Result<Self> {
        Self::start_in(engine, options, &Surroundings::default())
    }

    /// As `start`, in other surroundings.
    pub fn start_in(engine: Engine, options: &Options, place: &Surroundings) -> Result<Self> {
        let port = match options.port {
            Some(port) if http::listens(port) => bail!("port {port} is taken: stop what listens there or give --port"),
            Some(port) => port,
            None => http::free_port()?,
        };
        let launch = match engine {
            Engine::Llama => llama::launch(port, options, place)?,
            Engine::Vllm => vllm::launch(port, place)?,
        };
        let log = home()?.join(format!("{}.log", engine.name()));
        let group = spawn(engine, options, place, &launch.command, &log)?;
        let mut server = Self { engine, address: place.address(), port, group };
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
        while !http::get_at(self.address, self.port, "/health").is_ok_and(|response| response.status == 200) {
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

fn spawn(
    engine: Engine,
    options: &Options,
    place: &Surroundings,
    launch: &Command,
    log: &Path,
) -> Result<process::Group> {
    let state = state_home(engine.name())?;
    let mut command = place.command();
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
    command.envs(place.env.iter().map(|(name, value)| (name, value)));
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
