//! One line of the table: values, their spelling, and how lines are sorted.

use crate::shown::shown;

/// A quantile in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    pub seconds: f64,
    /// Of the last half minute; else since the agent's start.
    pub lately: bool,
}

/// One service. `None` where nothing was measured yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub service: String,
    pub requests: f64,
    pub requests_per_s: Option<f64>,
    pub in_flight: f64,
    pub ttft_p50: Option<Quantile>,
    pub ttft_p95: Option<Quantile>,
    pub tpot_p50: Option<Quantile>,
    pub input_tokens_per_s: Option<f64>,
    pub output_tokens_per_s: Option<f64>,
    pub errors: f64,
    /// CPU seconds per second.
    pub cpu_cores: Option<f64>,
    /// Share of the time that threads wanted a CPU and waited for one.
    pub run_queue_ratio: Option<f64>,
    /// Ratio of one GPU; over several GPUs the sum.
    pub gpu_utilization: Option<f64>,
    pub gpu_memory_bytes: Option<f64>,
}

/// Titles of the columns.
pub const HEAD: [&str; 14] = [
    "SERVICE", "REQS", "REQ/S", "FLIGHT", "TTFT50", "TTFT95", "TPOT50", "IN/S", "OUT/S", "ERRORS", "CPU", "RUNQ",
    "GPU", "GPUMEM",
];

/// Columns that a narrow screen does without, first to go first.
pub const LEAST_MISSED: [&str; 9] = ["REQS", "GPUMEM", "IN/S", "GPU", "FLIGHT", "TTFT50", "RUNQ", "CPU", "ERRORS"];

/// What the marks mean.
pub const LEGEND: &str =
    "quantiles of the last 30 s, * since start; CPU in cores; RUNQ: share of wanted CPU time spent waiting";

impl Row {
    /// The cells of the line, in the order of the head.
    pub fn cells(&self) -> [String; 14] {
        [
            shown(&self.service).into_owned(),
            count(self.requests),
            option(self.requests_per_s, |v| format!("{v:.1}")),
            count(self.in_flight),
            quantile(self.ttft_p50),
            quantile(self.ttft_p95),
            quantile(self.tpot_p50),
            option(self.input_tokens_per_s, rate),
            option(self.output_tokens_per_s, rate),
            count(self.errors),
            option(self.cpu_cores, |v| format!("{v:.2}")),
            option(self.run_queue_ratio, percent),
            option(self.gpu_utilization, percent),
            option(self.gpu_memory_bytes, |v| format!("{:.1}G", v / f64::from(1 << 30))),
        ]
    }
}

fn option(value: Option<f64>, spell: impl Fn(f64) -> String) -> String {
    value.map_or("-".to_owned(), spell)
}

fn count(value: f64) -> String {
    format!("{value:.0}")
}

fn rate(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { count(value) }
}

fn percent(ratio: f64) -> String {
    format!("{:.0}%", ratio * 100.0)
}

fn quantile(value: Option<Quantile>) -> String {
    let Some(Quantile { seconds, lately }) = value else { return "-".to_owned() };
    let mark = if lately { "" } else { "*" };
    if seconds < 0.1 {
        format!("{:.1}ms{mark}", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0}ms{mark}", seconds * 1e3)
    } else {
        format!("{seconds:.2}s{mark}")
    }
}

/// The column that the table is sorted by: names ascending, figures descending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Service,
    Requests,
    Ttft,
    OutputTokens,
    Cpu,
    Gpu,
}

impl Sort {
    /// The next column, round and round.
    pub fn next(self) -> Self {
        match self {
            Sort::Service => Sort::Requests,
            Sort::Requests => Sort::Ttft,
            Sort::Ttft => Sort::OutputTokens,
            Sort::OutputTokens => Sort::Cpu,
            Sort::Cpu => Sort::Gpu,
            Sort::Gpu => Sort::Service,
        }
    }

    /// The column's title.
    pub fn title(self) -> &'static str {
        match self {
            Sort::Service => "SERVICE",
            Sort::Requests => "REQ/S",
            Sort::Ttft => "TTFT95",
            Sort::OutputTokens => "OUT/S",
            Sort::Cpu => "CPU",
            Sort::Gpu => "GPU",
        }
    }

    /// Sorts rows; equal ones by name.
    pub fn apply(self, rows: &mut [Row]) {
        let key = |row: &Row| match self {
            Sort::Service => None,
            Sort::Requests => row.requests_per_s,
            Sort::Ttft => row.ttft_p95.map(|q| q.seconds),
            Sort::OutputTokens => row.output_tokens_per_s,
            Sort::Cpu => row.cpu_cores,
            Sort::Gpu => row.gpu_utilization,
        };
        let value = |row: &Row| key(row).unwrap_or(f64::NEG_INFINITY);
        rows.sort_by(|a, b| value(b).total_cmp(&value(a)).then_with(|| a.service.cmp(&b.service)));
    }
}

#[cfg(test)]
pub(super) fn row_for_tests(service: &str, cpu: f64) -> Row {
    Row {
        service: service.to_owned(),
        requests: 1234.0,
        requests_per_s: Some(2.0),
        in_flight: 3.0,
        ttft_p50: Some(Quantile { seconds: 0.0123, lately: true }),
        ttft_p95: Some(Quantile { seconds: 1.5, lately: false }),
        tpot_p50: None,
        input_tokens_per_s: Some(12.34),
        output_tokens_per_s: Some(1234.5),
        errors: 1.0,
        cpu_cores: Some(cpu),
        run_queue_ratio: Some(0.07),
        gpu_utilization: None,
        gpu_memory_bytes: Some(3.0 * f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling() {
        assert_eq!(
            row_for_tests("a", 1.5).cells(),
            ["a", "1234", "2.0", "3", "12.3ms", "1.50s*", "-", "12.3", "1234", "1", "1.50", "7%", "-", "3.0G"]
        );
        // The agent that is asked may be anyone's.
        assert_eq!(row_for_tests("a\u{1b}[2J\u{202e}", 1.5).cells()[0], "a\u{fffd}[2J\u{fffd}");
        assert_eq!(quantile(Some(Quantile { seconds: 0.25, lately: true })), "250ms");
    }

    #[test]
    fn sorting() {
        let mut rows = vec![row_for_tests("b", 1.0), row_for_tests("a", 1.0), row_for_tests("c", 2.0)];
        let names = |rows: &[Row]| rows.iter().map(|row| row.service.clone()).collect::<String>();
        Sort::Service.apply(&mut rows);
        assert_eq!(names(&rows), "abc");
        Sort::Cpu.apply(&mut rows);
        assert_eq!(names(&rows), "cab");
        let mut sort = Sort::default();
        for _ in 0..6 {
            assert!(HEAD.contains(&sort.title()));
            sort = sort.next();
        }
        assert_eq!(sort, Sort::default());
    }
}
