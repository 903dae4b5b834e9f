//! The small LLM server as a child process.

use crate::child::{Lines, Running};
use crate::page;
use crate::transport::Target;
use crate::{confine, locate};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::process::Command;
use std::time::{Duration, Instant};

/// What the server says it did; see the server's stats.rs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ServerStats {
    pub connections: u64,
    pub requests: u64,
    pub llm_requests: u64,
    pub completed: u64,
    pub cut: u64,
    pub content_chunks: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub writes: u64,
    pub reads: u64,
}

pub struct Server {
    pub running: Running,
    pub target: Target,
}

impl Server {
    /// Starts `sse-server ARGS` and waits until it listens.
    pub fn start(args: &[&str]) -> Result<Self> {
        let mut command = Command::new(locate::helper("sse-server")?);
        command.args(args);
        Self::run(command)
    }

    /// Starts `echo-server`, which says what it is told.
    pub fn echo() -> Result<Self> {
        Self::run(Command::new(locate::helper("echo-server")?))
    }

    /// Starts a program of the caller's that says `listening on ADDRESS` first, for a test that needs a server of a kind of
    /// its own.
    pub fn run(command: Command) -> Result<Self> {
        Self::listening(Running::start(command, Lines::Stdout)?)
    }

    fn listening(running: Running) -> Result<Self> {
        let address = running.wait_line(Duration::from_secs(20), |line| {
            Some(line.strip_prefix("listening on ")?.split(' ').next()?.to_owned())
        })?;
        Ok(Self { running, target: Target::parse(&address)? })
    }

    /// Starts a server that listens at `at` (127.0.0.1:0, [::1]:0, unix:/path, unix:@name).
    pub fn listen(at: &str) -> Result<Self> {
        Self::start(&["--listen", at])
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub fn stats(&self) -> Result<ServerStats> {
        let (_, body) = page::get(&self.target, "/test/stats")?;
        serde_json::from_str(&body).context("/test/stats")
    }

    /// The figures once every request has been answered or cut. A server counts an answer after its last write, so the
    /// client may have it first.
    pub fn settled(&self) -> Result<ServerStats> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let stats = self.stats()?;
            if stats.requests == stats.completed + stats.cut {
                return Ok(stats);
            }
            ensure!(Instant::now() < deadline, "requests stay open: {stats:?}");
            std::thread::yield_now();
        }
    }
}

/// An `echo-server` in a network namespace of its own that does not listen yet.
pub struct Silent(Running);

impl Silent {
    pub fn start() -> Result<Self> {
        let mut command = Command::new(locate::helper("echo-server")?);
        command.arg("--wait");
        confine::own_network(&mut command);
        let running = Running::start(command, Lines::Stdout)?;
        running.wait_line(Duration::from_secs(20), |line| (line == "ready").then_some(()))?;
        Ok(Self(running))
    }

    /// Lets it listen. Who is to reach it must be in its network: see [`confine::within_network`].
    pub fn speak(mut self) -> Result<Server> {
        self.0.tell("listen")?;
        Server::listening(self.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(path) = self.target.path() {
            let _ = std::fs::remove_file(path);
        }
    }
}
