//! Rows of the table of results, medians, and the two ways in which the table is printed.

use std::fmt::{self, Write as _};

/// What a row says about its target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Holds,
    Misses,
    /// There is no target: a figure that explains others.
    Told,
    /// Could not be measured here.
    Skipped,
}

pub struct Row {
    what: String,
    measured: String,
    target: String,
    verdict: Verdict,
}

impl Row {
    pub fn held(what: impl Into<String>, measured: impl Into<String>, target: &str, holds: bool) -> Self {
        let verdict = if holds { Verdict::Holds } else { Verdict::Misses };
        Self { what: what.into(), measured: measured.into(), target: target.into(), verdict }
    }

    pub fn told(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { what: what.into(), measured: measured.into(), target: String::new(), verdict: Verdict::Told }
    }

    pub fn skipped(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), measured: why.into(), target: String::new(), verdict: Verdict::Skipped }
    }

    /// A measurement that broke off.
    pub fn failed(error: &anyhow::Error) -> Self {
        let first = format!("{error:#}").lines().take(3).collect::<Vec<_>>().join(" ");
        Self::held("the measurement itself", first, "it runs", false)
    }

    pub fn missed(&self) -> bool {
        self.verdict == Verdict::Misses
    }

    fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Holds => "holds",
            Verdict::Misses => "MISSED",
            Verdict::Told => "",
            Verdict::Skipped => "skipped",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:<7} {}: {}", self.word(), self.what, self.measured)?;
        if self.target.is_empty() { Ok(()) } else { write!(f, "  (target: {})", self.target) }
    }
}

pub fn markdown(rows: &[(&str, Row)]) -> String {
    let mut text = String::from("| bench | what | measured | target | |\n|---|---|---|---|---|\n");
    for (bench, row) in rows {
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let (what, measured, target) = (cell(&row.what), cell(&row.measured), cell(&row.target));
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {bench} | {what} | {measured} | {target} | {} |", row.word());
    }
    text
}

pub fn json(rows: &[(&str, Row)]) -> String {
    let row = |(bench, row): &(&str, Row)| {
        serde_json::json!({
            "bench": bench, "what": row.what, "measured": row.measured, "target": row.target, "verdict": row.word(),
        })
    };
    serde_json::Value::from(rows.iter().map(row).collect::<Vec<_>>()).to_string()
}

/// The median of VALUES; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The least of VALUES; NaN of none.
pub fn least(values: &[f64]) -> f64 {
    quantile(values, 0.0)
}

/// The quantile AT (0 to 1) of VALUES, between neighbours in proportion; NaN of none.
pub fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = at.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
    let (Some(low), Some(high)) = (sorted.get(place.floor() as usize), sorted.get(place.ceil() as usize)) else {
        return f64::NAN;
    };
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_nothing() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert_eq!(quantile(&[0.0, 10.0], 0.95), 9.5);
        assert_eq!(least(&[2.0, 1.0]), 1.0);
    }

    #[test]
    fn rows_say_whether_they_hold() {
        let rows = [("a", Row::held("x", "1 | 2", "at most 1", false)), ("b", Row::told("y", "3"))];
        assert_eq!(
            markdown(&rows).lines().skip(2).collect::<Vec<_>>(),
            ["| a | x | 1 \\| 2 | at most 1 | MISSED |", "| b | y | 3 |  |  |"]
        );
        assert!(rows[0].1.missed() && !rows[1].1.missed());
    }
}
