//! How many processes of each service ended, and how. Bounded: exits of services over the cap are counted under `_other`.
#![forbid(unsafe_code)]

use rustc_hash::FxHashMap;

use crate::export::requests::OTHER;

/// Services times causes that are told apart.
const SERIES: usize = 4096;

/// Names of the signals up to 31, as on all of Linux' usual architectures.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// What ended a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    /// `success`, `exit_code`, `signal` or `oom_kill`.
    pub name: &'static str,
    /// The signal's name, `SIGRT` for all from 32 on; empty if it was none.
    pub signal: &'static str,
}

impl Cause {
    /// Of the kernel's exit code: signal in the low seven bits, exit status above. `oom`: the kernel's OOM killer sent it.
    pub fn new(exit_code: u32, oom: bool) -> Self {
        let signal = exit_code & 0x7f;
        let name = match (signal, exit_code >> 8) {
            (0, 0) => "success",
            (0, _) => "exit_code",
            (KILL, _) if oom => "oom_kill",
            _ => "signal",
        };
        let at = (signal as usize).checked_sub(1);
        Self { name, signal: at.map_or("", |at| SIGNALS.get(at).copied().unwrap_or("SIGRT")) }
    }
}

/// SIGKILL, which is what the OOM killer sends.
pub const KILL: u32 = 9;

/// Exits by service and cause.
#[derive(Debug, Default)]
pub struct Exits {
    counts: FxHashMap<(String, Cause), u64>,
    /// Exits counted under `_other`.
    pub overflow: u64,
}

impl Exits {
    /// Counts the end of a process of a service.
    pub fn count(&mut self, service: &str, cause: Cause) {
        let mut key = (service.to_owned(), cause);
        if self.counts.len() >= SERIES && !self.counts.contains_key(&key) {
            key.0 = OTHER.to_owned();
            self.overflow += 1;
        }
        *self.counts.entry(key).or_default() += 1;
    }

    /// Drops the counts of a service that has ended.
    pub fn forget(&mut self, service: &str) {
        self.counts.retain(|(of, _), _| of != service);
    }

    /// Counts by service and cause.
    pub fn counts(&self) -> impl Iterator<Item = (&(String, Cause), &u64)> {
        self.counts.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(exits: &Exits, service: &str, cause: &'static str) -> Option<u64> {
        let of = |(key, count): (&(String, Cause), &u64)| (key.0 == service && key.1.name == cause).then_some(*count);
        exits.counts().find_map(of)
    }

    #[test]
    fn causes() {
        for (code, oom, name, signal) in [
            (0, false, "success", ""),
            (1 << 8, false, "exit_code", ""),
            (9, false, "signal", "SIGKILL"),
            (9, true, "oom_kill", "SIGKILL"),
            (0x8b, true, "signal", "SIGSEGV"),
            (31, false, "signal", "SIGSYS"),
            (64, false, "signal", "SIGRT"),
        ] {
            assert_eq!(Cause::new(code, oom), Cause { name, signal }, "{code:#x}");
        }
    }

    #[test]
    fn the_number_of_services_is_capped_and_what_is_over_it_is_counted() {
        let mut exits = Exits::default();
        (0..SERIES).for_each(|n| exits.count(&n.to_string(), Cause::new(0, false)));
        for service in ["new", "new", "7"] {
            exits.count(service, Cause::new(0, false));
        }
        assert_eq!((of(&exits, OTHER, "success"), of(&exits, "new", "success")), (Some(2), None));
        assert_eq!((of(&exits, "7", "success"), exits.overflow), (Some(2), 2));
        exits.forget("7");
        exits.forget("8");
        exits.count("new", Cause::new(9, false));
        assert_eq!((of(&exits, "7", "success"), of(&exits, "new", "signal")), (None, Some(1)));
    }
}
