//! What the kernel knows of loaded programs and maps: whose they are, and how long each program has run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use aya::programs::{BtfTracePoint, ProgramInfo, RawTracePoint, loaded_programs};
use aya::{Btf, Ebpf};

use crate::paths;

/// Ids of the programs and maps that a process holds.
#[derive(Default)]
pub struct Held {
    pub programs: BTreeSet<u32>,
    pub maps: BTreeSet<u32>,
}

/// From /proc/PID/fdinfo, where the kernel names them.
pub fn held(pid: u32) -> Result<Held> {
    let mut held = Held::default();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).with_context(|| format!("process {pid} is gone"))? {
        // A descriptor may be closed meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let number = |name| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        held.programs.extend::<Option<u32>>(number("prog_id:"));
        held.maps.extend::<Option<u32>>(number("map_id:"));
    }
    Ok(held)
}

/// What is left of HELD in the kernel.
pub fn left_of(held: &Held) -> Held {
    let programs = loaded_programs().flatten().map(|program| program.id());
    let maps = aya::maps::loaded_maps().flatten().map(|map| map.id());
    Held {
        programs: programs.filter(|id| held.programs.contains(id)).collect(),
        maps: maps.filter(|id| held.maps.contains(id)).collect(),
    }
}

/// Runs of a program and the time that they took; counted only while statistics are on.
#[derive(Clone, Copy, Default)]
pub struct Runs {
    pub count: u64,
    pub ns: u64,
}

impl Runs {
    pub fn ns_each(&self) -> f64 {
        self.ns as f64 / self.count as f64
    }

    fn since(self, before: Self) -> Self {
        Self { count: self.count - before.count, ns: self.ns - before.ns }
    }
}

impl std::iter::Sum for Runs {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self { count: sum.count + one.count, ns: sum.ns + one.ns })
    }
}

/// Runs of every program that PID holds, by name (which the kernel cuts to 15 characters).
pub fn runs(pid: u32) -> Result<BTreeMap<String, Runs>> {
    let ids = held(pid)?.programs;
    let mut runs = BTreeMap::new();
    for program in loaded_programs().flatten().filter(|program| ids.contains(&program.id())) {
        let now = Runs { count: program.run_count(), ns: program.run_time().as_nanos() as u64 };
        runs.insert(name(&program), now);
    }
    Ok(runs)
}

/// The growth from BEFORE to AFTER; programs that never ran are left out.
pub fn grown(before: &BTreeMap<String, Runs>, after: BTreeMap<String, Runs>) -> BTreeMap<String, Runs> {
    let since = |(name, now): (String, Runs)| {
        let grown = now.since(before.get(&name).copied().unwrap_or_default());
        (grown.count > 0).then_some((name, grown))
    };
    after.into_iter().filter_map(since).collect()
}

/// The runs of those programs whose name begins with PREFIX.
pub fn of(runs: &BTreeMap<String, Runs>, prefix: &str) -> Runs {
    runs.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, runs)| *runs).sum()
}

/// Programs on the system-call hooks: other observers that a measurement shares the host with.
pub fn syscall_observers() -> usize {
    let on_syscalls = |name: &str| name.starts_with("sys_enter") || name.starts_with("sys_exit");
    loaded_programs().flatten().filter(|program| on_syscalls(&name(program))).count()
}

fn name(program: &ProgramInfo) -> String {
    program.name_as_str().unwrap_or_default().to_owned()
}

/// A pair of programs that does next to nothing, on sys_enter and sys_exit; dropping it detaches them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pair {
    /// Raw tracepoints that return at once.
    Raw,
    /// The same as typed tracepoints.
    Typed,
    /// Typed tracepoints with one hash look-up each.
    LookUp,
}

impl Pair {
    pub fn attach(self) -> Result<Ebpf> {
        let object = null_object()?;
        let mut ebpf = Ebpf::load_file(&object).with_context(|| format!("cannot load {}", object.display()))?;
        let (enter, exit) = match self {
            Self::Raw => ("null_enter_raw", "null_exit_raw"),
            Self::Typed => ("null_enter_btf", "null_exit_btf"),
            Self::LookUp => ("look_enter_btf", "look_exit_btf"),
        };
        for (program, tracepoint) in [(enter, "sys_enter"), (exit, "sys_exit")] {
            let program = ebpf.program_mut(program).with_context(|| format!("the object lacks {program}"))?;
            if self == Self::Raw {
                let program: &mut RawTracePoint = program.try_into()?;
                program.load()?;
                program.attach(tracepoint)?;
            } else {
                let program: &mut BtfTracePoint = program.try_into()?;
                program.load(tracepoint, &Btf::from_sys_fs()?)?;
                program.attach()?;
            }
        }
        Ok(ebpf)
    }
}

/// Built beside the agent's programs, by the agent's build.
fn null_object() -> Result<PathBuf> {
    let object = paths::target().join("bpf/bpfel-unknown-none/release/inferscope-null");
    if !object.exists() {
        bail!("{} is not there: build the agent without INFERSCOPE_BPF_OBJECT", object.display());
    }
    Ok(object)
}
