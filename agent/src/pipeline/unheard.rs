//! Events of new programs, children and listeners that did not come through: discovery lives by these, and looks at
//! everything again when one was lost.

use std::sync::atomic::Ordering;

use inferscope_abi::Lost;

use crate::{
    probe::{CounterReader, LISTEN},
    scout::{Ask, Scout},
    shared::Live,
};

/// The programs that tell of them.
const PROGRAMS: [&str; 3] = ["process_exec", "process_fork", LISTEN];

/// How many were lost so far, as the scout knows.
#[derive(Debug, Default)]
pub struct Unheard {
    told: u64,
    missed_runs: u64,
}

impl Unheard {
    /// Runs that the kernel left out may have been of such events. Reads a file for each program.
    pub(super) fn count_missed_runs(&mut self, reader: &CounterReader) {
        self.missed_runs = reader.missed_runs_of(&PROGRAMS);
    }

    /// Tells the scout if there are more than it knows of.
    pub(super) fn tell(&mut self, reader: &CounterReader, live: &Live, scout: &Scout) {
        let kernel = [Lost::RingExec, Lost::RingFork, Lost::RingListen].map(|place| reader.lost_at(place));
        let lost = kernel.iter().sum::<u64>() + self.missed_runs + live.asks_lost.load(Ordering::Relaxed);
        self.tell_of(lost, |ask| scout.asks.try_send(ask).is_ok());
    }

    fn tell_of(&mut self, lost: u64, ask: impl FnOnce(Ask) -> bool) {
        if lost != self.told && ask(Ask::Missed) {
            self.told = lost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_told_once_it_can_be() {
        let mut unheard = Unheard::default();
        for (lost, room, told) in [(0, true, 0), (3, false, 1), (3, true, 1), (3, true, 0), (4, true, 1)] {
            let mut asks = 0;
            unheard.tell_of(lost, |ask| {
                assert!(matches!(ask, Ask::Missed));
                asks += 1;
                room
            });
            assert_eq!(asks, told, "{lost} lost");
        }
    }
}
