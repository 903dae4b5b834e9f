//! Which processes are inference servers. A service is the topmost process that runs an engine, with all its
//! descendants. Reads /proc only; what a process speaks on the wire comes from the session layer ([`Discovery::from_wire`]).
#![forbid(unsafe_code)]

mod candidates;
mod classify;
mod command;
pub mod container;
mod describe;
mod engine;
mod judge;
mod model;
mod names;
mod namespace;
mod pattern;
mod process;
mod rules;
mod scan;
mod sockets;
mod tree;
pub mod unit;
mod version;

use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

pub use classify::{Evidence, worth_a_look};
pub use container::Container;
pub use engine::{ENGINES, Engine};
pub use pattern::matches as matches_pattern;
pub use process::{Process, Stat, parse_stat};
pub use rules::{Include, NameRule, Rules};
pub use scan::Turn;
pub use sockets::open_sockets;

/// The engine's name where none was recognised.
pub const UNKNOWN_ENGINE: &str = "unknown";

/// A service: an inference server's root process and what is known about it now. Ports, model and children can come
/// later than the process: see [`Discovery::refresh`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Unique among living services; stays with the process.
    pub service: String,
    /// The same before it was made unique, from the rules, the unit or the engine and model: replicas share it.
    pub wanted: String,
    /// `gen_ai.provider.name`, or [`UNKNOWN_ENGINE`].
    pub engine: &'static str,
    pub evidence: Evidence,
    pub version: Option<String>,
    pub model: Option<String>,
    /// TCP ports that the service's processes listen on; the one that serves HTTP first, as far as can be told.
    pub ports: Vec<u16>,
    /// Paths of unix sockets that they listen on; `@` begins an abstract one.
    pub unix_sockets: Vec<String>,
    /// The root process.
    pub process: Process,
    /// Its descendants, ascending.
    pub children: Vec<u32>,
    /// The dialect by which it was found, if it was found on the wire.
    pub dialect: Option<String>,
}

/// Finds services and names them. One value lives as long as the agent: it remembers the names.
#[derive(Debug)]
pub struct Discovery {
    proc_root: PathBuf,
    rules: Rules,
    /// The processes that the operator gave by id, with the start of each: the id's next owner is another process.
    given: FxHashMap<u32, u64>,
    names: names::Names,
    looked: candidates::Looked,
    sockets: sockets::Sockets,
}

/// Why a process cannot be watched.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DiscoverError {
    #[error("no process {0}: it has ended or is a kernel thread; `inferscope ps` lists the servers that run now")]
    NotThere(u32),
    #[error("{pid} is a thread of process {tgid}: give {tgid}, all of whose threads are watched")]
    Thread { pid: u32, tgid: u32 },
}

/// The process that the operator named by its id. One thread's id names no process: nothing would ever happen to it.
fn named(proc_root: &Path, pid: u32) -> Result<Process, DiscoverError> {
    let process = Process::read(proc_root, pid).ok_or(DiscoverError::NotThere(pid))?;
    match process::tgid(proc_root, pid) {
        Some(tgid) if tgid != pid => Err(DiscoverError::Thread { pid, tgid }),
        _ => Ok(process),
    }
}

/// Whether all of these are processes of this host that can be watched. Errors: the first that is not.
pub fn check_given(pids: &[u32]) -> Result<(), DiscoverError> {
    pids.iter().try_for_each(|pid| named(Path::new("/proc"), *pid).map(drop))
}

pub use tree::workers;

/// Whether a process of a service is a Python interpreter. One that is a library of another program is not seen.
pub fn runs_python(found: &Found) -> bool {
    let name = |exe: &Path| exe.file_name().is_some_and(|name| command::is_python(&name.to_string_lossy()));
    let child = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| name(&exe));
    found.process.exe.as_deref().is_some_and(name) || found.children.iter().any(child)
}

/// All descendants of a process of this host, ascending.
pub fn descendants(pid: u32) -> Vec<u32> {
    tree::Tree::read(Path::new("/proc")).descendants(pid)
}

impl Discovery {
    /// Looks at this host's /proc.
    pub fn new(rules: Rules) -> Self {
        Self::with_proc_root(rules, PathBuf::from("/proc"))
    }

    /// Looks at another proc tree, such as the host's mounted into a container.
    pub fn with_proc_root(rules: Rules, proc_root: PathBuf) -> Self {
        let mut discovery = Discovery {
            proc_root,
            rules,
            given: FxHashMap::default(),
            names: names::Names::default(),
            looked: candidates::Looked::default(),
            sockets: sockets::Sockets::default(),
        };
        discovery.meet_given();
        discovery
    }

    /// From now on, or again from now on after something was missed, the kernel tells of every socket that begins to
    /// listen. Until it is told so, the tables of listening sockets are read time and again.
    pub fn is_told_of_listeners(&mut self) {
        self.sockets.told_from(std::time::Instant::now());
    }

    /// The kernel told of one, in the network namespace of this inode; PORT is 0 where it is not known. False if that
    /// says too little to know where.
    pub fn begins_to_listen(&mut self, network: u32, socket: u64, port: u16) -> bool {
        self.sockets.begins(network, socket, port)
    }

    /// Replaces the rules; names given before stay, and so do the processes that ids given before stand for. Under
    /// other rules every process is looked at anew. True if they are others.
    pub fn set_rules(&mut self, rules: Rules) -> bool {
        let changed = self.rules != rules;
        self.rules = rules;
        self.meet_given();
        if changed {
            self.looked = candidates::Looked::default();
        }
        changed
    }

    /// Learns which processes the given ids stand for. One that was met keeps its id for as long as the id is given.
    fn meet_given(&mut self) {
        let Self { proc_root, rules, given, .. } = self;
        given.retain(|pid, _| rules.include.pids.contains(pid));
        for pid in &rules.include.pids {
            if !given.contains_key(pid)
                && let Some(stat) = process::stat(proc_root, *pid)
            {
                given.insert(*pid, stat.start_ticks);
            }
        }
    }

    /// Whether the operator gave this process by its id.
    fn is_given(&self, pid: u32) -> bool {
        let same = |start: &u64| process::stat(&self.proc_root, pid).is_some_and(|stat| stat.start_ticks == *start);
        self.given.get(&pid).is_some_and(same)
    }
}
