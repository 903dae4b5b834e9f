//! What is read about a service's root: children, listeners, model, version, name. Nothing here decides whether a
//! process is one.

use super::classify::classify;
use super::command::Command;
use super::engine::Engine;
use super::judge::{Look, Verdict};
use super::process::Process;
use super::rules::Subject;
use super::sockets::{Listener, Sockets};
use super::tree::Tree;
use super::{Discovery, Found, UNKNOWN_ENGINE, model, version};

impl Discovery {
    pub(super) fn describe(&mut self, verdict: Verdict, process: Process, tree: &Tree, sockets: &mut Sockets) -> Found {
        let version = verdict.0.and_then(|engine| version::version(&self.proc_root, &process, engine));
        Found { version, ..self.describe_without_version(verdict, process, tree, sockets) }
    }

    /// All but the version, which never changes and is the dearest to find.
    pub(super) fn describe_without_version(
        &mut self,
        verdict: Verdict,
        process: Process,
        tree: &Tree,
        sockets: &mut Sockets,
    ) -> Found {
        let (engine, evidence) = verdict;
        let children = tree.descendants(process.pid);
        let (mut ports, unix_sockets) = self.listeners(process.pid, &children, sockets);
        let told = engine.and_then(|engine| self.told_port(engine, &process));
        let default = engine.map(|engine| engine.default_port);
        // Before it listens, and where it was not told otherwise, a server is expected on its engine's own port.
        let main = told.or(default.filter(|port| ports.is_empty() || ports.contains(port)));
        let mut expected = ports.clone();
        if let Some(port) = main {
            put_first(&mut expected, port);
            if ports.contains(&port) {
                put_first(&mut ports, port);
            }
        }
        let own_model = engine.and_then(|engine| self.own_model(engine, &process));
        let model = own_model.clone().or_else(|| engine.and_then(|_| self.childs_model(&children)));
        let engine_name = engine.map_or(UNKNOWN_ENGINE, |engine| engine.name);
        let exe = process.exe.as_ref().and_then(|exe| exe.to_str()).unwrap_or_default();
        let subject = Subject {
            engine: engine_name,
            model: model.as_deref(),
            own_model: own_model.as_deref(),
            exe,
            ports: &expected,
        };
        let name = self.names.of(&process, &self.rules.service, &subject);
        Found {
            service: name.unique,
            wanted: name.wanted,
            engine: engine_name,
            evidence,
            version: None,
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

    fn own_model(&self, engine: &Engine, process: &Process) -> Option<String> {
        let command = Command::read(process.exe.as_deref(), &process.argv, || None);
        self.model_of(process.pid, engine, &command)
    }

    /// The first model that a child names, where the root names none: Ollama's runners, TGI's router.
    fn childs_model(&self, children: &[u32]) -> Option<String> {
        children.iter().find_map(|&child| {
            let look = Look::at(&self.proc_root, child)?;
            let command = look.command();
            let (engine, _) = classify(&command)?;
            self.model_of(child, engine, &command)
        })
    }

    fn model_of(&self, pid: u32, engine: &Engine, command: &Command<'_>) -> Option<String> {
        model::model(engine, command).or_else(|| model::ollama_model(&self.proc_root, pid, engine, command))
    }
}

pub(super) fn put_first(ports: &mut Vec<u16>, port: u16) {
    ports.retain(|other| *other != port);
    ports.insert(0, port);
}
