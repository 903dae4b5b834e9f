//! From processes to services: the scan of all processes, the look at one, and what is read about each found root.
//! Every process costs one read and one link; only those that hint at an engine are read deeper.

use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::classify::{Evidence, by_library, classify, hints_at_library};
use super::command::Command;
use super::engine::Engine;
use super::process::{self, Process};
use super::rules::Subject;
use super::sockets::{Listener, Sockets};
use super::tree::{self, Tree};
use super::{DiscoverError, Discovery, Found, UNKNOWN_ENGINE, model, version};

/// Why a process belongs to a service.
type Verdict = (Option<&'static Engine>, Evidence);

/// The first look at a process: one read and one link.
struct Look<'a> {
    proc_root: &'a Path,
    pid: u32,
    argv: Vec<String>,
    exe: Option<PathBuf>,
}

impl<'a> Look<'a> {
    /// `None` for processes without a command line: kernel threads, zombies, and those that have ended.
    fn at(proc_root: &'a Path, pid: u32) -> Option<Self> {
        let argv = process::argv(proc_root, pid)?;
        let exe = process::exe(proc_root, pid).map(|(exe, _)| exe);
        Some(Look { proc_root, pid, argv, exe })
    }

    fn command(&self) -> Command<'_> {
        Command::read(self.exe.as_deref(), &self.argv, || process::cwd(self.proc_root, self.pid))
    }

    /// Empty where the kernel does not tell.
    fn exe(&self) -> &str {
        self.exe.as_deref().and_then(Path::to_str).unwrap_or_default()
    }

    fn engine(&self, command: &Command<'_>, sockets: &mut Sockets) -> Option<(&'static Engine, Evidence)> {
        if let Some(found) = classify(command) {
            return Some(found);
        }
        if !hints_at_library(&self.argv) {
            return None;
        }
        let libraries = process::mapped_files(self.proc_root, self.pid);
        let engine = by_library(libraries.iter().map(String::as_str))?;
        let listeners = sockets.of(self.proc_root, self.pid);
        let listens = listeners.iter().any(|listener| matches!(listener, Listener::Tcp(_)));
        listens.then_some((engine, Evidence::Library))
    }
}

impl Discovery {
    /// All services of the host, oldest first. Costs about 20 us per process of the host.
    pub fn scan(&mut self) -> Vec<Found> {
        self.names.prune(&self.proc_root);
        let mut sockets = Sockets::default();
        let mut verdicts: FxHashMap<u32, Verdict> = FxHashMap::default();
        for pid in process::pids(&self.proc_root) {
            if let Some(verdict) = self.judge(pid, &mut sockets) {
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
            .collect();
        roots.sort_by_key(|process| (process.start_ticks, process.pid));
        roots.into_iter().map(|root| self.describe(verdicts[&root.pid], root, &tree, &mut sockets)).collect()
    }

    /// The service that a process belongs to, found by it or by one of its parents; `None` if neither is an engine.
    /// For a new exec: titles, ports and libraries come later than that, so ask again after a second.
    pub fn inspect(&mut self, pid: u32) -> Option<Found> {
        let mut sockets = Sockets::default();
        let (root, verdict) = self.root_of(pid, &mut sockets)?;
        let process = Process::read(&self.proc_root, root)?;
        Some(self.describe(verdict, process, &Tree::read(&self.proc_root), &mut sockets))
    }

    /// The service of a process that the operator named; its engine is unknown if it is not recognised.
    pub fn given(&mut self, pid: u32) -> Result<Found, DiscoverError> {
        let process = Process::read(&self.proc_root, pid).ok_or(DiscoverError::NotThere(pid))?;
        let mut sockets = Sockets::default();
        let engine = self.recognise(pid, &mut sockets).map(|(engine, _)| engine);
        Ok(self.describe((engine, Evidence::Given), process, &Tree::read(&self.proc_root), &mut sockets))
    }

    /// The service of a process that speaks an LLM dialect on `port` (0: not known) and was not found otherwise.
    /// `None` if the process has ended or the rules exclude it.
    pub fn from_wire(&mut self, pid: u32, dialect: &str, port: u16) -> Option<Found> {
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
        let pid = found.process.pid;
        let Some(process) =
            Process::read(&self.proc_root, pid).filter(|now| now.start_ticks == found.process.start_ticks)
        else {
            return false;
        };
        let mut sockets = Sockets::default();
        let recognised = self.recognise(pid, &mut sockets).map(|(engine, _)| engine);
        let tree = Tree::read(&self.proc_root);
        let now = self.describe((recognised, found.evidence), process, &tree, &mut sockets);
        let kept = std::mem::replace(found, now);
        found.dialect = kept.dialect;
        found.model = found.model.take().or(kept.model);
        found.version = found.version.take().or(kept.version);
        if found.engine == UNKNOWN_ENGINE {
            found.engine = kept.engine;
        }
        if let Some(first) = kept.ports.first().filter(|port| found.ports.contains(port)) {
            put_first(&mut found.ports, *first);
        }
        true
    }

    /// All descendants of a process, ascending.
    pub fn descendants(&self, pid: u32) -> Vec<u32> {
        Tree::read(&self.proc_root).descendants(pid)
    }

    /// The topmost process, from `pid` upwards, that belongs to a service.
    fn root_of(&self, pid: u32, sockets: &mut Sockets) -> Option<(u32, Verdict)> {
        let upwards = std::iter::once(pid).chain(tree::ancestors(&self.proc_root, pid));
        upwards.filter_map(|pid| Some((pid, self.judge(pid, sockets)?))).last()
    }

    /// The topmost parent with the same executable and the same listening port: the master of a pre-forked server.
    fn listening_root(&self, pid: u32, port: u16, sockets: &mut Sockets) -> u32 {
        let exe = process::exe(&self.proc_root, pid);
        let ancestors = tree::ancestors(&self.proc_root, pid);
        let same = |above: &u32| exe.is_some() && process::exe(&self.proc_root, *above) == exe;
        let listens = |above: &u32| sockets.of(&self.proc_root, *above).contains(&Listener::Tcp(port));
        ancestors.into_iter().take_while(same).filter(listens).last().unwrap_or(pid)
    }

    fn is_excluded(&self, pid: u32) -> bool {
        let Some(look) = Look::at(&self.proc_root, pid) else { return false };
        self.rules.excludes(&look.command(), look.exe())
    }

    /// Whether a process belongs to a service, by the rules or by the engine that it runs.
    fn judge(&self, pid: u32, sockets: &mut Sockets) -> Option<Verdict> {
        if pid == std::process::id() {
            return None;
        }
        let look = Look::at(&self.proc_root, pid)?;
        let command = look.command();
        let given = self.rules.include.pids.contains(&pid);
        if !given && self.rules.excludes(&command, look.exe()) {
            return None;
        }
        let wanted = given || self.rules.includes(&command, look.exe());
        let recognised = if self.rules.enabled || wanted { look.engine(&command, sockets) } else { None };
        if let Some((engine, evidence)) = recognised {
            return Some((Some(engine), evidence));
        }
        (wanted || self.listens_on_included(pid, sockets)).then_some((None, Evidence::Given))
    }

    fn listens_on_included(&self, pid: u32, sockets: &mut Sockets) -> bool {
        let ports = &self.rules.include.ports;
        let is_included = |listener: &Listener| matches!(listener, Listener::Tcp(port) if ports.contains(port));
        !ports.is_empty() && sockets.of(&self.proc_root, pid).iter().any(is_included)
    }

    /// The engine that a process runs, by its command line, else by its libraries.
    fn recognise(&self, pid: u32, sockets: &mut Sockets) -> Option<(&'static Engine, Evidence)> {
        let look = Look::at(&self.proc_root, pid)?;
        look.engine(&look.command(), sockets)
    }

    fn describe(&mut self, verdict: Verdict, process: Process, tree: &Tree, sockets: &mut Sockets) -> Found {
        let (engine, evidence) = verdict;
        let children = tree.descendants(process.pid);
        let (mut ports, unix_sockets) = self.listeners(process.pid, &children, sockets);
        let told = engine.and_then(|engine| self.told_port(engine, &process));
        let default = engine.map(|engine| engine.default_port);
        if let Some(port) = told.or(default).filter(|port| ports.contains(port)) {
            put_first(&mut ports, port);
        }
        let model = engine.and_then(|engine| self.model(engine, &process, &children));
        let version = engine.and_then(|engine| version::version(&self.proc_root, &process, engine));
        let engine_name = engine.map_or(UNKNOWN_ENGINE, |engine| engine.name);
        let mut expected = ports.clone();
        if let Some(port) = told.or(default) {
            put_first(&mut expected, port);
        }
        let exe = process.exe.as_ref().and_then(|exe| exe.to_str()).unwrap_or_default();
        let subject = Subject { engine: engine_name, model: model.as_deref(), exe, ports: &expected };
        let service = self.names.of(&process, &self.rules.service, &subject);
        Found {
            service,
            engine: engine_name,
            evidence,
            version,
            model,
            ports,
            unix_sockets,
            process,
            children,
            dialect: None,
        }
    }

    /// What a service listens on: the root's sockets first, then its children's.
    fn listeners(&self, pid: u32, children: &[u32], sockets: &mut Sockets) -> (Vec<u16>, Vec<String>) {
        let (mut ports, mut paths) = (Vec::new(), Vec::new());
        for pid in std::iter::once(pid).chain(children.iter().copied()) {
            for listener in sockets.of(&self.proc_root, pid) {
                match listener {
                    Listener::Tcp(port) if !ports.contains(&port) => ports.push(port),
                    Listener::Unix(path) if !paths.contains(&path) => paths.push(path),
                    Listener::Tcp(_) | Listener::Unix(_) => {}
                }
            }
        }
        (ports, paths)
    }

    fn told_port(&self, engine: &Engine, process: &Process) -> Option<u16> {
        model::port(engine, &Command::read(process.exe.as_deref(), &process.argv, || None))
    }

    /// The root's model, else the first that a child names (TGI's launcher, Ollama's runners).
    fn model(&self, engine: &Engine, process: &Process, children: &[u32]) -> Option<String> {
        let read = |pid: u32, engine: &Engine, command: &Command<'_>| {
            model::model(engine, command).or_else(|| model::ollama_model(&self.proc_root, pid, engine, command))
        };
        let command = Command::read(process.exe.as_deref(), &process.argv, || None);
        read(process.pid, engine, &command).or_else(|| {
            children.iter().find_map(|&child| {
                let look = Look::at(&self.proc_root, child)?;
                let command = look.command();
                let (engine, _) = classify(&command)?;
                read(child, engine, &command)
            })
        })
    }
}

fn put_first(ports: &mut Vec<u16>, port: u16) {
    ports.retain(|other| *other != port);
    ports.insert(0, port);
}
