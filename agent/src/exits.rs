//! How many processes of each service ended, and how. Bounded: exits of services over the cap are counted under `_other`.
#![forbid(unsafe_code)]

use rustc_hash::FxHashMap;

use crate::export::requests::OTHER;

/// Services times causes that are told apart.
const SERIES: usize = 4096;

/// Exits by service and cause.
#[derive(Debug, Default)]
pub struct Exits {
    counts: FxHashMap<(String, &'static str), u64>,
    /// Exits counted under `_other`.
    pub overflow: u64,
}

/// Of the kernel's exit code: signal in the low seven bits, exit status above.
fn cause(exit_code: u32) -> &'static str {
    match (exit_code & 0x7f, exit_code >> 8) {
        (0, 0) => "success",
        (0, _) => "exit_code",
        _ => "signal",
    }
}

impl Exits {
    /// Counts the end of a process of a service.
    pub fn count(&mut self, service: &str, exit_code: u32) {
        let mut key = (service.to_owned(), cause(exit_code));
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
    pub fn counts(&self) -> impl Iterator<Item = (&(String, &'static str), &u64)> {
        self.counts.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(exits: &Exits, service: &str, cause: &'static str) -> Option<u64> {
        exits.counts.get(&(service.to_owned(), cause)).copied()
    }

    #[test]
    fn causes() {
        for (code, want) in [(0, "success"), (1 << 8, "exit_code"), (9, "signal"), (0x8b, "signal")] {
            assert_eq!(cause(code), want, "{code:#x}");
        }
    }

    #[test]
    fn the_number_of_services_is_capped_and_what_is_over_it_is_counted() {
        let mut exits = Exits::default();
        (0..SERIES).for_each(|n| exits.count(&n.to_string(), 0));
        exits.count("new", 0);
        exits.count("new", 0);
        exits.count("7", 0);
        assert_eq!((of(&exits, OTHER, "success"), of(&exits, "new", "success")), (Some(2), None));
        assert_eq!((of(&exits, "7", "success"), exits.overflow), (Some(2), 2));
        exits.forget("7");
        exits.forget("8");
        exits.count("new", 9);
        assert_eq!((of(&exits, "7", "success"), of(&exits, "new", "signal")), (None, Some(1)));
    }
}
