//! What the watched servers write to their logs: from the ring to counts and records.

use std::sync::Arc;

use inferscope_abi::ExitEvent;

use crate::{
    config,
    decode::LogWrite,
    events::Journal,
    probe::Watcher,
    registry::Registry,
    serverlog::{
        Figures, Message, ServerLogs,
        tell::{Flying, Teller, Writer},
    },
    session::Sessions,
};

/// The stage with its state.
pub struct Logs {
    pub counts: ServerLogs,
    pub teller: Teller,
}

impl Logs {
    /// Nothing heard yet; records go to `journal`.
    pub fn new(journal: &Arc<Journal>, settings: config::Logs) -> Self {
        Self { counts: ServerLogs::default(), teller: Teller::new(Arc::clone(journal), settings) }
    }

    /// Drops what is kept of a service that has ended.
    pub fn forget(&mut self, service: &str) {
        self.counts.forget(service);
        self.teller.forget(service);
    }

    /// For scrapes.
    pub fn figures(&self) -> Figures {
        Figures { records_left_out: self.teller.left_out, ..self.counts.figures() }
    }
}

fn flying(sessions: &Sessions, service: u32) -> Vec<Flying<'_>> {
    sessions.flying(service).map(|(start_ns, request_id)| Flying { start_ns, request_id }).collect()
}

/// The name of a process of a service.
fn comm(registry: &Registry, service: u32, pid: u32) -> &str {
    registry.entry(service).and_then(|entry| entry.processes.get(&pid)).map_or("", String::as_str)
}

/// A process of a service wrote to a log, or to what may be one.
pub fn written(
    logs: &mut Option<Logs>,
    registry: &Registry,
    sessions: &Sessions,
    watcher: &mut Watcher,
    write: &LogWrite<'_>,
) {
    let Some(Logs { counts, teller }) = logs else { return };
    let head = &write.head;
    let Some((service, _)) = registry.name(head.service) else { return };
    let writer = Writer::of(head, service, comm(registry, head.service, head.header.tgid));
    // A message of another service is one that gave way to this one.
    let mut told = |of: &str, message: Message<'_>| {
        teller.message(&Writer { service: of, ..writer }, message, || flying(sessions, head.service));
    };
    counts.write(write, service, |file, is_log| watcher.mark_file(file, is_log), &mut told);
}

/// A process ended: what it wrote last and did not end is told of.
pub fn ended(logs: &mut Option<Logs>, registry: &Registry, sessions: &Sessions, exit: &ExitEvent) {
    let Some(Logs { counts, teller }) = logs else { return };
    let (pid, at_ns) = (exit.header.tgid, exit.header.at_ns);
    let comm = comm(registry, exit.service, pid);
    counts.process_exit(pid, |service, fd, message| {
        let writer = Writer { service, pid, comm, fd: Some(fd), at_ns };
        teller.message(&writer, message, || flying(sessions, exit.service));
    });
}
