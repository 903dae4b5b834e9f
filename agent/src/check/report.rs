//! The report of `inferscope check`: findings, their rendering in words and as JSON, and the exit code.
//!
//! JSON: `{"version", "can_run", "findings": [{"name", "status": "ok|degraded|missing", "required", "detail",
//! "next_step"}], "probes": [{"probe", "program", "required", "hook", "error", "gives"}]}`; `next_step`, `hook` and
//! `error` can be null. Keys are only ever added.

use std::io::{self, Write};

use serde::Serialize;

use crate::probe::ProbeReport;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// Works in part; `detail` says what is lost.
    Degraded,
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub name: String,
    pub status: Status,
    /// The main job cannot run while this is missing.
    pub required: bool,
    pub detail: String,
    /// What the operator can do about it.
    pub next_step: Option<String>,
}

/// All findings, in order of reading.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    /// Nothing that is required is missing.
    pub can_run: bool,
    pub findings: Vec<Finding>,
    pub probes: Vec<ProbeReport>,
}

impl Finding {
    /// Something that works.
    pub fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Finding { name: name.into(), status: Status::Ok, required: false, detail: detail.into(), next_step: None }
    }

    /// Something that works in part.
    pub fn degraded(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Finding { status: Status::Degraded, ..Self::ok(name, detail) }
    }

    /// Something that does not work.
    pub fn missing(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Finding { status: Status::Missing, ..Self::ok(name, detail) }
    }

    /// Marks it as needed for the main job.
    pub fn required(self) -> Self {
        Finding { required: true, ..self }
    }

    /// Says what to do.
    pub fn next(self, step: impl Into<String>) -> Self {
        Finding { next_step: Some(step.into()), ..self }
    }

    /// Whether the main job cannot run because of this.
    pub fn blocks(&self) -> bool {
        self.required && self.status == Status::Missing
    }
}

impl Report {
    /// Puts the findings together with the probes that `--json` lists.
    pub fn new(findings: Vec<Finding>, probes: &[ProbeReport]) -> Self {
        let can_run = !findings.iter().any(Finding::blocks);
        Report { version: env!("CARGO_PKG_VERSION"), can_run, findings, probes: probes.to_vec() }
    }

    /// 0 if the main job can run, else 1.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.can_run)
    }

    /// One line per finding, what to do below it, and a sentence at the end.
    pub fn write_words(&self, out: &mut impl Write) -> io::Result<()> {
        let width = self.findings.iter().map(|finding| finding.name.len()).max().unwrap_or_default();
        for finding in &self.findings {
            let status = match finding.status {
                Status::Ok => "ok",
                Status::Degraded => "degraded",
                Status::Missing if finding.required => "MISSING",
                Status::Missing => "missing",
            };
            writeln!(out, "{status:<9} {:<width$}  {}", finding.name, finding.detail)?;
            if let Some(step) = &finding.next_step {
                writeln!(out, "{:<9} {:<width$}  -> {step}", "", "")?;
            }
        }
        let blocking: Vec<&str> = self.findings.iter().filter(|f| f.blocks()).map(|f| f.name.as_str()).collect();
        match blocking.as_slice() {
            [] => writeln!(out, "\ninferscope {} can watch this host: `inferscope run`", self.version),
            names => {
                writeln!(out, "\ninferscope {} cannot watch this host; missing: {}", self.version, names.join(", "))
            }
        }
    }

    /// The report as one JSON object, indented.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let findings = vec![
            Finding::ok("kernel", "6.12").required(),
            Finding::missing("btf", "no file").required().next("pass --btf FILE"),
            Finding::degraded("cgroup", "version 1"),
        ];
        Report::new(findings, &[])
    }

    #[test]
    fn words_name_what_blocks() {
        let mut text = Vec::new();
        report().write_words(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("ok        kernel  6.12\nMISSING   btf     no file\n"), "{text}");
        assert!(
            text.contains("-> pass --btf FILE\n") && text.contains("cannot watch this host; missing: btf"),
            "{text}"
        );
        assert_eq!(report().exit_code(), 1);
        assert_eq!(Report::new(vec![Finding::missing("nvml", "none")], &[]).exit_code(), 0);
    }

    #[test]
    fn json_has_the_documented_keys() {
        let mut text = Vec::new();
        report().write_json(&mut text).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(json["can_run"], false);
        assert_eq!(json["findings"][1]["status"], "missing");
        assert_eq!(json["findings"][1]["next_step"], "pass --btf FILE");
        assert_eq!(json["findings"][0]["next_step"], serde_json::Value::Null);
        assert!(json["probes"].as_array().is_some_and(Vec::is_empty));
    }
}
