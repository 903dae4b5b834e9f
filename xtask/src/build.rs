//! `cargo xtask build`: the agent with its kernel programs, in one file.

use std::path::PathBuf;

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
    setup::bpf::ensure()?;
    let mut cargo = cargo::command(&["build", "--package", "agent"]);
    if !debug {
        cargo.arg("--release");
    }
    println!("building inferscope (2 to 4 minutes the first time)");
    let status = cargo.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the agent did not build: the compiler's reason is above");
    }
    Ok(paths::target().join(if debug { "debug" } else { "release" }).join("inferscope"))
}
