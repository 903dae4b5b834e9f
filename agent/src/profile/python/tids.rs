//! Thread ids of this host for what an interpreter knows its threads by: ids of its own namespace (3.11 and later), or
//! the addresses that pthreads has for them.

use rustc_hash::FxHashMap;

use crate::probe::memory;

/// Where glibc keeps a thread's id in its descriptor (x86-64), and the part that is searched where it is not there.
const USUAL: usize = 720;
const SEARCHED: usize = 2048;

/// Of one process.
pub struct Tids {
    pid: u32,
    /// Host's id by the namespace's, where they differ.
    by_native: Option<FxHashMap<u32, u32>>,
    by_pthread: FxHashMap<u64, u32>,
    /// Where pthreads keeps the id.
    offset: Option<usize>,
}

/// The innermost id in /proc/PID/status.
fn namespaced(path: &str) -> Option<(u32, bool)> {
    let text = std::fs::read_to_string(path).ok()?;
    let ids = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let mut ids = ids.split_ascii_whitespace().filter_map(|id| id.parse().ok());
    let first = ids.next()?;
    Some(ids.next_back().map_or((first, false), |last| (last, true)))
}

fn by_native(pid: u32) -> FxHashMap<u32, u32> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return FxHashMap::default() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|tid| Some((namespaced(&format!("/proc/{pid}/task/{tid}/status"))?.0, tid))).collect()
}

impl Tids {
    /// Looks whether the process has ids of its own.
    pub fn new(pid: u32) -> Self {
        let own = namespaced(&format!("/proc/{pid}/status")).is_some_and(|(_, own)| own);
        Self { pid, by_native: own.then(|| by_native(pid)), by_pthread: FxHashMap::default(), offset: None }
    }

    /// For pthreads' ids: `main` is that of the first thread, whose id is known.
    pub fn begin(&mut self, pthreads: bool, main: impl Fn() -> u64) {
        if !pthreads || self.offset.is_some() {
            return;
        }
        let Some((id, _)) = namespaced(&format!("/proc/{}/status", self.pid)) else { return };
        let mut bytes = Vec::new();
        if memory::read(self.pid, &[(main(), SEARCHED)], &mut bytes).is_ok() {
            let is = |at: usize| bytes.get(at..at + 4) == Some(&id.to_le_bytes());
            self.offset = is(USUAL).then_some(USUAL).or_else(|| (256..SEARCHED).step_by(4).find(|at| is(*at)));
        }
    }

    /// By the kernel's id in the process' namespace.
    pub fn of_native(&mut self, native: u32) -> Option<u32> {
        let Some(known) = &mut self.by_native else { return Some(native) };
        if !known.contains_key(&native) {
            *known = by_native(self.pid);
        }
        known.get(&native).copied()
    }

    /// By pthreads' address.
    pub fn of_pthread(&mut self, pthread: u64) -> Option<u32> {
        if let Some(tid) = self.by_pthread.get(&pthread) {
            return Some(*tid);
        }
        let mut bytes = Vec::new();
        memory::read(self.pid, &[(pthread + self.offset? as u64, 4)], &mut bytes).ok()?;
        let native = u32::from_le_bytes(bytes.try_into().ok()?);
        let tid = self.of_native(native)?;
        if self.by_pthread.len() > 4096 {
            self.by_pthread.clear();
        }
        self.by_pthread.insert(pthread, tid);
        Some(tid)
    }
}
