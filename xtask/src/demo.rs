//! `cargo xtask demo`: a real server, a little traffic, and what inferscope sees of it, live.
//!
//! Ends everything it started, and only that, on Ctrl-C and at its end.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::agent::Agent;
use crate::servers::{Engine, Options, Server};
use crate::{build, http, process};

const PORT: u16 = 9770;
const PROMPTS: [&str; 4] = [
    "Say hi.",
    "Name three rivers in Europe.",
    "Why is the sky blue? Two sentences.",
    "Write a haiku about a kernel that watches its programs.",
];

/// A real server, a little traffic, and what inferscope sees of it, live
#[derive(clap::Args)]
pub struct Args {
    /// End after so many seconds; without it the live table runs until Ctrl-C, a plain one for 20 seconds
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// Where /metrics is served
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Show this build of the agent instead of making one
    #[arg(long)]
    binary: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    if !process::is_root() {
        bail!("the demo loads kernel programs: run it as root (sudo -E env PATH=$PATH cargo xtask demo)");
    }
    process::watch_signals();
    let binary = args.binary.clone().map_or_else(|| build::agent(false), Ok)?;
    let (server, target) = match running_server(&binary) {
        Some(target) => {
            println!("already running: {}; watching that, and sending it a little chat", target.words);
            (None, target)
        }
        None => {
            let server = Server::start(Engine::Llama, &Options::default())?;
            let target = Target { words: String::new(), port: server.port, model: server.model().to_owned() };
            (Some(server), target)
        }
    };
    let agent = Agent::start(&binary, args.port, &[])?;
    let traffic = Traffic::start(target);
    println!("metrics: {}/metrics", agent.url());
    let shown = show(&binary, &agent, args.duration);
    // The traffic stops first, so that nobody sees a server die under a request.
    drop(traffic);
    drop(agent);
    drop(server);
    shown?;
    println!("everything that the demo started has ended");
    Ok(())
}

/// What the traffic goes to.
struct Target {
    words: String,
    port: u16,
    model: String,
}

/// The first inference server that runs already and listens on a port.
fn running_server(binary: &Path) -> Option<Target> {
    let listed = process::output(Command::new(binary).args(["ps", "--json"])).ok()?;
    let listed: serde_json::Value = serde_json::from_str(&listed).ok()?;
    listed.as_array()?.iter().find_map(|row| {
        let port = u16::try_from(row["ports"].get(0)?.as_u64()?).ok()?;
        let model = row["model"].as_str().unwrap_or("default").to_owned();
        let words = format!("{} (pid {}, port {port})", row["engine"].as_str().unwrap_or("?"), row["pid"]);
        Some(Target { words, port, model })
    })
}

/// The live table on a terminal, a plain one every two seconds elsewhere.
fn show(binary: &Path, agent: &Agent, duration: Option<Duration>) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let limit = duration.or((!terminal).then_some(Duration::from_secs(20)));
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(binary).args([
        "top",
        "--url",
        &agent.url(),
        "--interval",
        if terminal { "1s" } else { "2s" },
    ]);
    // Not in a process group of its own: the table must own the terminal, and Ctrl-C is for both.
    let mut top = command.spawn().context("cannot start `inferscope top`")?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = top.try_wait()? {
            break status;
        }
        let over = limit.is_some_and(|limit| started.elapsed() >= limit);
        if over || process::interrupted() {
            process::end(&mut top);
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if !status.success() && !process::interrupted() {
        bail!("`inferscope top` ended ({status})");
    }
    Ok(())
}

/// One request after the other until dropped.
struct Traffic {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    fn start(target: Target) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for (turn, prompt) in PROMPTS.iter().cycle().enumerate() {
                if over.load(Ordering::Relaxed) || process::interrupted() {
                    return;
                }
                let streamed = turn % 3 != 2;
                if let Err(error) = http::chat(target.port, &target.model, prompt, 48, streamed) {
                    eprintln!("the demo's request failed: {error:#}");
                    return;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic in the thread has printed itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// `20s` or `2m`; a plain number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text} is no time: say 20s or 2m"))?;
    Ok(Duration::from_secs(number * unit))
}
