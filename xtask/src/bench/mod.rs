//! `cargo xtask bench`: what inferscope costs, as ratios of numbers taken in one run.
//!
//! One file per measurement, one row each in `BENCHES`. Machines differ, so no bare time is a result.

mod start;
pub mod table;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{build, process, setup};

/// A measurement: prints its table and says whether its target was met.
pub struct Bench {
    pub name: &'static str,
    pub about: &'static str,
    pub run: fn(&Context) -> Result<bool>,
}

/// What every measurement gets.
pub struct Context {
    /// The release build of the agent.
    pub agent: PathBuf,
    /// Fewer repetitions: shows that it works, not how fast it is.
    pub quick: bool,
}

pub const BENCHES: &[Bench] =
    &[Bench { name: "start", about: "time to readiness, idle memory, one scrape", run: start::run }];

/// Measure what inferscope costs
#[derive(clap::Args)]
pub struct Args {
    /// Only these measurements
    names: Vec<String>,
    /// List the measurements
    #[arg(long)]
    list: bool,
    /// Fewer repetitions
    #[arg(long)]
    quick: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if args.list {
        BENCHES.iter().for_each(|bench| println!("{:<16}{}", bench.name, bench.about));
        return Ok(());
    }
    let known = |name: &&String| !BENCHES.iter().any(|bench| bench.name == **name);
    if let Some(unknown) = args.names.iter().find(known) {
        bail!("there is no measurement {unknown}: see `cargo xtask bench --list`");
    }
    if !process::is_root() {
        bail!("the measurements load kernel programs: run this as root");
    }
    setup::tools::ensure()?;
    let context = Context { agent: build::agent(false)?, quick: args.quick };
    let wanted = |bench: &&Bench| args.names.is_empty() || args.names.iter().any(|name| name == bench.name);
    let mut missed = Vec::new();
    for bench in BENCHES.iter().filter(wanted) {
        println!("\n== {}: {}", bench.name, bench.about);
        if !(bench.run)(&context)? {
            missed.push(bench.name);
        }
    }
    if missed.is_empty() { Ok(()) } else { bail!("targets missed: {}", missed.join(", ")) }
}
