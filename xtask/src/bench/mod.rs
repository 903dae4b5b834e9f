//! `cargo xtask bench`: what inferscope costs and how right it is, against its targets.
//!
//! One file per measurement, one row each in `BENCHES`. Machines differ, so speeds are ratios of numbers taken in one
//! run, round by round in turn.

mod accuracy;
mod daemon;
mod engines;
mod identity;
mod kernel;
mod kill9;
mod load;
mod log_cost;
mod lossless;
mod memory;
mod namespaces;
mod probe_cost;
mod requests;
mod sched;
mod sched_cost;
mod stacks;
mod start;
mod stream;
mod syscall_tax;
mod table;
mod timeline;
mod turns;
mod verdict;
mod zmq;

pub use verdict::groups::Groups;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use table::Row;

use crate::{build, cargo, exit, paths, process, servers::Engine, setup};

/// A measurement: its rows of the table.
struct Bench {
    name: &'static str,
    about: &'static str,
    /// On the real servers; all others want them gone.
    on_engines: bool,
    run: fn(&Context) -> Result<Vec<Row>>,
}

/// What every measurement gets.
struct Context {
    /// The release build of the agent.
    agent: PathBuf,
    /// Fewer repetitions: shows that it works, less how fast it is.
    quick: bool,
    engines: engines::Engines,
    /// The table is printed as JSON.
    json: bool,
    verdict: verdict::Options,
}

const BENCHES: &[Bench] = &[
    on_engines("requests", "every request of a real server recorded once, as its client saw it", requests::run),
    on_engines("accuracy", "TTFT and duration against a raw-socket client", accuracy::run),
    on_engines("daemon", "what the daemon costs with verdict and OTLP on", daemon::run),
    on_engines("timeline", "what recording a timeline costs a real server", timeline::run),
    bench("verdict", "the verdict against injected faults; a quarter of an hour per engine", verdict::run),
    on_engines("stacks", "what taking stacks costs a real server, and how much CPU the agent takes", stacks::run),
    on_engines("zmq", "vLLM behind its HTTP front: tokens and times against its own figures, and the cost", zmq::run),
    bench("sched", "on-CPU and run-queue time against schedstat", sched::run),
    bench("syscall-tax", "what a system call of an unwatched process pays", syscall_tax::run),
    bench("sched-cost", "run time of the kernel programs, by the kernel's own statistics", sched_cost::run),
    bench("probe-cost", "what metrics of tracepoints and of functions cost at each event", probe_cost::run),
    bench("log-cost", "what a write to a log, and to another file, pays", log_cost::run),
    bench("stream", "throughput of a watched server that streams as fast as it can", stream::run),
    bench("lossless", "20,000 chunks/s without loss, and exact books beyond the limit", lossless::run),
    bench("memory", "resident memory: idle, busy, and after many processes and requests", memory::run),
    bench("identity", "what the names of pods cost: 500 containers, ten changes a second", identity::run),
    bench("namespaces", "what looking at sockets costs with hundreds of network namespaces", namespaces::run),
    bench("start", "time until a process is watched", start::run),
    bench("kill9", "what a killed agent leaves behind", kill9::run),
];

const fn bench(name: &'static str, about: &'static str, run: fn(&Context) -> Result<Vec<Row>>) -> Bench {
    Bench { name, about, on_engines: false, run }
}

const fn on_engines(name: &'static str, about: &'static str, run: fn(&Context) -> Result<Vec<Row>>) -> Bench {
    Bench { name, about, on_engines: true, run }
}

/// Measure what inferscope costs and how right it is; the table goes to target/bench.md too
#[derive(clap::Args)]
pub struct Args {
    /// Only these measurements; all if none is named
    names: Vec<String>,
    /// List the measurements
    #[arg(long)]
    list: bool,
    /// Fewer repetitions
    #[arg(long)]
    quick: bool,
    /// Print the table as JSON, in one line at the end
    #[arg(long)]
    json: bool,
    /// End with an error if a target is missed
    #[arg(long)]
    strict: bool,
    /// On vLLM too: 6 GB and 3 minutes once, a minute to start
    #[arg(long)]
    vllm: bool,
    /// Where the llama.cpp server listens; any free port if not given
    #[arg(long)]
    port: Option<u16>,
    /// verdict, timeline, stacks: only on this engine, whatever --vllm says
    #[arg(long)]
    engine: Option<Engine>,
    #[command(flatten)]
    verdict: verdict::Options,
}

pub fn run(args: &Args) -> Result<()> {
    if args.list {
        BENCHES.iter().for_each(|bench| println!("{:<16}{}", bench.name, bench.about));
        return Ok(());
    }
    let all = args.names.is_empty() || args.names.iter().any(|name| name == "all");
    let known = |name: &&String| *name != "all" && !BENCHES.iter().any(|bench| bench.name == **name);
    if let Some(unknown) = args.names.iter().find(known) {
        bail!("there is no measurement {unknown}: see `cargo xtask bench --list`");
    }
    if !process::is_root() {
        bail!("the measurements load kernel programs: run this as root");
    }
    let context = prepare(args)?;
    let mut rows = Vec::new();
    for bench in BENCHES.iter().filter(|bench| all || args.names.iter().any(|name| name == bench.name)) {
        println!("\n== {}: {}", bench.name, bench.about);
        if !bench.on_engines {
            context.engines.end();
        }
        let measured = (bench.run)(&context).unwrap_or_else(|error| vec![Row::failed(&error)]);
        measured.iter().for_each(|row| println!("{row}"));
        rows.extend(measured.into_iter().map(|row| (bench.name, row)));
        if process::interrupted() {
            bail!("interrupted");
        }
    }
    let table = table::markdown(&rows);
    let file = paths::target().join("bench.md");
    std::fs::write(&file, &table).with_context(|| format!("cannot write {}", file.display()))?;
    println!("\n{}", if args.json { table::json(&rows) } else { table });
    let missed = rows.iter().filter(|(_, row)| row.missed()).count();
    if args.strict && missed > 0 { Err(exit::Exit(1).into()) } else { Ok(()) }
}

/// Builds what is measured and what it is measured with.
fn prepare(args: &Args) -> Result<Context> {
    setup::tools::peers()?;
    // As for the live tests: another build, to hold one against the other.
    let given = std::env::var_os("INFERSCOPE_BIN").map(std::path::PathBuf::from);
    let agent = given.map_or_else(|| build::agent(false), Ok)?;
    cargo::programs(&["build", "--release", "--package", "support", "--bins"])?;
    support::locate::look_first_in(paths::target().join("release"));
    process::watch_signals();
    let engines = engines::Engines::new(args.port, args.vllm, args.engine);
    Ok(Context { agent, quick: args.quick, engines, json: args.json, verdict: args.verdict.clone() })
}
