//! `cargo xtask`: everything this repository does besides `cargo build`, one file per command.
//!
//! Parses and dispatches, nothing else.
#![forbid(unsafe_code)]

mod build;
mod http;
mod libtest;
mod paths;
mod process;
mod servers;
mod setup;
mod step;
mod vm;

use std::process::ExitCode;

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
    /// Real LLM servers on the CPU: install, start, stop
    Servers(servers::Args),
    /// Run programs on Debian's stock kernels, 5.10 to 7.3, in qemu
    Vm(vm::Args),
}

/// Ends xtask with the exit code of a program that it ran, and without a message: the program has given its own.
#[derive(Debug)]
struct Exit(i32);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Build(args) => build::run(&args).map(|_| ()),
        Command::Servers(args) => servers::run(&args),
        Command::Vm(args) => vm::run(args),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    if let Some(Exit(code)) = error.downcast_ref() {
        return ExitCode::from(u8::try_from(*code).unwrap_or(1));
    }
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
