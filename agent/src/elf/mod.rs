//! Where in a file a probe goes: the entries of a function by its symbol, the sites of a USDT probe by its note, and
//! where the arguments are when it is hit. Files are foreign bytes of any size: they are never mapped, and of a library
//! of hundreds of megabytes a bounded part is in memory at any time.
//!
//! A hit costs about as much as a system call where the kernel emulates the instruction at the site (`push`, `nop`, as
//! USDT has, and on newer kernels `endbr64`), and ten times as much where it has to step over it. Calls that the
//! compiler inlined, and clones (`f.part.0`, `f.constprop.0`), are no hits of `f`.
#![forbid(unsafe_code)]

mod alike;
mod arch;
mod error;
mod file;
pub mod mapped;
mod soname;
mod spec;
mod symbols;
mod usdt;
mod versions;

use std::path::Path;

pub use arch::Arch;
pub use error::Error;
use file::{Elf, Opened};

/// More places of one name are not probed: each is an uprobe of its own in the kernel.
const SITES: usize = 1024;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// By its symbol as `nm` shows it, with or without a version (`memcpy`, `memcpy@GLIBC_2.2.5`), or as C++ or Rust
    /// write it (`ns::f(int)`, `ns::f`) if it is the only one.
    Function { symbol: &'a str },
    /// By its note, as `readelf -n` shows it.
    Usdt { provider: &'a str, name: &'a str },
}

/// A place for a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Of the instruction, in bytes from the file's start.
    pub file_offset: u64,
    /// Of the two bytes that the program reads to see whether anybody listens; the kernel counts listeners there.
    pub semaphore_offset: Option<u64>,
    pub arguments: Vec<Argument>,
}

/// Where an argument is when the probe is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    pub base: Base,
    /// None: the base is the value. Else the value is in memory, at the base plus this many bytes.
    pub at: Option<i32>,
    /// Of the value in bytes: 1, 2, 4 or 8. Registers hold it in their low bytes.
    pub size: u8,
    /// Whether its highest bit is a sign.
    pub signed: bool,
}

/// What an argument starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The eight bytes at this offset of the processor's `pt_regs`, as kernel programs get them.
    Register(u16),
    /// Cut to its size and extended by its sign already.
    Constant(i64),
    /// It stands where it cannot be read from.
    Unreadable(Unreadable),
}

/// Why an argument cannot be read. Those beside it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("it has no size of 1, 2, 4 or 8 bytes")]
    Size,
    #[error("it is a floating-point number")]
    Float,
    #[error("it is in a vector register, which kernel programs do not get")]
    Vector,
    #[error("it is in the second byte of a register")]
    HighByte,
    #[error("its address is a sum of two registers")]
    Indexed,
    #[error("its address is that of a variable, relative to the instruction or to a symbol")]
    Symbol,
    #[error("it is thread-local")]
    ThreadLocal,
    #[error("its place is not written in a known form")]
    Form,
}

/// The places in a file of this host's processor. Of a function the arguments are the first six that are integers or
/// pointers, by the calling convention: whole registers, since the file does not tell their types. Errors say what
/// stands in the way and what there is instead.
pub fn sites(path: &Path, target: Target<'_>) -> Result<Vec<Site>, Error> {
    let elf = Elf::parse(Opened::open(path)?)?;
    if elf.arch() != Arch::OWN {
        return Err(Error::Foreign(elf.arch().name()));
    }
    find(&elf, target)
}

/// [`sites`] in bytes of any processor.
pub fn sites_in(bytes: &[u8], target: Target<'_>) -> Result<Vec<Site>, Error> {
    find(&Elf::parse(bytes)?, target)
}

fn find<S: file::Source>(elf: &Elf<S>, target: Target<'_>) -> Result<Vec<Site>, Error> {
    let mut sites = match target {
        Target::Function { symbol } => symbols::sites(elf, symbol)?,
        Target::Usdt { provider, name } => usdt::sites(elf, provider, name)?,
    };
    sites.sort_by_key(|site| site.file_offset);
    sites.dedup_by_key(|site| site.file_offset);
    match sites.len() {
        0..=SITES => Ok(sites),
        count => Err(Error::TooMany { what: "places of that name", count, most: SITES }),
    }
}

/// What a function returned, when the probe at its return is hit; an integer or a pointer.
pub fn returned() -> Argument {
    Arch::OWN.returned()
}

/// The arguments in the text of a note. Each is there, readable or not.
pub fn arguments(arch: Arch, text: &str) -> Vec<Argument> {
    spec::arguments(arch, text)
}

#[cfg(test)]
mod tests;
