//! What could not be watched for want of room: which process was counted and told of in the log already, and what the
//! scout has still to be asked for again. Bounded; watches nothing itself.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, path::Path};

/// Processes remembered of each kind. Of more than that each refusal counts.
const REMEMBERED: usize = 4096;

/// Refusals of processes that still run.
#[derive(Debug, Default)]
pub struct Refused {
    services: BTreeSet<u32>,
    processes: BTreeSet<u32>,
    candidates: BTreeSet<u32>,
    /// The scout is to find these again.
    again: BTreeSet<u32>,
}

fn is_first(known: &mut BTreeSet<u32>, pid: u32) -> bool {
    let remembered = known.contains(&pid);
    if !remembered && known.len() < REMEMBERED {
        known.insert(pid);
    }
    !remembered
}

impl Refused {
    /// A service found no room; true if it is to be counted.
    pub fn service(&mut self, root: u32) -> bool {
        self.ask_for([root]);
        is_first(&mut self.services, root)
    }

    /// A process of the service of `root` found no room; true if it is to be counted.
    pub fn process(&mut self, pid: u32, root: u32) -> bool {
        self.ask_for([root]);
        is_first(&mut self.processes, pid)
    }

    /// A candidate found no room; true if it is to be counted.
    pub fn candidate(&mut self, pid: u32) -> bool {
        self.ask_for([pid]);
        is_first(&mut self.candidates, pid)
    }

    /// The scout is asked for these at the next tick.
    pub fn ask_for(&mut self, pids: impl IntoIterator<Item = u32>) {
        let room = REMEMBERED.saturating_sub(self.again.len());
        self.again.extend(pids.into_iter().take(room));
    }

    /// Forgets processes that have ended, and asks for what is to be found again; `ask` says whether it could.
    pub fn tick(&mut self, mut ask: impl FnMut(u32) -> bool) {
        let runs = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        for known in [&mut self.services, &mut self.processes, &mut self.candidates] {
            known.retain(runs);
        }
        self.again.retain(|pid| !ask(*pid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_once_and_is_asked_for_each_time() {
        let me = std::process::id();
        let mut refused = Refused::default();
        for first in [true, false, false] {
            assert_eq!(refused.service(me), first);
            assert_eq!(refused.process(me, 1), first);
            let mut asked = Vec::new();
            refused.tick(|pid| {
                asked.push(pid);
                true
            });
            assert_eq!(asked, [1, me]);
        }
        refused.tick(|pid| panic!("{pid} was asked for"));
    }

    #[test]
    fn what_could_not_be_asked_is_asked_later() {
        let mut refused = Refused::default();
        refused.candidate(7);
        refused.tick(|_| false);
        let mut asked = 0;
        refused.tick(|_| {
            asked += 1;
            true
        });
        assert_eq!(asked, 1);
    }

    #[test]
    fn ended_processes_are_forgotten_and_the_rest_is_bounded() {
        let mut refused = Refused::default();
        let none = u32::MAX - 2 * REMEMBERED as u32;
        assert!((0..2 * REMEMBERED as u32).all(|n| refused.process(none + n, none + n)));
        assert_eq!((refused.processes.len(), refused.again.len()), (REMEMBERED, REMEMBERED));
        refused.tick(|_| true);
        assert!(refused.processes.is_empty() && refused.again.is_empty());
    }
}
