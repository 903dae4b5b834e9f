//! What is known of each watched server, and of those that have ended: says what is not as it was. Belongs to the thread
//! of changes; memory is bounded by the number of services.

use std::{
    collections::VecDeque,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

use super::{
    Tell,
    compare::{self, Difference},
    counts::Counts,
    exit::Exit,
    facts::{self, Binary, Facts, Reader},
    host::Host,
    oom::Oom,
    wire::{self, Asked},
};
use crate::{
    clock::unix_offset_ns,
    discover::Found,
    events::{Event, Journal, Severity, Topic},
    poll::cgroup::{CgroupPaths, Cgroups},
};

/// Ended servers that are remembered.
const PAST: usize = 512;
/// Changes of one service within a minute that are told one by one.
const PER_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// A server that runs.
struct Living {
    index: u32,
    service: String,
    found: Found,
    facts: Facts,
    replaced: Option<Binary>,
    group: Option<CgroupPaths>,
    settings: Vec<(&'static str, String)>,
    /// It was gone at the last look: its end is on its way, or was lost.
    missed: bool,
}

/// A server that has ended.
struct Ended {
    service: String,
    found: Found,
    facts: Facts,
    unix_ns: u64,
    /// None if it only is not watched any more.
    why: Option<Exit>,
}

/// Everything that the thread owns.
pub struct Ledger {
    reader: Reader,
    groups: Cgroups,
    oom: Arc<Oom>,
    journal: Arc<Journal>,
    counts: Arc<Counts>,
    host: Host,
    /// Clock ticks from boot to the agent's start.
    began_ticks: u64,
    /// By the root's process id.
    living: FxHashMap<u32, Living>,
    past: VecDeque<Ended>,
    /// What was told of each service within a minute.
    told: FxHashMap<String, (Instant, u32)>,
}

/// Where a ledger gets its facts and puts its findings.
pub struct Around {
    pub reader: Reader,
    pub groups: Cgroups,
    pub oom: Arc<Oom>,
    pub journal: Arc<Journal>,
    pub counts: Arc<Counts>,
    pub host: Host,
}

/// A change of now.
pub fn change(name: &'static str, severity: Severity) -> Event {
    Event::new(Topic::Change, name, severity)
}

impl Ended {
    /// Whether a server that begins is this one again: by its unit, its pod, its name or its command line.
    fn is(&self, service: &str, found: &Found, facts: &Facts) -> bool {
        let (was, is) = (&self.found.process, &found.process);
        let pod = |process: &crate::discover::Process| process.container.as_ref().and_then(|of| of.pod_uid.clone());
        let same_pod = pod(was).is_some() && pod(was) == pod(is) && was.exe == is.exe;
        let same_unit = was.systemd_unit.is_some() && was.systemd_unit == is.systemd_unit && was.exe == is.exe;
        let same_line = self.facts.argv.is_some() && self.facts.argv == facts.argv;
        self.service == service || same_unit || same_pod || same_line
    }
}

impl Ledger {
    /// An empty one.
    pub fn new(around: Around) -> Self {
        let Around { reader, groups, oom, journal, counts, host } = around;
        Self {
            reader,
            groups,
            oom,
            journal,
            counts,
            host,
            began_ticks: compare::own_start_ticks(),
            living: FxHashMap::default(),
            past: VecDeque::new(),
            told: FxHashMap::default(),
        }
    }

    /// Takes what the pipeline or the agent tells.
    pub fn hear(&mut self, tell: Tell) {
        match tell {
            Tell::Service { index, service, found, begins } => self.service(index, service, *found, begins),
            Tell::Exit { service, pid, at_ns, exit } => self.exit(&service, pid, at_ns + unix_offset_ns(), exit),
            Tell::LetGo { pid, at_ns } => self.end(pid, at_ns + unix_offset_ns(), None),
            Tell::Asked { service, pid, at_ns, asked } => self.asked(&service, pid, at_ns, &asked),
            Tell::Agent { key, restart } => {
                let event = change("agent_config", Severity::Warn).with("key", key);
                self.tell(event.with("needs_restart", restart));
            }
            Tell::Forget { service } => {
                self.counts.forget(&service);
            }
        }
    }

    /// Counts a change and tells it; of a service that has had too many within a minute only how many more there were.
    fn tell(&mut self, event: Event) {
        self.counts.count(&event);
        let key = event.service.clone().unwrap_or_default();
        self.tell_more(|of| of == key);
        let (_, count) = self.told.entry(key).or_insert((Instant::now(), 0));
        *count += 1;
        if *count <= PER_MINUTE {
            self.journal.tell(event);
        }
    }

    /// Says how many changes of these services were not told one by one, where their minute is over.
    fn tell_more(&mut self, which: impl Fn(&str) -> bool) {
        for (service, (_, count)) in
            self.told.extract_if(|service, (since, _)| which(service) && since.elapsed() >= MINUTE)
        {
            if count > PER_MINUTE {
                let more = change("more", Severity::Warn).with("changes", u64::from(count - PER_MINUTE));
                self.journal.tell(Event { service: Some(service).filter(|service| !service.is_empty()), ..more });
            }
        }
    }

    fn service(&mut self, index: u32, service: String, found: Found, begins: bool) {
        let pid = found.process.pid;
        if self.living.get(&pid).is_some_and(|living| living.found.process.is(&found.process)) {
            return self.refresh(pid, index, service, found);
        }
        let facts = self.reader.read(&found);
        let known = self.past.iter().rposition(|ended| ended.is(&service, &found, &facts));
        let before = known.and_then(|at| self.past.remove(at));
        let resumed = before.as_ref().is_some_and(|before| before.found.process.is(&found.process));
        // What began within the same tick as the agent may have been there before it.
        if begins && !resumed && found.process.start_ticks > self.began_ticks {
            match &before {
                Some(before) => self.restarted(&service, &found, &facts, before),
                None => self.tell(described("start", Severity::Info, &service, &found, &facts)),
            }
        }
        let group = self.groups.of(pid).ok().flatten();
        let settings = group.as_ref().map(|group| self.groups.settings(group)).unwrap_or_default();
        if let Some(group) = &group {
            self.oom.watch(index, group, Instant::now());
        }
        self.living
            .insert(pid, Living { index, service, found, facts, replaced: None, group, settings, missed: false });
    }

    fn restarted(&mut self, service: &str, found: &Found, facts: &Facts, before: &Ended) {
        let event = described("restart", Severity::Warn, service, found, facts);
        let down_s = event.unix_ns.saturating_sub(before.unix_ns) as f64 / 1e9;
        let event = event.with("previous_pid", u64::from(before.found.process.pid)).with("down_s", down_s);
        let event = event.with_some("previous_exit", before.why.as_ref().map(Exit::words).as_ref());
        let model = before.found.model.as_ref().filter(|model| Some(*model) != found.model.as_ref());
        self.tell(event.with_some("previous_model", model));
        self.differences(service, found.process.pid, compare::differences(&before.facts, facts));
    }

    fn differences(&mut self, service: &str, pid: u32, differences: Vec<Difference>) {
        for difference in differences {
            self.tell(difference.event().of(service, pid));
        }
    }

    /// Something new about a server that is known: it may have run another program.
    fn refresh(&mut self, pid: u32, index: u32, service: String, found: Found) {
        let Some(living) = self.living.get_mut(&pid) else { return };
        living.index = index;
        let other = living.found.process.exe != found.process.exe || living.found.process.argv != found.process.argv;
        let learned = living.facts.version.is_none();
        living.service.clone_from(&service);
        living.found = found;
        if !other {
            if learned {
                living.facts.version.clone_from(&living.found.version);
            }
            return;
        }
        let mut facts = self.reader.read(&living.found);
        // A title that it gives itself says nothing of what it was started with.
        if facts.argv.is_none() {
            facts.argv.clone_from(&living.facts.argv);
            facts.files.clone_from(&living.facts.files);
        }
        let differences = compare::differences(&living.facts, &facts);
        living.facts = facts;
        self.differences(&service, pid, differences);
    }

    fn exit(&mut self, service: &str, pid: u32, unix_ns: u64, exit: Exit) {
        let root = self.living.contains_key(&pid);
        // Helpers that end as they should are no change.
        if root || !exit.is_success() {
            let event = Event { unix_ns, ..exit.event(root) };
            self.tell(event.of(service, pid));
        }
        self.end(pid, unix_ns, Some(exit));
    }

    fn end(&mut self, pid: u32, unix_ns: u64, why: Option<Exit>) {
        let Some(Living { index, service, found, facts, .. }) = self.living.remove(&pid) else { return };
        if !self.living.values().any(|living| living.index == index) {
            self.oom.forget(index);
        }
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back(Ended { service, found, facts, unix_ns, why });
    }

    fn asked(&mut self, service: &str, pid: u32, at_ns: u64, asked: &Asked) {
        let severity = if asked.change == wire::FAILED { Severity::Error } else { Severity::Info };
        let event = Event { unix_ns: at_ns + unix_offset_ns(), ..change(asked.change, severity) };
        let event = event.with_some("name", asked.subject.as_ref()).with("path", &asked.path);
        self.tell(event.with("status", u64::from(asked.status)).of(service, pid));
    }

    /// Ends what has been gone for two looks without a word of its end.
    fn end_unseen(&mut self) {
        let mut ended = Vec::new();
        for (pid, living) in &mut self.living {
            let gone = !living.found.process.is_alive(Path::new("/proc"));
            if gone && std::mem::replace(&mut living.missed, gone) {
                ended.push((*pid, living.service.clone()));
            }
        }
        for (pid, service) in ended {
            let event = change("exit", Severity::Warn);
            self.exit(&service, pid, event.unix_ns, Exit { code: None, oom: None });
        }
    }

    /// Looks at everything that changes without a word.
    pub fn look(&mut self) {
        self.oom.look(Instant::now());
        self.tell_more(|_| true);
        self.end_unseen();
        let mut events = self.host.look();
        for (pid, living) in &mut self.living {
            let of = |event: Event| event.of(&living.service, *pid);
            let files = self.reader.changed_files(*pid, &mut living.facts);
            events.extend(files.into_iter().map(|file| of(Difference::File(file).event())));
            let replaced = facts::replaced(&living.found.process);
            if replaced.is_some() && replaced != living.replaced {
                let event = change("binary_replaced", Severity::Warn);
                events
                    .push(of(event.with_some("exe", living.found.process.exe.as_deref().and_then(|exe| exe.to_str()))));
            }
            living.replaced = replaced.or(living.replaced);
            let Some(group) = &living.group else { continue };
            let settings = self.groups.settings(group);
            for (name, old, new) in compare::settings(&living.settings, &settings) {
                let event = change("limit", Severity::Warn).with("limit", name).with("old", &old).with("new", &new);
                events.push(of(event));
            }
            if !settings.is_empty() {
                living.settings = settings;
            }
        }
        events.into_iter().for_each(|event| self.tell(event));
    }
}

/// The start of a server, in its own time.
fn described(name: &'static str, severity: Severity, service: &str, found: &Found, facts: &Facts) -> Event {
    let event = Event { unix_ns: compare::unix_ns(found.process.start_ticks), ..change(name, severity) };
    let argv = facts.argv.as_ref().map(|argv| compare::joined(argv.iter()));
    let event = event.of(service, found.process.pid).with("engine", found.engine);
    let event = event.with_some("version", found.version.as_ref()).with_some("model", found.model.as_ref());
    let event = event.with_some("port", found.ports.first().map(|port| u64::from(*port)));
    let container = found.process.container.as_ref().map(|container| &container.id);
    event.with_some("container_id", container).with_some("argv", argv.as_ref())
}

#[cfg(test)]
#[path = "ledger_test.rs"]
mod tests;
