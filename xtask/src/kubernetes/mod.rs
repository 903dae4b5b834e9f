//! `cargo xtask kubernetes`: from the chart to labelled series, on this machine and without a cluster.
//!
//! Everything is the real thing but three: `helm` renders the chart, `cargo xtask image` packs the image, `runc` (what
//! containerd starts containers with) starts them; the API server, the kubelet's socket and what a kubelet does with a
//! pod are stand-ins (`node.rs`, `kubelet.rs`, tests/support).

mod chart;
mod debian;
mod kubelet;
mod node;
mod proof;
mod runtime;
mod seccomp;
mod servers;
mod settings;
mod stacks;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::libtest::Counts;
use crate::{build, paths, process, setup};
use node::Node;

/// From the chart to labelled series: the rendered pod and three servers as real containers, without a cluster
#[derive(clap::Args)]
pub struct Args {
    /// Leave everything up until Ctrl-C, with a little traffic, to look around
    #[arg(long)]
    hold: bool,
    /// Pack this build of the agent instead of making one
    #[arg(long)]
    binary: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    if let Some(why) = obstacle() {
        bail!(why);
    }
    process::watch_signals();
    let binary = args.binary.clone().map_or_else(|| build::agent(false), Ok)?;
    let node = Node::start(&binary)?;
    let shown = proof::cases(&node, tell);
    proof::show(&node)?;
    if args.hold {
        hold(&node)?;
    }
    drop(node);
    if shown.failed > 0 { Err(crate::exit::Exit(1).into()) } else { Ok(()) }
}

/// Why it cannot run here.
pub fn obstacle() -> Option<&'static str> {
    if !process::is_root() {
        return Some("containers and kernel programs take root: run this with sudo");
    }
    for (program, why) in [
        ("ip", "network namespaces are made by `ip`: install iproute2"),
        ("apt-get", "runc and the servers' root come from Debian's archive, and this host has no apt"),
    ] {
        if paths::program(program).is_none() {
            return Some(why);
        }
    }
    None
}

/// Fetches what comes from archives and registries.
pub fn prepare() -> Result<()> {
    debian::Debian::ensure()?;
    setup::tools::kubernetes()?;
    crate::servers::llama_files().map(drop)
}

/// The same as test cases.
pub fn prove(binary: &Path) -> Result<Counts> {
    let node = Node::start(binary)?;
    Ok(proof::cases(&node, tell))
}

fn tell(name: &str, done: &Result<()>) {
    match done {
        Ok(()) => println!("  ok       {name}"),
        Err(error) => println!("  FAILED   {name}: {error:#}"),
    }
}

fn hold(node: &Node) -> Result<()> {
    println!("metrics: {}/metrics; the agent's container: {}", node.url(), node.exec_hint());
    println!("Ctrl-C ends it");
    while !process::interrupted() {
        node.servers.iter().try_for_each(|server| server.chat(1))?;
        // An interruption ends the pause, and the loop.
        let _ = process::pause(std::time::Duration::from_millis(500));
    }
    Ok(())
}
