//! How much the scout may look: when all processes are due again, and what looks at single ones may cost.

use std::time::{Duration, Instant};

/// All processes are looked at so soon after the last time if an event was missed.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// The longest time between two looks at all of them, unless the operator wants more.
const LONGEST: Duration = Duration::from_secs(300);
/// Where the kernel tells of what is new, a look at everything rests so many times as long as it took: a thousandth of a
/// core.
const SHARE: u32 = 1000;
/// The same after an event was missed; it may be so each time.
const SHARE_MISSED: u32 = 50;

/// When all processes are looked at.
#[derive(Debug)]
pub(super) struct Pace {
    /// The least time between two looks, by the configuration.
    pub interval: Duration,
    /// The kernel tells of each socket that begins to listen.
    pub told: bool,
    /// An event was lost since the last look began.
    pub missed: bool,
    last: Instant,
    took: Duration,
}

impl Pace {
    pub fn new(interval: Duration, told: bool) -> Self {
        Self { interval, told, missed: false, last: Instant::now(), took: Duration::ZERO }
    }

    /// A look that took so much CPU time ended at NOW.
    pub fn ended(&mut self, now: Instant, took: Duration) {
        (self.last, self.took) = (now, took);
    }

    /// When the next one is due.
    pub fn next(&self) -> Instant {
        let resting = |share: u32| self.took.saturating_mul(share).min(LONGEST);
        let rest = if self.told { self.interval.max(resting(SHARE)) } else { self.interval };
        let rest = if self.missed { rest.min(SOON.max(resting(SHARE_MISSED))) } else { rest };
        self.last + rest
    }
}

/// CPU time that looks at processes which begin to listen may take: so much at once, as when a node's containers start,
/// and a fiftieth of a core for long, whatever the processes do.
#[derive(Debug)]
pub(super) struct Credit {
    spent: Duration,
    at: Instant,
}

const AT_ONCE: Duration = Duration::from_secs(5);
const FOR_LONG: u32 = 50;

impl Credit {
    pub fn new(now: Instant) -> Self {
        Self { spent: Duration::ZERO, at: now }
    }

    /// From when on there is some.
    pub fn from(&self) -> Instant {
        self.at + self.spent.saturating_sub(AT_ONCE) * FOR_LONG
    }

    pub fn spend(&mut self, now: Instant, cpu: Duration) {
        let regained = now.saturating_duration_since(self.at) / FOR_LONG;
        self.spent = self.spent.saturating_sub(regained) + cpu;
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_a_look_takes_the_rarer_it_is() {
        let ms = Duration::from_millis;
        for (told, missed, took, rest) in [
            (true, false, ms(1), ms(10_000)),
            (true, false, ms(30), ms(30_000)),
            (true, false, ms(4000), ms(300_000)),
            (true, true, ms(30), ms(10_000)),
            (true, true, ms(600), ms(30_000)),
            (true, true, ms(7000), ms(300_000)),
            (false, false, ms(4000), ms(10_000)),
            (false, true, ms(4000), ms(10_000)),
        ] {
            let mut pace = Pace { missed, ..Pace::new(ms(10_000), told) };
            let now = Instant::now();
            pace.ended(now, took);
            assert_eq!(pace.next() - now, rest, "{told} {missed} {took:?}");
        }
        let pace = Pace { missed: true, ..Pace::new(ms(3_600_000), true) };
        assert_eq!(pace.next() - pace.last, SOON, "whatever the interval");
    }

    #[test]
    fn looks_at_listeners_cost_a_fiftieth_of_a_core_for_long() {
        let begin = Instant::now();
        let mut credit = Credit::new(begin);
        credit.spend(begin, AT_ONCE);
        assert_eq!(credit.from(), begin);
        let second = Duration::from_secs(1);
        credit.spend(begin, second);
        assert_eq!(credit.from(), begin + 50 * second);
        credit.spend(begin + 100 * second, Duration::ZERO);
        assert_eq!(credit.from(), begin + 100 * second);
        assert_eq!(credit.spent, AT_ONCE - second);
    }
}
