//! From processes to services: the scan of all processes, the look at a new one, and the refresh of those found.
//! Every process costs one read and one link (`judge.rs`); only roots are read deeper (`describe.rs`).

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::classify::{Evidence, worth_a_look};
use super::command::base_name;
use super::describe::put_first;
use super::judge::Verdict;
use super::process::{self, Process};
use super::sockets::Sockets;
use super::tree::{self, Tree};
use super::{DiscoverError, Discovery, Found, UNKNOWN_ENGINE, named, pattern, version};

/// What a look at the whole host shows that was not known.
#[derive(Debug, Default)]
pub struct Turn {
    /// Services, oldest first.
    pub found: Vec<Found>,
    /// Processes that listen and are not recognised; see [`Discovery::candidates`].
    pub candidates: Vec<u32>,
}

impl Discovery {
    /// All services of the host, oldest first. Costs about 20 us per process of the host.
    pub fn scan(&mut self) -> Vec<Found> {
        self.with_sockets(false, |discovery, sockets| discovery.scan_with(&[], sockets))
    }

    /// Refreshes what is known and takes out what has ended, then looks for more, and for candidates if `wire`. A table of
    /// listening sockets is read once for all of it at most, and not each time where there are many.
    pub fn turn(&mut self, known: &mut Vec<Found>, wire: bool) -> Turn {
        self.with_sockets(true, |discovery, sockets| {
            discovery.refresh_all(known, |_| true, sockets);
            let found = discovery.scan_with(known, sockets);
            let candidates = if wire { discovery.candidates_with(sockets) } else { Vec::new() };
            Turn { found, candidates }
        })
    }

    /// Refreshes those of what is known that are of these roots, and takes out which of them have ended.
    pub fn refresh_roots(&mut self, known: &mut Vec<Found>, roots: &BTreeSet<u32>) {
        let is_meant = |found: &Found| roots.contains(&found.process.pid);
        self.with_sockets(true, |discovery, sockets| discovery.refresh_all(known, is_meant, sockets));
    }

    fn refresh_all(&mut self, known: &mut Vec<Found>, is_meant: impl Fn(&Found) -> bool, sockets: &mut Sockets) {
        if !known.iter().any(&is_meant) {
            return;
        }
        let tree = Tree::read(&self.proc_root);
        known.retain_mut(|found| {
            // A server that is not known to listen yet may do so now.
            sockets.be_patient(!found.ports.is_empty());
            !is_meant(found) || self.refresh_with(found, &tree, sockets)
        });
        sockets.be_patient(true);
    }

    /// The root among `roots` that a process is, or descends from.
    pub fn root_among(&self, pid: u32, roots: impl Fn(u32) -> bool) -> Option<u32> {
        std::iter::once(pid).chain(tree::ancestors(&self.proc_root, pid)).find(|pid| roots(*pid))
    }

    /// A look with the tables that are kept; see [`Sockets::begin`].
    pub(super) fn with_sockets<T>(&mut self, patient: bool, look: impl FnOnce(&mut Self, &mut Sockets) -> T) -> T {
        let mut sockets = std::mem::take(&mut self.sockets);
        sockets.begin(patient);
        let seen = look(self, &mut sockets);
        self.sockets = sockets;
        seen
    }

    /// Services that are not among those `known`.
    fn scan_with(&mut self, known: &[Found], sockets: &mut Sockets) -> Vec<Found> {
        self.names.prune(&self.proc_root);
        let mut verdicts: FxHashMap<u32, Verdict> = FxHashMap::default();
        for pid in process::pids(&self.proc_root) {
            if let Some(verdict) = self.judge(pid, sockets) {
                verdicts.insert(pid, verdict);
            }
        }
        if verdicts.is_empty() {
            return Vec::new();
        }
        let tree = Tree::read(&self.proc_root);
        let mut roots: Vec<Process> = verdicts
            .keys()
            .filter(|pid| !tree.ancestors(**pid).iter().any(|above| verdicts.contains_key(above)))
            .filter_map(|pid| Process::read(&self.proc_root, *pid))
            .filter(|root| !known.iter().any(|known| known.process.is(root)))
            .collect();
        roots.sort_by_key(|process| (process.start_ticks, process.pid));
        roots.into_iter().map(|root| self.describe(verdicts[&root.pid], root, &tree, sockets)).collect()
    }

    /// The service that a process belongs to, found by it or by one of its parents; `None` if neither is an engine.
    /// For a new exec: titles, ports and libraries come later than that, so ask again after a second.
    pub fn inspect(&mut self, pid: u32) -> Option<Found> {
        self.names.prune(&self.proc_root);
        self.with_sockets(false, |discovery, sockets| {
            let (root, verdict) = discovery.root_of(pid, sockets)?;
            let process = Process::read(&discovery.proc_root, root)?;
            Some(discovery.describe(verdict, process, &Tree::read(&discovery.proc_root), sockets))
        })
    }

    /// The service of a process that the operator named; its engine is unknown if it is not recognised. Errors: there is
    /// no such process, or the id is that of a thread.
    pub fn given(&mut self, pid: u32) -> Result<Found, DiscoverError> {
        let process = named(&self.proc_root, pid)?;
        self.names.prune(&self.proc_root);
        let mut sockets = Sockets::default();
        let engine = self.recognise(pid, &mut sockets).map(|(engine, _)| engine);
        Ok(self.describe((engine, Evidence::Given), process, &Tree::read(&self.proc_root), &mut sockets))
    }

    /// The service of a process that speaks an LLM dialect on `port` (0: not known) and was not found otherwise.
    /// `None` if the process has ended or the rules exclude it.
    pub fn from_wire(&mut self, pid: u32, dialect: &str, port: u16) -> Option<Found> {
        self.names.prune(&self.proc_root);
        let mut sockets = Sockets::default();
        if self.is_excluded(pid) {
            return None;
        }
        let (root, verdict) = self
            .root_of(pid, &mut sockets)
            .unwrap_or_else(|| (self.listening_root(pid, port, &mut sockets), (None, Evidence::Wire)));
        let process = Process::read(&self.proc_root, root)?;
        let tree = Tree::read(&self.proc_root);
        let mut found = self.describe(verdict, process, &tree, &mut sockets);
        found.dialect = Some(dialect.to_owned());
        if port != 0 {
            put_first(&mut found.ports, port);
        }
        Some(found)
    }

    /// Reads again what changes while a server runs: children, ports, and, while unknown, engine, model and version.
    /// False if the process has ended (or its pid is another process now); `found` is then unchanged.
    pub fn refresh(&mut self, found: &mut Found) -> bool {
        self.refresh_with(found, &Tree::read(&self.proc_root), &mut Sockets::default())
    }

    fn refresh_with(&mut self, found: &mut Found, tree: &Tree, sockets: &mut Sockets) -> bool {
        let pid = found.process.pid;
        let same = |now: &Process| now.is(&found.process);
        let Some(process) = Process::read(&self.proc_root, pid).filter(same) else { return false };
        let recognised = self.recognise(pid, sockets).map(|(engine, _)| engine);
        let mut now = self.describe_without_version((recognised, found.evidence), process, tree, sockets);
        // Libraries and packages are mapped by the time that a server listens: later looks find no more.
        let early = found.ports.is_empty() || found.engine == UNKNOWN_ENGINE;
        if found.version.is_none() && early {
            now.version = recognised.and_then(|engine| version::version(&self.proc_root, &now.process, engine));
        }
        let kept = std::mem::replace(found, now);
        found.dialect = kept.dialect;
        // A title set by the process hides the arguments that named the model.
        found.model = found.model.take().or(kept.model);
        found.version = kept.version.or(found.version.take());
        if found.engine == UNKNOWN_ENGINE {
            found.engine = kept.engine;
        }
        if let Some(first) = kept.ports.first().filter(|port| found.ports.contains(port)) {
            put_first(&mut found.ports, *first);
        }
        true
    }

    /// Whether an exec of this path could be worth an [`inspect`](Self::inspect): [`worth_a_look`] and the rules.
    pub fn worth_a_look(&self, filename: &[u8]) -> bool {
        let included = || {
            let path = String::from_utf8_lossy(filename);
            let fits =
                |pattern: &String| pattern::matches(pattern, &path) || pattern::matches(pattern, base_name(&path));
            self.rules.include.exe.iter().any(fits)
        };
        (self.rules.enabled && worth_a_look(filename)) || included()
    }

    /// All descendants of a process, ascending.
    pub fn descendants(&self, pid: u32) -> Vec<u32> {
        Tree::read(&self.proc_root).descendants(pid)
    }
}
