//! What was found, in words: the verdict, where the time went, what to try, and what could not be seen.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::correlate::{CAUSE_NAMES, CAUSES, Causes, HostShare, Request, VERDICT_NAMES, VERDICTS, Verdict};

/// Contributors that are named.
const NAMED: usize = 5;
/// A smaller part of the time is not worth a line.
const SMALL: f64 = 0.005;

/// The findings of all requests, added up.
#[derive(Debug, Default)]
pub struct Findings {
    total: Causes,
    /// Seconds of requests by verdict, and the same weighed by confidence.
    verdicts: [f64; VERDICTS],
    sure: [f64; VERDICTS],
    requests: u64,
    /// Duration of requests, and what it would have been, of those of which that is known.
    took_s: f64,
    usual_s: f64,
}

/// What each cause is in words, in the order of [`CAUSE_NAMES`].
const IN_WORDS: [&str; CAUSES] = [
    "working on the CPU",
    "waiting for a CPU that other programs had",
    "waiting for a CPU that the service's own threads had",
    "waiting for the control group's CPU quota",
    "waiting for a lock that another thread held",
    "waiting for a block device",
    "making room in memory",
    "waiting for the client to read",
    "waiting for the network",
    "the GPU at work",
    "waiting for requests that came before",
    "no thread of the service wanted to run",
];

/// What a verdict means and what to try, in the order of [`VERDICT_NAMES`].
const ADVICE: [(&str, &str); VERDICTS] = [
    (
        "the GPU was busy or throttled, and the host was ready",
        "look at its clocks and throttle reasons (temperature, power limit); larger batches, a smaller or quantised model, more GPUs",
    ),
    (
        "the service had more to compute than usual",
        "longer prompts, a larger batch, or a model that runs on the CPU; more threads or cores, or offload to a GPU",
    ),
    (
        "other programs had the CPUs that the service wanted",
        "move them elsewhere, give the service CPUs of its own (cpuset), or a higher cpu.weight",
    ),
    (
        "its control group's CPU quota was used up",
        "raise cpu.max (Kubernetes: limits.cpu, or no limit), or run fewer threads than the quota has CPUs",
    ),
    (
        "its threads waited for a lock, in Python most likely the interpreter's",
        "look at the flame graph for who holds it; move work out of the API server's process, or more API server processes",
    ),
    (
        "it waited for a block device",
        "keep the model in memory (mlock, a page cache that is large enough), a faster device, no swap",
    ),
    (
        "the kernel had to make room in memory for it",
        "raise memory.high and memory.max (Kubernetes: limits.memory), or make the model, cache or batch smaller",
    ),
    (
        "the way to its clients was slow or lost packets",
        "look at the retransmissions and round-trip times of the connections; the client saw more delay than the server",
    ),
    (
        "its clients did not read as fast as it wrote",
        "look at the clients and what stands between (a proxy that buffers, a slow reader)",
    ),
    (
        "requests waited for others to be done",
        "fewer requests at a time, a larger batch (max-num-seqs, --parallel), or another replica",
    ),
    (
        "nothing of the host made it slow",
        "if it is slow all the same, the model, the batch and the prompts are what to look at",
    ),
    (
        "requests were slow for no reason that shows",
        "record a timeline with stacks (--out FILE) and look at what its threads did",
    ),
];

impl Findings {
    /// Adds a finished request.
    pub fn add(&mut self, request: &Request) {
        let finding = &request.finding;
        let Some(verdict) = finding.verdict else { return };
        self.requests += 1;
        self.verdicts[verdict as usize] += request.duration_s;
        self.sure[verdict as usize] += request.duration_s * finding.verdict_confidence.unwrap_or(0.0);
        if let Some(causes) = &finding.causes.total {
            self.total = self.total.plus(causes);
        }
        if let Some(slowdown) = finding.slowdown.filter(|slowdown| *slowdown > 0.0) {
            self.took_s += request.duration_s;
            self.usual_s += request.duration_s / slowdown;
        }
    }

    /// The verdict of most of the time, its part of it, and how sure it is.
    fn verdict(&self) -> Option<(usize, f64, f64)> {
        let all: f64 = self.verdicts.iter().sum();
        let (at, seconds) = self.verdicts.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
        (*seconds > 0.0).then(|| (at, seconds / all, self.sure[at] / seconds))
    }

    /// What to try: nothing where nothing of the host is wrong, unless requests are slow all the same.
    fn to_try(&self) -> Option<&'static str> {
        let (at, ..) = self.verdict()?;
        let slow = self.usual_s > 0.0 && self.took_s > 1.15 * self.usual_s;
        (at != Verdict::HostOk as usize || slow).then_some(ADVICE[at].1)
    }

    fn contributors(causes: &Causes) -> Vec<(usize, f64)> {
        let sum = causes.sum();
        let mut parts: Vec<(usize, f64)> = causes.0.iter().map(|seconds| seconds / sum.max(1e-9)).enumerate().collect();
        parts.retain(|(_, part)| *part >= SMALL);
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        parts.truncate(NAMED);
        parts
    }

    /// Lines for a terminal. `all`: what the threads did during the whole time; `seen`: there were requests, though none may
    /// have a finding: those in flight have none, nor have those that a process sends to others; `unseen`: what could not
    /// be seen.
    pub fn text(&self, all: Option<&HostShare>, seen: bool, unseen: &[String]) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        if let Some((at, part, sure)) = self.verdict() {
            let (means, _) = ADVICE[at];
            let _ = writeln!(
                text,
                "\nverdict: {} ({:.0} % of the requests' time, confidence {:.0} %): {means}",
                VERDICT_NAMES[at],
                part * 100.0,
                sure * 100.0
            );
            if self.usual_s > 0.0 {
                let _ = writeln!(
                    text,
                    "requests took {:.2} times what they take when nothing is wrong",
                    self.took_s / self.usual_s
                );
            }
            let others = self.verdicts.iter().enumerate().filter(|(other, seconds)| *other != at && **seconds > 0.0);
            let sum: f64 = self.verdicts.iter().sum();
            let others: Vec<String> = others
                .map(|(other, seconds)| format!("{} {:.0} %", VERDICT_NAMES[other], seconds / sum * 100.0))
                .collect();
            if !others.is_empty() {
                let _ = writeln!(text, "beside it: {}", others.join(", "));
            }
            parts(&mut text, "where the requests' time went:", &self.total);
            if let Some(advice) = self.to_try() {
                let _ = writeln!(text, "to try: {advice}");
            }
        } else if let Some(all) = all {
            let none = if seen { "no request that it served ended" } else { "no requests were seen" };
            parts(&mut text, &format!("{none}; what its threads did:"), &Causes::of_host(all));
        }
        if !unseen.is_empty() {
            let _ = writeln!(text, "not seen: {}", unseen.join("; "));
        }
        text
    }

    /// The same for programs.
    pub fn json(&self, all: Option<&HostShare>, unseen: &[String]) -> Value {
        let verdict = self.verdict();
        let causes = if self.requests > 0 { Some(self.total) } else { all.map(Causes::of_host) };
        let contributors = causes.iter().flat_map(Self::contributors);
        let sum: f64 = self.verdicts.iter().sum();
        let share =
            |(name, seconds): (&&str, &f64)| (*seconds > 0.0).then(|| ((*name).to_owned(), json!(seconds / sum)));
        let shares: serde_json::Map<String, Value> =
            VERDICT_NAMES.iter().zip(&self.verdicts).filter_map(share).collect();
        json!({
            "verdict": verdict.map(|(at, ..)| VERDICT_NAMES[at]),
            "confidence": verdict.map(|(.., sure)| sure),
            "verdicts": shares,
            "slowdown": (self.usual_s > 0.0).then(|| self.took_s / self.usual_s),
            "contributors": contributors.map(|(at, part)| json!({ "cause": CAUSE_NAMES[at], "share": part })).collect::<Vec<_>>(),
            "to_try": self.to_try(),
            "not_seen": unseen,
        })
    }
}

fn parts(text: &mut String, what: &str, causes: &Causes) {
    let _ = writeln!(text, "{what}");
    for (at, part) in Findings::contributors(causes) {
        let _ = writeln!(text, "  {:>5.1} %  {:<13} {}", part * 100.0, CAUSE_NAMES[at], IN_WORDS[at]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::{Cause, Finding, PhaseCauses};

    fn request(verdict: Verdict, duration_s: f64, slowdown: Option<f64>) -> Request {
        let mut causes = Causes::default();
        causes.0[Cause::OnCpu as usize] = duration_s * 0.3;
        causes.0[Cause::RunQueue as usize] = duration_s * 0.7;
        let total = Some(causes);
        let causes = PhaseCauses { total, ..PhaseCauses::default() };
        let finding = Finding { verdict: Some(verdict), verdict_confidence: Some(0.8), slowdown, causes };
        Request { duration_s, finding, ..Request::default() }
    }

    #[test]
    fn most_of_the_time_gives_the_verdict() {
        let mut findings = Findings::default();
        findings.add(&request(Verdict::CpuContention, 3.0, Some(3.0)));
        findings.add(&request(Verdict::HostOk, 1.0, Some(1.0)));
        let text = findings.text(None, true, &["the GPU: no NVML".to_owned()]);
        assert!(text.contains("verdict: cpu_contention (75 % of the requests' time, confidence 80 %)"), "{text}");
        assert!(text.contains("took 2.00 times") && text.contains("beside it: host_ok 25 %"), "{text}");
        assert!(text.contains("   70.0 %  run_queue ") && text.contains("to try: move them"), "{text}");
        assert!(text.ends_with("not seen: the GPU: no NVML\n"), "{text}");
        let json = findings.json(None, &[]);
        assert_eq!(
            (json["verdict"].as_str(), json["contributors"][0]["cause"].as_str()),
            (Some("cpu_contention"), Some("run_queue"))
        );
        assert_eq!(json["slowdown"], 2.0);
    }

    #[test]
    fn a_host_that_is_all_right_needs_no_advice() {
        let mut findings = Findings::default();
        findings.add(&request(Verdict::HostOk, 1.0, Some(1.0)));
        let text = findings.text(None, true, &[]);
        assert!(text.contains("verdict: host_ok") && !text.contains("to try"), "{text}");
        assert_eq!(findings.json(None, &[])["to_try"], Value::Null);
    }

    #[test]
    fn advice_is_the_same_for_programs() {
        for (verdict, words) in [(Verdict::HostOk, "the model, the batch"), (Verdict::LockBound, "the flame graph")] {
            let mut findings = Findings::default();
            findings.add(&request(verdict, 2.0, Some(2.0)));
            let advice = findings.json(None, &[])["to_try"].as_str().unwrap().to_owned();
            assert!(advice.contains(words), "{advice}");
            assert!(findings.text(None, true, &[]).contains(&format!("\nto try: {advice}\n")));
        }
    }

    #[test]
    fn without_requests_the_threads_are_what_is_told() {
        let host = HostShare { wall_s: 10.0, oncpu_s: 4.0, runqueue_s: 1.0, ..HostShare::default() };
        let text = Findings::default().text(Some(&host), false, &[]);
        assert!(text.contains("no requests were seen") && text.contains(" 40.0 %  on_cpu "), "{text}");
        assert_eq!(Findings::default().json(Some(&host), &[])["verdict"], Value::Null);
        assert_eq!(Findings::default().text(None, false, &[]), "");
    }
}
