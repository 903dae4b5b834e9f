//! Pressure stall information, of the host and of a group: the share of time that work stood still for a resource.
//! Format: the kernel's accounting/psi.rst.

#![forbid(unsafe_code)]

use std::path::PathBuf;

/// Stalls by resource; `None`: the kernel does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    pub cpu: Option<StallPair>,
    pub memory: Option<StallPair>,
    pub io: Option<StallPair>,
}

/// A resource that work can stand still for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StallKind {
    Cpu,
    Memory,
    Io,
}

impl StallKind {
    /// As in the names of files and labels.
    pub fn word(self) -> &'static str {
        match self {
            StallKind::Cpu => "cpu",
            StallKind::Memory => "memory",
            StallKind::Io => "io",
        }
    }
}

/// Time in which some tasks stood still, and in which all did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StallPair {
    pub some: Stall,
    /// `None`: not told (CPU before 5.13).
    pub full: Option<Stall>,
}

/// Shares of the last 10, 60 and 300 seconds (0..1), and the total in seconds since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total_seconds: f64,
}

impl Pressure {
    /// Reads the three files that `path` names.
    pub(super) fn read(path: impl Fn(StallKind) -> PathBuf) -> Pressure {
        let one = |kind| StallPair::parse(&std::fs::read_to_string(path(kind)).ok()?);
        Pressure { cpu: one(StallKind::Cpu), memory: one(StallKind::Memory), io: one(StallKind::Io) }
    }
}

impl StallPair {
    fn parse(text: &str) -> Option<StallPair> {
        let line = |key: &str| text.lines().find_map(|line| Stall::parse(line.strip_prefix(key)?));
        Some(StallPair { some: line("some ")?, full: line("full ") })
    }
}

impl Stall {
    fn parse(values: &str) -> Option<Stall> {
        let value = |key: &str| -> Option<f64> {
            values.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
        };
        Some(Stall {
            avg10: value("avg10")? / 100.0,
            avg60: value("avg60")? / 100.0,
            avg300: value("avg300")? / 100.0,
            total_seconds: value("total")? / 1e6,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_and_microseconds_become_ratios_and_seconds() {
        let text =
            "some avg10=12.50 avg60=1.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let pair = StallPair::parse(text).expect("psi");
        assert_eq!(pair.some, Stall { avg10: 0.125, avg60: 0.01, avg300: 0.0, total_seconds: 2.5 });
        assert_eq!(pair.full.map(|full| full.total_seconds), Some(7e-6));
        assert_eq!(StallPair::parse("some avg10=1 avg60=1"), None);
        assert_eq!(StallPair::parse(""), None);
    }
}
