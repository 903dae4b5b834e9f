//! Verdicts of one service over the last minute, by how long its requests took. Time comes from the requests.

use super::verdict::{VERDICTS, Verdict};

/// The window moves on in steps of so much.
const STEP_NS: u64 = 5_000_000_000;
const STEPS: usize = 12;
/// Length of the window.
pub const WINDOW_NS: u64 = STEP_NS * STEPS as u64;

/// Seconds of requests by verdict, step by step.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Number of the step that each slot holds, and its sums.
    slots: [(u64, [f64; VERDICTS]); STEPS],
}

impl Window {
    /// Adds a request that ended at `end_ns`.
    pub fn add(&mut self, end_ns: u64, verdict: Verdict, seconds: f64) {
        let step = end_ns / STEP_NS;
        let slot = &mut self.slots[step as usize % STEPS];
        if slot.0 != step {
            *slot = (step, [0.0; VERDICTS]);
        }
        slot.1[verdict as usize] += seconds;
    }

    /// Part of the time of the last minute's requests by verdict, 0 to 1; None if there were none.
    pub fn shares(&self, now_ns: u64) -> Option<[f64; VERDICTS]> {
        let now = now_ns / STEP_NS;
        let recent = self.slots.iter().filter(|(step, _)| now.saturating_sub(*step) < STEPS as u64);
        let sums = recent.fold([0.0; VERDICTS], |sums, (_, slot)| std::array::from_fn(|at| sums[at] + slot[at]));
        let all: f64 = sums.iter().sum();
        (all > 0.0).then(|| sums.map(|seconds| seconds / all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minute_counts() {
        let mut window = Window::default();
        let second = 1_000_000_000;
        assert_eq!(window.shares(second), None);
        window.add(second, Verdict::HostOk, 3.0);
        window.add(30 * second, Verdict::CpuContention, 1.0);
        let share =
            |window: &Window, at: u64, verdict: Verdict| window.shares(at * second).expect("some")[verdict as usize];
        assert_eq!(share(&window, 31, Verdict::HostOk), 0.75);
        assert_eq!(share(&window, 62, Verdict::CpuContention), 1.0);
        assert_eq!(window.shares(200 * second), None);
        window.add(301 * second, Verdict::Queueing, 2.0);
        assert_eq!(share(&window, 302, Verdict::Queueing), 1.0);
    }
}
