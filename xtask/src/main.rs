//! `cargo xtask`: everything this repository does besides `cargo build`. Parses and dispatches, nothing else.
#![forbid(unsafe_code)]

mod agent;
mod bench;
mod build;
mod cargo;
mod demo;
mod exit;
mod http;
mod kubernetes;
mod libtest;
mod package;
mod paths;
mod process;
mod servers;
mod setup;
mod step;
mod test;
mod tidy;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// inferscope's own commands: set up, build, try, test and measure.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Args),
    Build(build::Args),
    #[command(flatten)]
    Package(package::Command),
    Demo(demo::Args),
    Test(test::Args),
    Bench(bench::Args),
    Tidy(tidy::Args),
    Servers(servers::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    exit::code(match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Build(args) => build::run(&args).map(|_| ()),
        Command::Package(command) => package::run(&command),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Tidy(args) => tidy::run(&args),
        Command::Servers(args) => servers::run(&args),
        Command::Vm(args) => vm::run(args),
    })
}
