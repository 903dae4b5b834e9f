//! `cargo xtask vm`: Debian's stock cloud kernels in qemu, and a program of ours as root on each.
//!
//! No KVM needed, nothing installed into the host: the kernels lie in `.cache/kernels`.

mod archive;
mod boot;
mod fetch;
mod matrix;
mod vmlinux;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::libtest::Counts;

/// What the project promises to run on: the oldest and the newest that Debian keeps, and the long-term ones between.
pub const SERIES: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7.3"];

/// Run programs on Debian's stock kernels, 5.10 to 7.3, in qemu
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Fetch the kernels that are missing
    Fetch {
        /// Look for newer ones too
        #[arg(long)]
        newest: bool,
    },
    /// Boot a kernel, run a program of the host in it as root, and end with its exit code
    Run {
        /// The kernel's series, such as 6.1
        #[arg(long, default_value = "6.12")]
        kernel: String,
        /// Seconds until the guest is ended
        #[arg(long, default_value_t = 120)]
        limit: u64,
        /// Virtual CPUs
        #[arg(long, default_value_t = 2)]
        cpus: u32,
        /// Another file or directory of the host to put into the guest at the same path; may be repeated
        #[arg(long)]
        file: Vec<PathBuf>,
        /// Also show the kernel's own messages
        #[arg(long)]
        console: bool,
        binary: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run `inferscope check` and the live tests on every kernel
    Matrix {
        /// Only these series
        #[arg(long)]
        kernel: Vec<String>,
    },
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Fetch { newest } => fetch::ensure(&SERIES, newest).map(|_| ()),
        Command::Run { kernel, limit, cpus, file, console, binary, args } => {
            let kernels = fetch::ensure(&[kernel.as_str()], false)?;
            let kernel = kernels.first().context("no kernel was fetched")?;
            let mut guest = boot::Guest::new(&kernel.image);
            guest.limit = Duration::from_secs(limit);
            guest.cpus = cpus;
            file.iter().try_for_each(|file| guest.add_path(file))?;
            guest.job(&binary, args)?;
            let outcome = guest.boot()?;
            show(&outcome, console)
        }
        Command::Matrix { kernel } => {
            let counts = matrix(&kernel)?;
            println!("{counts}");
            if counts.failed > 0 {
                bail!("the kernel matrix failed: the output of each guest is in .cache/matrix");
            }
            Ok(())
        }
    }
}

/// Fetches the guest kernels; part of `cargo xtask setup`.
pub fn ensure() -> Result<()> {
    fetch::ensure(&SERIES, false).map(|_| ())
}

/// Runs the matrix on the series in ONLY, or on all.
pub fn matrix(only: &[String]) -> Result<Counts> {
    let wanted: Vec<&str> = if only.is_empty() { SERIES.to_vec() } else { only.iter().map(String::as_str).collect() };
    matrix::run(&fetch::ensure(&wanted, false)?)
}

fn show(outcome: &boot::Outcome, console: bool) -> Result<()> {
    if console {
        eprint!("{}", outcome.console);
    }
    let Some(job) = outcome.jobs.first() else { bail!("the guest ended before the program ran:\n{}", outcome.console) };
    print!("{}", job.output);
    eprintln!("{} after {}", outcome.release, crate::step::seconds(outcome.wall));
    match job.code {
        Some(0) => Ok(()),
        Some(code) => Err(crate::exit::Exit(code).into()),
        None => bail!("the guest died or ran out of time; its last messages:\n{}", outcome.console_tail()),
    }
}
