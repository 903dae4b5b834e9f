//! Child processes that never outlive their purpose: each has a process group, which is ended as a whole.
//!
//! Also the only place that knows of signals and of root.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A child and its process group; dropping it ends them all.
pub struct Group {
    child: Child,
    ended: bool,
}

impl Group {
    /// Starts COMMAND as the leader of a new process group.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        watch_signals();
        command.process_group(0);
        let child = command.spawn().with_context(|| missing(command))?;
        Ok(Self { child, ended: false })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Lets the processes live on after this value.
    pub fn detach(mut self) -> u32 {
        self.ended = true;
        self.child.id()
    }

    /// SIGTERM to the group, SIGKILL to what is left after the grace time.
    pub fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        end_group(self.pid(), || matches!(self.child.try_wait(), Ok(None)));
        // Reaps the leader; there is nothing to do about one that is gone.
        let _ = self.child.wait();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// SIGTERM to one child, SIGKILL if it does not end; for a child that shares xtask's process group.
pub fn end(child: &mut Child) {
    signal("TERM", &child.id().to_string());
    let deadline = Instant::now() + GRACE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    // Both fail only when the child is gone already.
    let _ = child.kill();
    let _ = child.wait();
}

/// Ends the group led by LEADER; ALIVE says whether the leader still runs.
pub fn end_group(leader: u32, mut alive: impl FnMut() -> bool) {
    signal("TERM", &format!("-{leader}"));
    let deadline = Instant::now() + GRACE;
    while alive() && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    signal("KILL", &format!("-{leader}"));
}

/// `kill` is a shell builtin, so this needs neither unsafe code nor a package. WHOM is a pid, or a group with a minus.
fn signal(name: &str, whom: &str) {
    // `-s` and `--` are what dash and bash both understand.
    let script = format!("kill -s {name} -- {whom}");
    // It fails when the process is gone, which is what is wanted.
    let _ = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Whether the user pressed Ctrl-C, or a supervisor asked for the end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// From here on Ctrl-C, SIGTERM and SIGHUP set `interrupted` instead of ending xtask, so that it can clean up.
pub fn watch_signals() {
    static WATCH: OnceLock<()> = OnceLock::new();
    WATCH.get_or_init(|| {
        let (ready, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            if let Err(error) = wait_for_signal(&ready) {
                eprintln!("cannot watch for Ctrl-C: {error}");
            }
            INTERRUPTED.store(true, Ordering::Relaxed);
        });
        // An error means that the watcher ended, which it has said itself.
        let _ = wait.recv();
    });
}

fn wait_for_signal(ready: &std::sync::mpsc::Sender<()>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let _ = ready.send(());
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        Ok(())
    })
}

/// Waits; an error if xtask was interrupted meanwhile.
pub fn pause(time: Duration) -> Result<()> {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        if interrupted() {
            bail!("interrupted");
        }
        std::thread::sleep(POLL.min(time));
    }
    Ok(())
}

/// What COMMAND prints, without the last newline; an error unless it ends well.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output().with_context(|| missing(command))?;
    if !done.status.success() {
        let reason = String::from_utf8_lossy(&done.stderr);
        bail!("{} failed ({}): {}", name(command), done.status, reason.trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
}

/// Whether COMMAND runs and ends well; its output goes nowhere.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Whether xtask runs as root.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn missing(command: &Command) -> String {
    format!("cannot start {}: run `cargo xtask setup`", name(command))
}
