//! What differs between two looks at a server. Pure, but for two readings of the clock and of the agent's own start.

use std::{collections::BTreeMap, path::Path};

use rustix::time::{ClockId, clock_gettime};

use super::{
    facts::{Facts, Kept},
    files::{self, Changed},
    ledger::change,
};
use crate::events::{Event, Severity};

/// Names of an environment that are told one by one.
const NAMES: usize = 16;

/// Something that is not as it was.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference {
    /// Units of the command line, as they may be shown.
    Argv {
        added: String,
        removed: String,
    },
    Environment {
        name: String,
        old: Option<String>,
        new: Option<String>,
    },
    Binary {
        old: Option<String>,
        new: Option<String>,
    },
    File(Changed),
}

impl Difference {
    /// As an event.
    pub fn event(self) -> Event {
        match self {
            Difference::Argv { added, removed } => {
                let some = |text: String| Some(text).filter(|text| !text.is_empty());
                let event = change("argv", Severity::Warn).with_some("added", some(added).as_ref());
                event.with_some("removed", some(removed).as_ref())
            }
            Difference::Environment { name, old, new } => {
                let event = change("environment", Severity::Warn).with("name", &name);
                event.with_some("old", old.as_ref()).with_some("new", new.as_ref())
            }
            Difference::Binary { old, new } => {
                let event = change("binary", Severity::Warn);
                event.with_some("old_version", old.as_ref()).with_some("new_version", new.as_ref())
            }
            Difference::File(Changed { path, old_bytes, new_bytes }) => {
                let event = change("config_file", Severity::Warn).with("path", &path).with("old_bytes", old_bytes);
                event.with_some("new_bytes", new_bytes).with("gone", new_bytes.is_none())
            }
        }
    }
}

/// Units behind each other.
pub fn joined<'a>(units: impl Iterator<Item = &'a Kept>) -> String {
    units.map(|kept| kept.shown.as_str()).collect::<Vec<_>>().join(" ")
}

/// Everything that differs; what was not seen on one side does not.
pub fn differences(old: &Facts, new: &Facts) -> Vec<Difference> {
    let mut all = Vec::new();
    if let (Some(old), Some(new)) = (&old.argv, &new.argv) {
        let (added, removed) = (left_over(new, old), left_over(old, new));
        if !added.is_empty() || !removed.is_empty() {
            let text = |units: Vec<&Kept>| joined(units.into_iter());
            all.push(Difference::Argv { added: text(added), removed: text(removed) });
        }
    }
    if let (Some(old), Some(new)) = (&old.environment, &new.environment) {
        all.extend(environment(old, new).into_iter().take(NAMES));
    }
    let other_build = old.binary.zip(new.binary).is_some_and(|(old, new)| !old.is_like(&new));
    let other_version = old.version.is_some() && new.version.is_some() && old.version != new.version;
    if other_build || other_version {
        all.push(Difference::Binary { old: old.version.clone(), new: new.version.clone() });
    }
    all.extend(files::between(&old.files, &new.files).into_iter().map(Difference::File));
    all
}

/// Those of `all` that are not in `others`, each as often as it is there too often.
fn left_over<'a>(all: &'a [Kept], others: &[Kept]) -> Vec<&'a Kept> {
    let mut others: Vec<&Kept> = others.iter().collect();
    let mut left = Vec::new();
    for kept in all {
        match others.iter().position(|other| *other == kept) {
            Some(at) => drop(others.swap_remove(at)),
            None => left.push(kept),
        }
    }
    left
}

fn environment(old: &BTreeMap<String, Kept>, new: &BTreeMap<String, Kept>) -> Vec<Difference> {
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    let differs = |name: &&String| old.get(*name) != new.get(*name);
    let shown = |of: &BTreeMap<String, Kept>, name: &String| of.get(name).map(|kept| kept.shown.clone());
    let tell =
        |name: &String| Difference::Environment { name: name.clone(), old: shown(old, name), new: shown(new, name) };
    names.filter(differs).map(tell).collect()
}

/// Settings of a group that are there in both looks and differ: name, old, new.
pub fn settings(old: &[(&'static str, String)], new: &[(&'static str, String)]) -> Vec<(&'static str, String, String)> {
    let before = |name: &str| old.iter().find(|(own, _)| *own == name).map(|(_, value)| value);
    let differs = |(name, now): &(&'static str, String)| {
        let before = before(name).filter(|before| *before != now)?;
        Some((*name, before.clone(), now.clone()))
    };
    new.iter().filter_map(differs).collect()
}

/// Unix time in nanoseconds of an instant in clock ticks after boot.
pub fn unix_ns(ticks: u64) -> u64 {
    let ns = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let since_boot = ticks as f64 / procfs::ticks_per_second() as f64 * 1e9;
    ns(ClockId::Realtime).saturating_sub(ns(ClockId::Boottime).saturating_sub(since_boot as u64))
}

/// When this process began, in clock ticks after boot; 0 if that is not known.
pub fn own_start_ticks() -> u64 {
    crate::discover::Process::read(Path::new("/proc"), std::process::id()).map_or(0, |own| own.start_ticks)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn only_what_both_looks_have_can_be_another() {
        let old = [("cpu.max", "none".to_owned()), ("memory.max", "1".to_owned()), ("gone", "1".to_owned())];
        let new = [("cpu.max", "2 CPUs".to_owned()), ("memory.max", "1".to_owned()), ("new", "1".to_owned())];
        assert_eq!(settings(&old, &new), [("cpu.max", "none".to_owned(), "2 CPUs".to_owned())]);
    }

    #[test]
    fn this_process_began_in_the_past() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let began = unix_ns(own_start_ticks());
        assert!(began < now && began > now - 86_400_000_000_000, "{began} {now}");
    }
}
