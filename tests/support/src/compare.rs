//! What a client saw against what was recorded, request by request, joined by the id in the response body.

use crate::outcome::Outcome;
use crate::record::Record;
use std::collections::BTreeMap;
use std::fmt;

/// Median and 95th percentile of absolute differences, and the share of the client's own figure at the median.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    pub pairs: usize,
    pub median_s: f64,
    pub p95_s: f64,
    /// Median of the client's figure.
    pub of_median_s: f64,
}

impl Difference {
    fn of(pairs: &[(f64, f64)]) -> Self {
        if pairs.is_empty() {
            return Self::default();
        }
        let sorted = |it: &mut dyn Iterator<Item = f64>| {
            let mut v: Vec<f64> = it.collect();
            v.sort_by(f64::total_cmp);
            v
        };
        let off = sorted(&mut pairs.iter().map(|(a, b)| (a - b).abs()));
        let own = sorted(&mut pairs.iter().map(|(a, _)| *a));
        let at = |v: &[f64], q: f64| v[((v.len() - 1) as f64 * q).round() as usize];
        Self { pairs: pairs.len(), median_s: at(&off, 0.5), p95_s: at(&off, 0.95), of_median_s: at(&own, 0.5) }
    }

    /// At most `absolute_s` or `ratio` of the client's figure, whichever is larger.
    pub fn within(&self, absolute_s: f64, ratio: f64) -> bool {
        self.median_s <= absolute_s.max(ratio * self.of_median_s)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Requests that the client sent and that have an id.
    pub sent: usize,
    pub recorded: usize,
    /// Ids without a record.
    pub missing: Vec<String>,
    /// Ids recorded more than once, or recorded and never seen by the client.
    pub extra: Vec<String>,
    /// `id: field: client's != record's`
    pub mismatches: Vec<String>,
    pub ttft: Difference,
    pub duration: Difference,
}

impl Comparison {
    /// Every request once, none extra, all fields equal.
    pub fn exact(&self) -> bool {
        self.sent > 0 && self.missing.is_empty() && self.extra.is_empty() && self.mismatches.is_empty()
    }
}

/// Joins by id. Outcomes without an id (errors, aborted before the first chunk) are left out.
pub fn compare(outcomes: &[Outcome], records: &[Record]) -> Comparison {
    let mut by_id: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for r in records {
        if let Some(id) = &r.id {
            by_id.entry(id).or_default().push(r);
        }
    }
    let mut out = Comparison { recorded: by_id.values().map(Vec::len).sum(), ..Comparison::default() };
    let (mut ttft, mut duration) = (Vec::new(), Vec::new());
    for o in outcomes {
        let Some(id) = &o.id else { continue };
        out.sent += 1;
        let Some(found) = by_id.remove(id.as_str()) else {
            out.missing.push(id.clone());
            continue;
        };
        out.extra.extend(found.iter().skip(1).map(|_| id.clone()));
        let r = found[0];
        mismatches(o, r, id, &mut out.mismatches);
        if o.complete() {
            duration.push((o.duration_ns() as f64 / 1e9, r.duration_s));
            ttft.extend(o.ttft_ns.zip(r.ttft_s).map(|(a, b)| (a as f64 / 1e9, b)));
        }
    }
    out.extra.extend(by_id.into_keys().map(str::to_owned));
    out.ttft = Difference::of(&ttft);
    out.duration = Difference::of(&duration);
    out
}

fn mismatches(o: &Outcome, r: &Record, id: &str, out: &mut Vec<String>) {
    let mut check = |field: &str, client: String, record: String| {
        if client != record {
            out.push(format!("{id}: {field}: {client} != {record}"));
        }
    };
    check("status", o.status.to_string(), r.status.to_string());
    check("stream", o.stream.to_string(), r.stream.to_string());
    if !o.complete() {
        return;
    }
    check("model", format!("{:?}", o.model), format!("{:?}", r.model));
    check("input_tokens", format!("{:?}", o.input_tokens), format!("{:?}", r.input_tokens));
    check("finish_reason", format!("{:?}", o.finish_reason), format!("{:?}", r.finish_reason));
    if o.output_tokens.is_some() {
        check("output_tokens", format!("{:?}", o.output_tokens), format!("{:?}", r.output_tokens));
        check("tokens_estimated", String::from("false"), r.tokens_estimated.to_string());
    }
    if o.stream {
        check("chunks", o.content_chunks.to_string(), r.chunks.to_string());
        check("has ttft", o.ttft_ns.is_some().to_string(), r.ttft_s.is_some().to_string());
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "requests with an id   {:>8}", self.sent)?;
        writeln!(f, "records with an id    {:>8}", self.recorded)?;
        writeln!(f, "missing               {:>8}  {}", self.missing.len(), few(&self.missing))?;
        writeln!(f, "extra                 {:>8}  {}", self.extra.len(), few(&self.extra))?;
        writeln!(f, "fields that differ    {:>8}  {}", self.mismatches.len(), few(&self.mismatches))?;
        for (name, d) in [("ttft", self.ttft), ("duration", self.duration)] {
            let (median, p95, own) = (d.median_s * 1e3, d.p95_s * 1e3, d.of_median_s * 1e3);
            writeln!(
                f,
                "{name:<8} difference   {median:>8.3} ms median, {p95:.3} ms p95, of {own:.3} ms ({} pairs)",
                d.pairs
            )?;
        }
        Ok(())
    }
}

fn few(all: &[String]) -> String {
    all.iter().take(5).cloned().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(id: &str, ms: u64) -> Outcome {
        let ns = ms * 1_000_000;
        let id = Some(id.to_owned());
        Outcome {
            id,
            stream: true,
            status: 200,
            output_tokens: Some(5),
            content_chunks: 5,
            ttft_ns: Some(ns / 2),
            t_end_ns: ns,
            ..Outcome::default()
        }
    }

    fn record(id: &str, ms: u64) -> Record {
        let s = ms as f64 / 1e3;
        let id = Some(id.to_owned());
        Record {
            id,
            stream: true,
            status: 200,
            output_tokens: Some(5),
            chunks: 5,
            ttft_s: Some(s / 2.0),
            duration_s: s,
            ..Record::default()
        }
    }

    #[test]
    fn equal_sets_are_exact() {
        let c = compare(
            &[outcome("a", 10), outcome("b", 20), outcome("c", 30)],
            &[record("b", 19), record("c", 30), record("a", 10)],
        );
        assert!(c.exact(), "{c}");
        assert!(c.duration.within(0.001, 0.03) && (c.duration.p95_s - 0.001).abs() < 1e-9, "{c}");
    }

    #[test]
    fn missing_extra_and_different_are_told_apart() {
        let mut wrong = record("b", 20);
        wrong.output_tokens = Some(6);
        let records = [record("a", 10), record("a", 10), wrong, record("d", 1)];
        let c = compare(&[outcome("a", 10), outcome("b", 20), outcome("c", 30)], &records);
        assert_eq!(c.missing, ["c"]);
        assert_eq!(c.extra, ["a", "d"]);
        assert_eq!(c.mismatches, ["b: output_tokens: Some(5) != Some(6)"]);
        assert!(!c.exact());
    }
}
