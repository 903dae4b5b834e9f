//! Prometheus' text format as a map, for assertions.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A series: its name and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// The samples of one scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub series: BTreeMap<Series, f64>,
    /// Every name that a sample can have, if that is known.
    names: Option<Arc<BTreeSet<String>>>,
}

/// The names that samples have by a table of metrics as the README has it: name and type first.
pub fn names_in(table: &str) -> BTreeSet<String> {
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `")?.split_once("` | "));
    let names = rows.flat_map(|(name, rest)| {
        let suffixes: &[&str] = if rest.starts_with("histogram") { &["_bucket", "_sum", "_count"] } else { &[""] };
        suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
    });
    names.collect()
}

impl Metrics {
    pub fn parse(text: &str) -> Result<Self> {
        let mut all = BTreeMap::new();
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (series, value) = parse_line(line).with_context(|| format!("not a sample: {line}"))?;
            all.insert(series, value);
        }
        Ok(Self { series: all, names: None })
    }

    /// From here on, to ask for any other name is a mistake and a panic: it would never have a sample.
    pub fn knowing(self, names: Arc<BTreeSet<String>>) -> Self {
        Self { names: Some(names), ..self }
    }

    /// Any name may be asked for again: the configuration has metrics of its own.
    pub fn knowing_any(self) -> Self {
        Self { names: None, ..self }
    }

    fn must_know(&self, name: &str) {
        if let Some(names) = &self.names {
            assert!(names.contains(name), "no sample is ever called {name}: see agent/src/export/metrics.rs");
        }
    }

    /// Sum of the series of this name that have all of `labels`; None when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.must_know(name);
        let mut found = None;
        for (series, value) in self.series.iter().filter(|(s, _)| s.name == name) {
            if labels.iter().all(|(k, v)| series.labels.get(*k).is_some_and(|l| l == v)) {
                found = Some(found.unwrap_or(0.0) + value);
            }
        }
        found
    }

    /// [`Metrics::sum`] with 0 for absent series: counters that have not been needed yet.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.sum(name, labels).unwrap_or(0.0)
    }

    /// Values of `label` over the series of this name.
    pub fn label_values(&self, name: &str, label: &str) -> Vec<String> {
        self.must_know(name);
        self.series.keys().filter(|s| s.name == name).filter_map(|s| s.labels.get(label).cloned()).collect()
    }

    pub fn families(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.series.keys().map(|s| s.name.as_str()).collect();
        names.dedup();
        names
    }
}

fn parse_line(line: &str) -> Option<(Series, f64)> {
    let end = line.find(['{', ' '])?;
    let name = line[..end].to_owned();
    let mut labels = BTreeMap::new();
    let mut rest = &line[end..];
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (key, after) = inside.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.to_owned(), value);
            inside = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &inside[1..];
    }
    let value = rest.split_whitespace().next()?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        v => v.parse().ok()?,
    };
    Some((Series { name, labels }, value))
}

/// The unescaped text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_with_and_without_labels() {
        let text = "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"q\\\"}, \\n\"} 2\na{x=\"2\"} 3 1700000000\nb 1.5e3\n\
                    h_bucket{le=\"+Inf\"} 4\nn NaN\n";
        let m = Metrics::parse(text).unwrap();
        assert_eq!(m.sum("a", &[]), Some(5.0));
        assert_eq!(m.sum("a", &[("x", "1")]), Some(2.0));
        assert_eq!(m.label_values("a", "y"), ["q\"}, \n"]);
        assert_eq!(m.sum("b", &[]), Some(1500.0));
        assert_eq!(m.sum("h_bucket", &[("le", "+Inf")]), Some(4.0));
        assert_eq!(m.sum("absent", &[]), None);
        assert!(Metrics::parse("a{x=\"1} 2").is_err());
    }

    const TABLE: &str = "| metric | type |\n|---|---|\n| `a_total` | counter | 1 |\n| `h_s` | histogram | s |\n";

    #[test]
    fn names_of_samples_come_from_the_table() {
        assert_eq!(Vec::from_iter(names_in(TABLE)), ["a_total", "h_s_bucket", "h_s_count", "h_s_sum"]);
        let m = Metrics::parse("").unwrap().knowing(Arc::new(names_in(TABLE)));
        assert_eq!((m.count("a_total", &[]), m.sum("h_s_count", &[])), (0.0, None));
    }

    #[test]
    #[should_panic(expected = "no sample is ever called h_s:")]
    fn a_name_that_no_sample_has_is_a_panic() {
        Metrics::parse("").unwrap().knowing(Arc::new(names_in(TABLE))).count("h_s", &[]);
    }
}
