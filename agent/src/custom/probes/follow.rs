//! Hangs probes into the files of watched processes as those appear, and takes them off as the last one goes. On a thread
//! of its own: reading a large library must hold nobody up.

use std::{
    io,
    path::Path,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{ProbeRule, Probes, attach::Attachments, from::File};
use crate::{
    discover::matches_pattern,
    elf::mapped::{self, Below, Mapped},
    services::{ServiceTable, SharedServices},
    tasks::Guard,
};

/// How soon a new process is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// A library can be loaded at any time: a process is looked at again after twice the time before, up to so long.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// What is known of a process, for one metric.
struct Seen {
    /// The files of it that the probe belongs into.
    files: Vec<Below>,
    next: Instant,
    wait: Duration,
}

/// What the thread remembers.
#[derive(Default)]
struct Memory {
    /// By rule and process.
    seen: FxHashMap<(usize, u32), Seen>,
    /// Files into which a rule's probe can't be hung; told once.
    refused: FxHashSet<(usize, Below)>,
}

/// Starts the thread; `first` is what it does before anything else. It ends when `stop` is set. Errors: no thread can be
/// had.
pub fn follow(
    probes: &Arc<Probes>,
    services: SharedServices,
    stop: Arc<AtomicBool>,
    guard: Guard,
    first: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let probes = Arc::clone(probes);
    let work = move || {
        let _guard = guard;
        first();
        let mut memory = Memory::default();
        while !stop.load(Ordering::Relaxed) {
            memory.look(&probes, &services.table(), Instant::now());
            std::thread::park_timeout(LOOK);
        }
    };
    std::thread::Builder::new().name("probes".into()).spawn(work)
}

impl Memory {
    fn look(&mut self, probes: &Probes, services: &ServiceTable, now: Instant) {
        let mut attachments = probes.attachments.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        let mut living = FxHashSet::default();
        for (index, rule) in probes.rules.iter().enumerate() {
            let Some(name) = file_name(rule) else { continue };
            let wanted = |name: &str| rule.service.as_deref().is_none_or(|pattern| matches_pattern(pattern, name));
            let pids = services.iter().filter(|service| wanted(&service.name)).flat_map(|service| &service.processes);
            for pid in pids.map(|process| process.pid) {
                living.insert((index, pid));
                if self.seen.get(&(index, pid)).is_some_and(|seen| seen.next > now) {
                    continue;
                }
                let files = mapped::files(Path::new("/proc"), pid, name);
                changed |= self.hang(probes, &mut attachments, index, &files);
                self.note((index, pid), &files, now);
            }
        }
        self.seen.retain(|key, _| living.contains(key));
        changed |= self.take_off(probes, &mut attachments);
        if changed {
            probes.publish(&attachments);
        }
    }

    /// Whether anything is otherwise than before.
    fn hang(&mut self, probes: &Probes, attachments: &mut Attachments, index: usize, files: &[Mapped]) -> bool {
        let mut changed = false;
        for file in files {
            let id = file.below;
            if attachments.has(index, id) || self.refused.contains(&(index, id)) {
                continue;
            }
            changed = true;
            let rule = &probes.rules[index];
            if let Err(failure) = attachments.file(&probes.kernel, index, rule, id, &file.path) {
                attachments.failed(index, rule, &failure);
                self.refused.insert((index, id));
            }
        }
        changed
    }

    fn note(&mut self, key: (usize, u32), files: &[Mapped], now: Instant) {
        let wait = self.seen.get(&key).map_or(FIRST, |seen| (seen.wait * 2).min(LONGEST));
        self.seen.insert(key, Seen { files: files.iter().map(|file| file.below).collect(), next: now + wait, wait });
    }

    /// Files that no process has any more, whose number another file may have next.
    fn take_off(&mut self, probes: &Probes, attachments: &mut Attachments) -> bool {
        let used: FxHashSet<(usize, Below)> =
            self.seen.iter().flat_map(|((index, _), seen)| seen.files.iter().map(|file| (*index, *file))).collect();
        self.refused.retain(|refused| used.contains(refused));
        let mut changed = false;
        for index in (0..probes.rules.len()).filter(|index| probes.rules[*index].follows()) {
            let unused: Vec<Below> = attachments.files(index).filter(|file| !used.contains(&(index, *file))).collect();
            changed |= !unused.is_empty();
            unused.into_iter().for_each(|file| attachments.off_file(index, file));
        }
        changed
    }
}

/// The name by which a rule's file is looked for among those of a process.
fn file_name(rule: &ProbeRule) -> Option<&str> {
    match rule.from.file()? {
        File::Library(name) => Some(name),
        File::Executable => Some("exe"),
        File::Path(_) => None,
    }
}
