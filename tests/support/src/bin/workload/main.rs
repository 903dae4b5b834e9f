//! Loads of one kind each, for what the kernel programs count. Says `ready pid N`, works, prints one line of JSON with
//! its own truth; with `--wait` it starts, and later ends, only when told to by a line on standard input.

mod block;
mod busy;
mod calls;
mod hog;
mod listen;
mod pingpong;
mod spawn;
mod storage;
mod tree;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::Value;

#[derive(Parser)]
#[command(about = "Loads of one kind each, with their own truth as JSON")]
struct Args {
    /// Wait for a line on standard input before the work, and for another one before the end.
    #[arg(long, global = true)]
    wait: bool,
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// Threads that only compute.
    Busy(busy::Busy),
    /// Threads that take the CPUs from others, until killed.
    Hog(hog::Hog),
    /// Threads that block for one reason.
    Block(block::Block),
    /// One system call over and over, timed.
    Syscalls(calls::Syscalls),
    /// Two threads that wake each other through a futex.
    FutexPingpong(pingpong::Pingpong),
    /// Two threads that wake each other through pipes.
    PipePingpong(pingpong::Pingpong),
    /// Sockets that begin to listen, one after the other.
    Listen(listen::Listen),
    /// Connections to itself, one after the other.
    Connect(listen::Connect),
    /// Processes or threads that end at once.
    Spawn(spawn::Spawn),
    /// A tree of processes that live until the end.
    ForkTree(tree::ForkTree),
    /// Runs itself over and over in the same process.
    ExecChain(tree::ExecChain),
    /// Major page faults on a mapped file.
    PageFaults(storage::PageFaults),
    /// Reads of a file past the page cache.
    DiskRead(storage::DiskRead),
    /// Ends by itself in the way asked for.
    Exit(spawn::Exit),
}

fn main() -> Result<()> {
    let args = Args::parse();
    // A link of a chain goes on with what its first link began.
    if !matches!(&args.load, Load::ExecChain(chain) if chain.begun()) {
        println!("ready pid {}", std::process::id());
        told(args.wait)?;
    }
    println!("{}", run(&args.load, args.wait)?);
    told(args.wait)
}

fn told(wait: bool) -> Result<()> {
    if wait {
        std::io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}

fn run(load: &Load, wait: bool) -> Result<Value> {
    match load {
        Load::Busy(it) => it.run(),
        Load::Hog(it) => it.run(),
        Load::Block(it) => it.run(),
        Load::Syscalls(it) => it.run(),
        Load::FutexPingpong(it) => it.futex(),
        Load::PipePingpong(it) => it.pipe(),
        Load::Listen(it) => it.run(),
        Load::Connect(it) => it.run(),
        Load::Spawn(it) => it.run(),
        Load::ForkTree(it) => it.run(wait),
        Load::ExecChain(it) => it.run(wait),
        Load::PageFaults(it) => it.run(),
        Load::DiskRead(it) => it.run(),
        Load::Exit(it) => it.run(),
    }
}
