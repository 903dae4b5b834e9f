//! The faults: what each is called, what the verdict must be, and how it is put in and taken away. One file each.

pub mod gil;
mod gpu;
mod hogs;
mod link;
mod memory;
mod queue;
mod quota;
mod slow_client;
mod slow_disk;

use anyhow::Result;

use super::load::Load;
use super::rig::Rig;

/// A fault that can be put in and taken away again, over and over.
pub trait Fault {
    fn inject(&mut self, rig: &Rig) -> Result<()>;
    /// Takes it away; does nothing if it is not in.
    fn lift(&mut self, rig: &Rig) -> Result<()>;
}

pub struct Kind {
    pub name: &'static str,
    pub expected: &'static str,
    /// Why it cannot be made here, if so.
    pub missing: fn(&Rig) -> Option<String>,
    pub fault: fn() -> Box<dyn Fault>,
    /// The load of its trials in quiet, out of the usual one.
    pub quiet: fn(&Rig, Load) -> Load,
    /// The load while the fault is in, out of that in quiet.
    pub faulty: fn(&Rig, Load) -> Load,
}

pub const KINDS: &[Kind] = &[
    hogs::ORDINARY,
    hogs::FIRST,
    quota::QUOTA,
    memory::LIMIT,
    slow_disk::SLOW_DISK,
    slow_client::SLOW_CLIENT,
    link::BAD_LINK,
    gil::HOLDER,
    queue::QUEUE,
    gpu::BUSY,
];

/// A fault that is in; dropping it takes it away, whatever happened.
pub struct Injected<'a> {
    fault: &'a mut dyn Fault,
    rig: &'a Rig,
    lifted: bool,
}

impl<'a> Injected<'a> {
    pub fn new(fault: &'a mut dyn Fault, rig: &'a Rig) -> Result<Self> {
        let injected = Self { fault, rig, lifted: false };
        // Half an injection is taken away too.
        injected.fault.inject(rig)?;
        Ok(injected)
    }

    pub fn lift(mut self) -> Result<()> {
        self.lifted = true;
        self.fault.lift(self.rig)
    }
}

impl Drop for Injected<'_> {
    fn drop(&mut self) {
        if self.lifted {
            return;
        }
        if let Err(error) = self.fault.lift(self.rig) {
            eprintln!("a fault could not be taken away: {error:#}");
        }
    }
}

/// For faults that lie in the load alone.
struct InTheLoad;

impl Fault for InTheLoad {
    fn inject(&mut self, _: &Rig) -> Result<()> {
        Ok(())
    }

    fn lift(&mut self, _: &Rig) -> Result<()> {
        Ok(())
    }
}

fn anywhere(_: &Rig) -> Option<String> {
    None
}

fn same(_: &Rig, load: Load) -> Load {
    load
}
