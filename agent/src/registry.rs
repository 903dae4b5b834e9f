//! The services that the pipeline watches: which process belongs to which, from first sight to the last exit. Owned by
//! the pipeline; what others may see is published as a [`ServiceTable`](crate::services::ServiceTable).
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use crate::{
    discover::{Container, Found},
    identity::{Home, Identities},
    services::{Belongs, Homes, ProcessView, ServiceView, free_name},
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
    /// Services whose series still stay.
    ended: Vec<Ended>,
    /// Names that were given to a service of another pod while their series still stayed.
    replaced: Vec<String>,
    /// What was last at an index, for exchanges that end with it.
    last: HashMap<u32, Last>,
    /// Processes that were left by their service's root, until they are asked for.
    orphans: Vec<u32>,
    /// Processes that were gone when that was asked the last time.
    gone: Vec<u32>,
    dirty: bool,
    identities: Option<Identities>,
}

#[derive(Debug)]
struct Ended {
    service: String,
    belongs: Belongs,
    since_ns: u64,
}

#[derive(Debug)]
struct Last {
    service: String,
    engine: &'static str,
    container: Option<Container>,
}

/// `comm` of a process; empty if it is gone.
pub fn comm(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).map(|text| text.trim_end().to_owned()).unwrap_or_default()
}

fn belongs(found: &Found) -> Belongs {
    let group = Some(found.wanted.clone()).filter(|wanted| *wanted != found.service);
    Belongs { container: found.process.container.clone(), group }
}

impl Ended {
    fn new(found: &Found, since_ns: u64) -> Self {
        Self { service: found.service.clone(), belongs: belongs(found), since_ns }
    }
}

impl Registry {
    /// `services`: how many there can be at a time; `identities`: who their containers are.
    pub fn new(services: u32, identities: Option<Identities>) -> Self {
        Self { entries: (0..services).map(|_| None).collect(), identities, ..Self::default() }
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
            None => self.last.get(&index).map(|last| (last.service.as_str(), last.engine)),
        }
    }

    /// The container of a service's root process, also of one that has just ended.
    pub fn home(&self, index: u32) -> Home {
        let container = match self.entry(index) {
            Some(entry) => entry.found.process.container.as_ref(),
            None => self.last.get(&index).and_then(|last| last.container.as_ref()),
        };
        Home::of(container, self.identities.as_ref())
    }

    /// A new service; None if there is no room. A service can outlive its root, with which discovery frees its name.
    pub fn add(&mut self, mut found: Found) -> Option<u32> {
        // Index 0 is that of the candidates.
        let index = 1 + self.entries.iter().skip(1).position(Option::is_none)?;
        let named = self.entries.iter().flatten().map(|entry| &entry.found.service);
        found.service = free_name(found.service, |name| named.clone().any(|taken| taken == name));
        let pod = |container: Option<&Container>| container.and_then(|container| container.pod_uid.clone());
        let own_pod = pod(found.process.container.as_ref());
        // The series of a name go on when it is used again, but not as those of another pod.
        let others = |ended: &Ended| ended.service == found.service && pod(ended.belongs.container.as_ref()) != own_pod;
        self.replaced.extend(self.ended.iter().filter(|ended| others(ended)).map(|ended| ended.service.clone()));
        self.ended.retain(|ended| ended.service != found.service);
        self.entries[index] = Some(Entry { found, processes: BTreeMap::new() });
        self.dirty = true;
        Some(index as u32)
    }

    /// Index of the service that a found root belongs to, be it as its root or as another process of it.
    pub fn place_of(&self, root: u32) -> Option<u32> {
        self.service_of(root).or_else(|| self.rooted_at(root))
    }

    /// Index of the service with this root, whether or not the root could be watched.
    pub fn rooted_at(&self, root: u32) -> Option<u32> {
        let is_root = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.found.process.pid == root);
        self.entries.iter().position(is_root).map(|index| index as u32)
    }

    /// What discovery learned of a known service. What it tells of a child is the service's own only when the root has
    /// ended.
    pub fn update(&mut self, index: u32, found: Found) {
        let Some(Some(entry)) = self.entries.get_mut(index as usize) else { return };
        let root = &entry.found.process;
        if root.pid != found.process.pid && root.is_alive(Path::new("/proc")) {
            return;
        }
        // The service's name stays with its series.
        let (service, wanted) = (std::mem::take(&mut entry.found.service), std::mem::take(&mut entry.found.wanted));
        entry.found = Found { service, wanted, ..found };
        self.dirty = true;
    }

    /// Takes a service out again of which no process could be watched; true if it was so.
    pub fn withdraw_empty(&mut self, index: u32, now_ns: u64) -> bool {
        let Some(slot) = self.entries.get_mut(index as usize) else { return false };
        let withdrawn = slot.take_if(|entry| entry.processes.is_empty());
        // It may have ended before under the same name: those series still go.
        self.ended.extend(withdrawn.as_ref().map(|entry| Ended::new(&entry.found, now_ns)));
        self.dirty |= withdrawn.is_some();
        withdrawn.is_some()
    }

    /// Pids of a service's processes, ascending.
    pub fn processes(&self, index: u32) -> Vec<u32> {
        self.entry(index).map(|entry| entry.processes.keys().copied().collect()).unwrap_or_default()
    }

    /// A service is not wanted any more: its place is free, its series stay for as long as those of an ended one.
    pub fn let_go(&mut self, index: u32, now_ns: u64) {
        let Some(entry) = self.entries.get_mut(index as usize).and_then(Option::take) else { return };
        tracing::info!(service = entry.found.service, "no rule wants it any more: not watched from here on");
        entry.processes.keys().for_each(|pid| _ = self.by_pid.remove(pid));
        self.over(index, entry, now_ns);
    }

    fn over(&mut self, index: u32, entry: Entry, now_ns: u64) {
        self.dirty = true;
        self.ended.push(Ended::new(&entry.found, now_ns));
        let Found { service, engine, process, .. } = entry.found;
        self.last.insert(index, Last { service, engine, container: process.container });
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
        if entry.found.process.pid == pid {
            self.orphans.extend(entry.processes.keys());
        }
        if entry.processes.is_empty()
            && let Some(entry) = slot.take()
        {
            tracing::info!(service = entry.found.service, "service ended");
            self.over(index, entry, now_ns);
        }
    }

    /// Processes whose service lost its root since the last call: one of them may be a root itself.
    pub fn take_orphans(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.orphans)
    }

    /// Descendants of a process that are in no service yet.
    pub fn late_children(&self, root: u32) -> Vec<u32> {
        crate::discover::descendants(root).into_iter().filter(|pid| !self.by_pid.contains_key(pid)).collect()
    }

    /// Pids that are gone without an exit event (it was lost): now, and when this was asked the last time. Until then the
    /// event may have been on its way, and what the process did before it.
    pub fn vanished(&mut self) -> Vec<u32> {
        let gone = |pid: &&u32| !Path::new(&format!("/proc/{pid}")).exists();
        let gone: Vec<u32> = self.by_pid.keys().filter(gone).copied().collect();
        let before = std::mem::replace(&mut self.gone, gone.clone());
        gone.into_iter().filter(|pid| before.contains(pid)).collect()
    }

    /// Names of ended services whose series are due to go.
    pub fn take_expired(&mut self, now_ns: u64) -> Vec<String> {
        let is_due = |ended: &Ended| now_ns.saturating_sub(ended.since_ns) > KEEP_ENDED_NS;
        let (due, kept) = self.ended.drain(..).partition::<Vec<_>, _>(is_due);
        self.ended = kept;
        self.dirty |= !due.is_empty();
        due.into_iter().map(|ended| ended.service).collect()
    }

    /// Names whose series are another pod's, since the last call: those that there are must go before new ones come.
    pub fn take_replaced(&mut self) -> Vec<String> {
        std::mem::take(&mut self.replaced)
    }

    /// Where the services are whose series there are.
    pub fn homes(&self) -> Homes {
        let ended = self.ended.iter().map(|ended| (ended.service.clone(), ended.belongs.clone()));
        let living = self.entries.iter().flatten().map(|entry| (entry.found.service.clone(), belongs(&entry.found)));
        // A name that is used again is the living one's.
        let mut homes: Homes = ended.chain(living).collect();
        homes.retain(|_, belongs| *belongs != Belongs::default());
        homes
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

#[cfg(test)]
mod tests;
