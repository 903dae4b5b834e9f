//! `cargo xtask build`: the agent with its kernel programs, in one file.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{cargo, paths, setup};

/// Build target/release/inferscope
#[derive(clap::Args)]
pub struct Args {
    /// Build target/debug/inferscope instead: quicker to build, slower to run
    #[arg(long)]
    debug: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let binary = agent(args.debug)?;
    let size = binary.metadata().with_context(|| format!("{} is not there", binary.display()))?.len();
    println!("{}  {:.1} MB", binary.display(), size as f64 / 1e6);
    Ok(())
}

/// Builds the agent, and first what it takes to build it. Returns the program.
pub fn agent(debug: bool) -> Result<PathBuf> {
    let (profile, folder) = if debug { ("dev", "debug") } else { ("release", "release") };
    built(cargo::command(&["build", "--package", "agent", "--profile", profile]), folder)
}

/// As `agent`, for others: without debug information, and the same bytes wherever the repository lies.
pub fn packaged() -> Result<PathBuf> {
    let mut cargo = cargo::command(&["build", "--package", "agent", "--profile", "dist", "--locked"]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", cargo::nameless_paths().join("\x1f")).env_remove("RUSTFLAGS");
    built(cargo, "dist")
}

fn built(mut cargo: Command, folder: &str) -> Result<PathBuf> {
    setup::bpf::ensure()?;
    println!("building inferscope (2 to 4 minutes the first time)");
    let status = cargo.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the agent did not build: the compiler's reason is above");
    }
    Ok(paths::target().join(folder).join("inferscope"))
}
