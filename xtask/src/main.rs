//! `cargo xtask`: everything this repository does besides `cargo build`, one file per command.
//!
//! Parses and dispatches, nothing else.
#![forbid(unsafe_code)]

mod build;
mod paths;
mod process;
mod setup;
mod step;

use clap::{Parser, Subcommand};

/// inferscope's own commands: set up, build, try, test and measure.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing: the kernel programs' toolchain, the real servers, the guest kernels, the tools
    Setup(setup::Args),
    /// Build target/release/inferscope
    Build(build::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Build(args) => build::run(&args).map(|_| ()),
    }
}
