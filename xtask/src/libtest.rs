//! Counts of test cases, read from what the standard test harness prints.
//!
//! A test that cannot run on this host prints `SKIPPED NAME: REASON` and returns; it counts as skipped, not passed.

use std::fmt;
use std::ops::AddAssign;

/// How a set of test cases ended.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Counts {
    /// One case that passed or failed, for steps that are not test binaries.
    pub fn one(good: bool) -> Self {
        Self { passed: u64::from(good), failed: u64::from(!good), skipped: 0 }
    }

    /// One case that could not run.
    pub fn one_skipped() -> Self {
        Self { skipped: 1, ..Self::default() }
    }

    /// Sums every `test result:` line of OUTPUT; GOOD is whether the command ended well. A command that failed
    /// without a failing test (a build error, a signal) counts as one failure.
    pub fn of(output: &str, good: bool) -> Self {
        let mut counts = Self::default();
        for line in output.lines().map(str::trim) {
            if let Some((_, numbers)) = line.split_once("test result: ") {
                counts += Self::of_result(numbers);
            }
        }
        let skipped = reasons(output).len() as u64;
        counts.skipped += skipped;
        counts.passed = counts.passed.saturating_sub(skipped);
        if !good && counts.failed == 0 {
            counts.failed = 1;
        }
        counts
    }

    /// The counts of OUTPUT's last line, `3 passed, 1 failed, 0 skipped`, of a script that is no test binary; GOOD as for
    /// `of`.
    pub fn of_sum(output: &str, good: bool) -> Self {
        let number = |part: &str| part.trim().split_once(' ').and_then(|(digits, _)| digits.parse().ok());
        let line = output.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        let mut numbers = line.split(',').map(|part| number(part).unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        let mut counts = Self { passed: next(), failed: next(), skipped: next() };
        if counts.failed == 0 && (!good || counts == Self::default()) {
            counts.failed = 1;
        }
        counts
    }

    fn of_result(numbers: &str) -> Self {
        let number = |word: &str| {
            let part = numbers.split([';', '.']).map(str::trim).find(|part| part.ends_with(word));
            part.and_then(|part| part.split(' ').next()).and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        Self { passed: number(" passed"), failed: number(" failed"), skipped: number(" ignored") }
    }
}

/// Why tests said that they could not run.
pub fn reasons(output: &str) -> Vec<&str> {
    output.lines().filter_map(|line| line.split_once("SKIPPED ")).map(|(_, said)| said.trim()).collect()
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "running 2 tests\ntest a ... SKIPPED a: no BTF on this kernel\n\
        test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
        test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";

    #[test]
    fn sums_over_test_binaries() {
        assert_eq!(Counts::of(TWO, false), Counts { passed: 3, failed: 2, skipped: 2 });
        assert_eq!(reasons(TWO), ["a: no BTF on this kernel"]);
    }

    #[test]
    fn a_crash_is_a_failure() {
        assert_eq!(Counts::of("error: could not compile", false), Counts { passed: 0, failed: 1, skipped: 0 });
    }

    #[test]
    fn a_scripts_last_line_is_its_sum() {
        assert_eq!(
            Counts::of_sum("ok a\n3 passed, 0 failed, 1 skipped\n\n", true),
            Counts { passed: 3, failed: 0, skipped: 1 }
        );
        assert_eq!(Counts::of_sum("3 passed, 2 failed, 0 skipped", false), Counts { passed: 3, failed: 2, skipped: 0 });
        for (said, good) in [("Traceback", false), ("", true), ("3 passed, 0 failed, 0 skipped", false)] {
            assert_eq!(Counts::of_sum(said, good).failed, 1, "{said}");
        }
    }
}
