//! Whether a process belongs to a service: by the rules, else by the engine that it runs. Costs one read and one link
//! for a process that is none.

use std::path::{Path, PathBuf};

use super::classify::{Evidence, by_library, classify, hints_at_library};
use super::command::Command;
use super::engine::Engine;
use super::process;
use super::sockets::{Listener, Sockets};
use super::tree;
use super::{Discovery, Found};

/// Why a process belongs to a service; no engine if only the rules say so.
pub(super) type Verdict = (Option<&'static Engine>, Evidence);

/// The first look at a process: one read and one link.
pub(super) struct Look<'a> {
    proc_root: &'a Path,
    pid: u32,
    argv: Vec<String>,
    exe: Option<PathBuf>,
}

impl<'a> Look<'a> {
    /// `None` for processes without a command line: kernel threads, zombies, and those that have ended.
    pub(super) fn at(proc_root: &'a Path, pid: u32) -> Option<Self> {
        let argv = process::argv(proc_root, pid)?;
        let exe = process::exe(proc_root, pid).map(|(exe, _)| exe);
        Some(Look { proc_root, pid, argv, exe })
    }

    pub(super) fn command(&self) -> Command<'_> {
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
        let listeners = sockets.tcp_of(self.proc_root, self.pid);
        let listens = listeners.iter().any(|listener| matches!(listener, Listener::Tcp(_)));
        listens.then_some((engine, Evidence::Library))
    }
}

impl Discovery {
    /// The topmost process, from `pid` upwards, that belongs to a service.
    pub(super) fn root_of(&self, pid: u32, sockets: &mut Sockets) -> Option<(u32, Verdict)> {
        let upwards = std::iter::once(pid).chain(tree::ancestors(&self.proc_root, pid));
        upwards.filter_map(|pid| Some((pid, self.judge(pid, sockets)?))).last()
    }

    /// The topmost parent with the same executable and the same listening port: the master of a pre-forked server.
    pub(super) fn listening_root(&self, pid: u32, port: u16, sockets: &mut Sockets) -> u32 {
        let exe = process::exe(&self.proc_root, pid);
        let ancestors = tree::ancestors(&self.proc_root, pid);
        let same = |above: &u32| exe.is_some() && process::exe(&self.proc_root, *above) == exe;
        let listens = |above: &u32| sockets.tcp_of(&self.proc_root, *above).contains(&Listener::Tcp(port));
        ancestors.into_iter().take_while(same).filter(listens).last().unwrap_or(pid)
    }

    pub(super) fn is_excluded(&self, pid: u32) -> bool {
        let Some(look) = Look::at(&self.proc_root, pid) else { return false };
        self.rules.excludes(&look.command(), look.exe())
    }

    /// Whether a process belongs to a service, by the rules or by the engine that it runs.
    pub(super) fn judge(&self, pid: u32, sockets: &mut Sockets) -> Option<Verdict> {
        if pid == std::process::id() {
            return None;
        }
        let look = Look::at(&self.proc_root, pid)?;
        let command = look.command();
        let given = self.is_given(pid);
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

    /// Whether the rules as they are now want a service that was found under others. How it was recognised need not show
    /// any more: a title hides the arguments.
    pub fn is_wanted(&self, found: &Found) -> bool {
        let pid = found.process.pid;
        if self.judge(pid, &mut Sockets::default()).is_some() {
            return true;
        }
        let rules = &self.rules;
        let kind = match found.evidence {
            Evidence::Given => false,
            Evidence::Wire => rules.enabled && rules.wire,
            Evidence::Program | Evidence::Module | Evidence::Title | Evidence::Library => rules.enabled,
        };
        kind && !self.is_excluded(pid)
    }

    fn listens_on_included(&self, pid: u32, sockets: &mut Sockets) -> bool {
        let ports = &self.rules.include.ports;
        let is_included = |listener: &Listener| matches!(listener, Listener::Tcp(port) if ports.contains(port));
        !ports.is_empty() && sockets.tcp_of(&self.proc_root, pid).iter().any(is_included)
    }

    /// The engine that a process runs, by its command line, else by its libraries.
    pub(super) fn recognise(&self, pid: u32, sockets: &mut Sockets) -> Option<(&'static Engine, Evidence)> {
        let look = Look::at(&self.proc_root, pid)?;
        look.engine(&look.command(), sockets)
    }
}
