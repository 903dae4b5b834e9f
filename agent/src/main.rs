//! Arguments, log, command, exit code; nothing else.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use agent::{
    attach,
    cli::{Cli, Command, completions, manual},
    commands,
    export::metrics,
    run, top,
};
use anyhow::Context as _;
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(&cli) {
        Ok(code) => code,
        // The reader has seen enough, as `head` does.
        Err(error) if commands::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            commands::say(format!("inferscope: {}\n", commands::in_words(&error)));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Run(args) => {
            let config = args.config(&cli.log)?;
            commands::start_log(config.log);
            commands::may_watch()?;
            run::run(args, &cli.log, config)?;
        }
        Command::Attach(args) => {
            commands::start_log(args.config(&cli.log).log);
            commands::may_watch()?;
            attach::attach(args, &cli.log)?;
        }
        Command::Check(args) => return commands::check(args, &args.config(&cli.log)?),
        Command::Ps(args) => commands::ps(args.json, &args.config(&cli.log)?)?,
        Command::Top(args) => top::run(args)?,
        Command::Completions { shell } => {
            completions(*shell, &mut io::stdout()).context("cannot write to standard output")?
        }
        Command::Man { dir } => {
            manual(dir).with_context(|| format!("cannot write manual pages into {}", dir.display()))?
        }
        Command::MetricsTable => io::stdout().write_all(metrics::table().as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}
