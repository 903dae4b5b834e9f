//! What an `attach` says at its end: counts, quantiles, the findings, what was lost and what could not be seen.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, fmt::Write as _};

use super::words::Findings;
use crate::correlate::{HostShare, Request};

/// The requests so far.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) requests: u64,
    errors: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// Chunks that stand for the tokens of responses that do not say them.
    estimated_tokens: u64,
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    duration: Vec<f64>,
    oncpu: f64,
    runqueue: f64,
    findings: Findings,
}

/// Figures kept for quantiles; a longer run keeps the first ones and says so.
const KEPT: usize = 100_000;

impl Summary {
    /// One more.
    pub(super) fn add(&mut self, request: &Request) {
        self.requests += 1;
        self.errors += u64::from(request.error_type.is_some());
        self.input_tokens += request.input_tokens.unwrap_or(0);
        let output = if request.tokens_estimated { &mut self.estimated_tokens } else { &mut self.output_tokens };
        *output += request.output_tokens.unwrap_or(0);
        if self.duration.len() < KEPT {
            self.ttft.extend(request.ttft_s);
            self.tpot.extend(request.tpot_s);
            self.duration.push(request.duration_s);
        }
        if let Some(host) = &request.host.total {
            self.oncpu += host.oncpu_s;
            self.runqueue += host.runqueue_s;
        }
        self.findings.add(request);
    }
}

fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let at = (q * (values.len().checked_sub(1)? as f64)).round() as usize;
    values.get(at).copied()
}

/// A time in words; `-` for none.
pub(super) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(s) if s < 1.0 => format!("{:.1} ms", s * 1e3),
        Some(s) => format!("{s:.2} s"),
    }
}

/// What stands beside the requests in a summary.
#[derive(Default)]
pub(super) struct Beside {
    /// What was lost meanwhile, by place.
    pub(super) lost: Vec<(&'static str, u64)>,
    /// Requests that had not ended when it did.
    pub(super) in_flight: u64,
    /// What the threads did during the whole time.
    pub(super) all: Option<HostShare>,
    pub(super) unseen: Vec<String>,
}

/// As text or as one line of JSON.
pub(super) fn summary_text(summary: &mut Summary, beside: &Beside, json: bool) -> String {
    let Beside { lost, in_flight, all, unseen } = beside;
    let seen = summary.requests > 0 || *in_flight > 0;
    let (ttft50, ttft95) = (quantile(&mut summary.ttft, 0.5), quantile(&mut summary.ttft, 0.95));
    let tpot50 = quantile(&mut summary.tpot, 0.5);
    let (d50, d95) = (quantile(&mut summary.duration, 0.5), quantile(&mut summary.duration, 0.95));
    if json {
        let value = serde_json::json!({ "summary": {
            "requests": summary.requests, "errors": summary.errors, "in_flight": in_flight,
            "input_tokens": summary.input_tokens, "output_tokens": summary.output_tokens,
            "output_tokens_estimated": summary.estimated_tokens,
            "ttft_p50_s": ttft50, "ttft_p95_s": ttft95, "tpot_p50_s": tpot50,
            "duration_p50_s": d50, "duration_p95_s": d95,
            "lost": lost.iter().copied().collect::<BTreeMap<_, _>>(),
            "findings": summary.findings.json(all.as_ref(), unseen),
        }});
        return format!("{value}\n");
    }
    let mut text = format!(
        "\n{} requests, {} errors, {} tokens in, {} out{}\n\
         ttft p50 {} p95 {}, tpot p50 {}, duration p50 {} p95 {}\n\
         host during requests (thread time, overlapping requests each count it): on-CPU {}, run queue {}\n",
        summary.requests,
        summary.errors,
        summary.input_tokens,
        summary.output_tokens,
        match summary.estimated_tokens {
            0 => String::new(),
            estimated => format!(" and an estimated {estimated}"),
        },
        seconds(ttft50),
        seconds(ttft95),
        seconds(tpot50),
        seconds(d50),
        seconds(d95),
        seconds(Some(summary.oncpu)),
        seconds(Some(summary.runqueue)),
    );
    // Writing to a String cannot fail.
    match in_flight {
        0 => {}
        1 => text.push_str("1 request had not ended\n"),
        more => _ = writeln!(text, "{more} requests had not ended"),
    }
    if !lost.is_empty() {
        let lost: Vec<String> = lost.iter().map(|(place, count)| format!("{place} {count}")).collect();
        let _ = writeln!(text, "lost, so that figures may be too small: {}", lost.join(", "));
    }
    text.push_str(&summary.findings.text(all.as_ref(), seen, unseen));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::prometheus::RECORDS;

    #[test]
    fn losses_stand_in_both_summaries() {
        let beside = Beside { lost: vec![("ring_payload", 7), (RECORDS, 2)], ..Beside::default() };
        let mut summary = Summary { requests: 3, ..Summary::default() };
        let text = summary_text(&mut summary, &beside, false);
        assert!(text.ends_with("too small: ring_payload 7, records 2\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&summary_text(&mut summary, &beside, true)).unwrap();
        assert_eq!(json["summary"]["lost"], serde_json::json!({ "ring_payload": 7, "records": 2 }));
    }

    #[test]
    fn requests_that_had_not_ended_are_told() {
        for (in_flight, words) in [(1, "\n1 request had not ended\n"), (3, "\n3 requests had not ended\n")] {
            let beside = Beside { in_flight, all: Some(HostShare::default()), ..Beside::default() };
            let text = summary_text(&mut Summary::default(), &beside, false);
            assert!(text.starts_with("\n0 requests, ") && text.contains(words), "{text}");
            assert!(text.contains("no request that it served ended") && !text.contains("were seen"), "{text}");
            let json: serde_json::Value =
                serde_json::from_str(&summary_text(&mut Summary::default(), &beside, true)).unwrap();
            assert_eq!((&json["summary"]["requests"], &json["summary"]["in_flight"]), (&0.into(), &in_flight.into()));
        }
        let all = Some(HostShare::default());
        let text = summary_text(&mut Summary::default(), &Beside { all, ..Beside::default() }, false);
        assert!(text.contains("no requests were seen") && !text.contains("ended"), "{text}");
    }

    #[test]
    fn requests_of_a_caller_were_seen() {
        let mut summary = Summary::default();
        summary.add(&Request { role: "client", operation: Some("chat"), duration_s: 1.0, ..Request::default() });
        let beside = Beside { all: Some(HostShare::default()), ..Beside::default() };
        let text = summary_text(&mut summary, &beside, false);
        assert!(text.starts_with("\n1 requests, ") && !text.contains("no requests were seen"), "{text}");
        assert!(text.contains("no request that it served ended; what its threads did:"), "{text}");
    }

    #[test]
    fn estimated_tokens_stand_apart() {
        let mut summary = Summary::default();
        for (output_tokens, tokens_estimated) in [(Some(5), false), (Some(7), true), (None, false)] {
            summary.add(&Request { output_tokens, tokens_estimated, ..Request::default() });
        }
        let text = summary_text(&mut summary, &Beside::default(), false);
        assert!(text.contains("0 tokens in, 5 out and an estimated 7\n"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&summary_text(&mut summary, &Beside::default(), true)).unwrap();
        let summary = &json["summary"];
        assert_eq!((&summary["output_tokens"], &summary["output_tokens_estimated"]), (&5.into(), &7.into()));
    }

    #[test]
    fn without_losses_there_is_no_word_of_them() {
        let text = summary_text(&mut Summary::default(), &Beside::default(), false);
        assert!(!text.contains("lost") && text.ends_with("run queue 0.0 ms\n"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&summary_text(&mut Summary::default(), &Beside::default(), true)).unwrap();
        assert_eq!(json["summary"]["lost"], serde_json::json!({}));
    }
}
