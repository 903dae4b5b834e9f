//! `cargo xtask setup`: installs what is missing and says what it does and for how long; run twice, it does nothing.
//!
//! Whatever needs root says the command to type instead of asking for a password.

pub mod apt;
pub mod bpf;
pub mod python;
pub mod tools;

use std::time::Instant;

use anyhow::Result;

use crate::{servers, step, vm};

/// Install what is missing: the kernel programs' toolchain, the real servers, the guest kernels, the tools
#[derive(clap::Args)]
pub struct Args {
    /// Only this part; may be given several times
    #[arg(long, value_enum)]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The compiler and the linker of the kernel programs
    Bpf,
    /// llama.cpp with a small real model (vLLM, which is large: `cargo xtask servers install vllm`)
    Servers,
    /// qemu, busybox and the guest kernels
    Vm,
    /// cargo-fuzz, promtool, rotel, a headless browser, and the programs that benches compare with
    Tools,
}

const PARTS: [Part; 4] = [Part::Bpf, Part::Servers, Part::Vm, Part::Tools];
const VM_PACKAGES: [&str; 6] = ["qemu-system-x86", "busybox-static", "zstd", "lz4", "xz-utils", "binutils"];

pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    for part in PARTS.into_iter().filter(|part| args.only.is_empty() || args.only.contains(part)) {
        match part {
            Part::Bpf => bpf::ensure()?,
            Part::Servers => servers::install(servers::Engine::Llama)?,
            Part::Vm => ensure_vm()?,
            Part::Tools => tools::ensure()?,
        }
    }
    println!("set-up is complete after {}", step::seconds(started.elapsed()));
    Ok(())
}

/// What the kernel matrix needs.
pub fn ensure_vm() -> Result<()> {
    apt::ensure(&VM_PACKAGES, "1 minute")?;
    vm::ensure()
}
