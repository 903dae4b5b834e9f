//! The services that the pipeline watches: which process belongs to which, from first sight to the last exit. Owned by
//! the pipeline; what others may see is published as a [`ServiceTable`](crate::services::ServiceTable).
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    discover::Found,
    services::{ProcessView, ServiceView, free_name},
};

/// How long the series of a service stay after its last process ended.
const KEEP_ENDED_NS: u64 = 5 * 60 * 1_000_000_000;

/// A service with its processes and the `comm` of each, by pid.
#[derive(Debug)]
pub struct Entry {
    pub found: Found,
    pub processes: BTreeMap<u32, String>,
}

/// Services by index, processes by pid.
#[derive(Debug, Default)]
pub struct Registry {
    /// Position is the kernel side's service index.
    entries: Vec<Option<Entry>>,
    by_pid: HashMap<u32, u32>,
    /// Names of ended services and when their series go.
    ended: Vec<(String, u64)>,
    /// Names and engines of ended services, for exchanges that end with them.
    last: HashMap<u32, (String, &'static str)>,
    dirty: bool,
}

/// `comm` of a process; empty if it is gone.
pub fn comm(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).map(|text| text.trim_end().to_owned()).unwrap_or_default()
}

impl Registry {
    /// `services`: how many there can be at a time.
    pub fn new(services: u32) -> Self {
        Self { entries: (0..services).map(|_| None).collect(), ..Self::default() }
    }

    /// Index of the service that a process belongs to.
    pub fn service_of(&self, pid: u32) -> Option<u32> {
        self.by_pid.get(&pid).copied()
    }

    /// The service at an index, while it runs.
    pub fn entry(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)?.as_ref()
    }

    /// Name and engine of a service, also of one that has just ended.
    pub fn name(&self, index: u32) -> Option<(&str, &'static str)> {
        match self.entry(index) {
            Some(entry) => Some((&entry.found.service, entry.found.engine)),
            None => self.last.get(&index).map(|(name, engine)| (name.as_str(), *engine)),
        }
    }

    /// A new service; None if there is no room. A service can outlive its root, with which discovery frees its name.
    pub fn add(&mut self, mut found: Found) -> Option<u32> {
        // Index 0 is that of the candidates.
        let index = 1 + self.entries.iter().skip(1).position(Option::is_none)?;
        let named = self.entries.iter().flatten().map(|entry| &entry.found.service);
        found.service = free_name(found.service, |name| named.clone().any(|taken| taken == name));
        self.ended.retain(|(name, _)| *name != found.service);
        self.entries[index] = Some(Entry { found, processes: BTreeMap::new() });
        self.dirty = true;
        Some(index as u32)
    }

    /// What discovery learned of a known service.
    pub fn update(&mut self, found: Found) {
        let Some(index) = self.service_of(found.process.pid) else { return };
        let Some(Some(entry)) = self.entries.get_mut(index as usize) else { return };
        // The service's name stays with its series.
        let service = std::mem::take(&mut entry.found.service);
        entry.found = Found { service, ..found };
        self.dirty = true;
    }

    /// A process of the service at `index`; of an index without a service it is not taken.
    pub fn add_process(&mut self, index: u32, pid: u32) {
        let Some(Some(entry)) = self.entries.get_mut(index as usize) else { return };
        entry.processes.insert(pid, comm(pid));
        self.by_pid.insert(pid, index);
        self.dirty = true;
    }

    /// A process ran another program.
    pub fn renamed(&mut self, pid: u32) {
        let Some(index) = self.service_of(pid) else { return };
        if let Some(Some(entry)) = self.entries.get_mut(index as usize) {
            entry.processes.insert(pid, comm(pid));
            self.dirty = true;
        }
    }

    /// A process ended; the service with it if it was the last.
    pub fn remove_process(&mut self, pid: u32, now_ns: u64) {
        let Some(index) = self.by_pid.remove(&pid) else { return };
        let Some(slot) = self.entries.get_mut(index as usize) else { return };
        let Some(entry) = slot else { return };
        entry.processes.remove(&pid);
        self.dirty = true;
        if entry.processes.is_empty()
            && let Some(entry) = slot.take()
        {
            tracing::info!(service = entry.found.service, "service ended");
            self.last.insert(index, (entry.found.service.clone(), entry.found.engine));
            self.ended.push((entry.found.service, now_ns));
        }
    }

    /// Descendants of a process that are in no service yet.
    pub fn late_children(&self, root: u32) -> Vec<u32> {
        crate::discover::descendants(root).into_iter().filter(|pid| !self.by_pid.contains_key(pid)).collect()
    }

    /// Pids that are gone without an exit event (it was lost).
    pub fn vanished(&self) -> Vec<u32> {
        let gone = |pid: &&u32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
        self.by_pid.keys().filter(gone).copied().collect()
    }

    /// Names of ended services whose series are due to go.
    pub fn take_expired(&mut self, now_ns: u64) -> Vec<String> {
        let (due, kept) =
            self.ended.drain(..).partition::<Vec<_>, _>(|(_, since)| now_ns.saturating_sub(*since) > KEEP_ENDED_NS);
        self.ended = kept;
        due.into_iter().map(|(name, _)| name).collect()
    }

    /// The table to publish, if anything changed since the last call.
    pub fn take_table(&mut self) -> Option<Vec<Arc<ServiceView>>> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let view = |(index, entry): (usize, &Option<Entry>)| {
            let entry = entry.as_ref()?;
            Some(Arc::new(ServiceView {
                index: index as u32,
                name: entry.found.service.clone(),
                engine: entry.found.engine.to_owned(),
                version: entry.found.version.clone(),
                model: entry.found.model.clone(),
                ports: entry.found.ports.clone(),
                pid: entry.found.process.pid,
                container: entry.found.process.container.clone(),
                processes: entry
                    .processes
                    .iter()
                    .map(|(pid, comm)| ProcessView { pid: *pid, comm: comm.clone() })
                    .collect(),
            }))
        };
        Some(self.entries.iter().enumerate().filter_map(view).collect())
    }
}
