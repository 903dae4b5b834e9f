//! Arguments, log, command, exit code; nothing else.

use std::{io, process::ExitCode};

use agent::{
    attach,
    cli::{Cli, Command, completions},
    commands,
    export::metrics,
    run, top,
};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("inferscope: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Run(args) => {
            let config = args.config(&cli.log)?;
            commands::start_log(config.log);
            run::run(args, &cli.log, config)?;
        }
        Command::Attach(args) => {
            commands::start_log(args.config(&cli.log).log);
            attach::attach(args, &cli.log)?;
        }
        Command::Check(args) => return commands::check(args),
        Command::Ps(args) => commands::ps(args)?,
        Command::Top(args) => top::run(args)?,
        Command::Completions { shell } => completions(*shell, &mut io::stdout()),
        Command::MetricsTable => print!("{}", metrics::table()),
    }
    Ok(ExitCode::SUCCESS)
}
