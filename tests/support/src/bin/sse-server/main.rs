//! A small LLM server for tests: every HTTP/1.1 dialect by its path, with exactly predictable usage, and every way of
//! writing, splitting, failing and dying that a real server has shown. It counts what it did (`/test/stats`).

mod behaviour;
mod content;
mod dialect;
mod native;
mod openai;
mod request;
mod respond;
mod serve;
mod socket;
mod stats;
mod stream;

use anyhow::{Context, Result};
use clap::Parser;

#[derive(Parser)]
#[command(about = "A small LLM server for tests")]
struct Args {
    /// Address to listen on: 127.0.0.1:0, [::1]:0, unix:/path or unix:@abstract. May be repeated.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: Vec<String>,
    /// Name of the model, unless the request gives one.
    #[arg(long, default_value = "test-model")]
    model: String,
    /// Who serves a connection.
    #[arg(long, value_enum, default_value_t = serve::Mode::Threads)]
    mode: serve::Mode,
    /// Worker processes in mode `prefork`.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Default behaviour as KEY=VALUE; the request header `x-test-KEY: VALUE` overrides it. See behaviour.rs.
    #[arg(short = 's', long = "set")]
    set: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut behaviour = behaviour::Behaviour::default();
    for pair in &args.set {
        let (key, value) = pair.split_once('=').with_context(|| format!("`{pair}` is not KEY=VALUE"))?;
        behaviour.set(key, value)?;
    }
    let shared = serve::Shared { behaviour, model: args.model, stats: stats::Stats::shared()? };
    serve::run(shared, &args.listen, args.mode, args.workers)
}
