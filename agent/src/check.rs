//! `inferscope check`: what works on this host, what does not, why, and what to do about it. Changes nothing.
//! The host's side is read here; the probes' and the GPU library's results are handed in by whoever tried them.
#![forbid(unsafe_code)]

mod host;
mod kubernetes;
mod privilege;
mod report;

use crate::probe::ProbeReport;

pub use host::Host;
pub use kubernetes::Pod;
pub use privilege::Privilege;
pub use report::{Finding, Report, Status};

/// What others found out: nothing here loads a program or a library.
#[derive(Debug)]
pub struct Tried {
    /// Every program with its hook, or why none could be loaded at all.
    pub probes: Result<Vec<ProbeReport>, String>,
    /// What the GPU library says of itself (driver, number of GPUs), or why there is none.
    pub nvml: Result<String, String>,
    /// What the cluster answers, if this is a pod.
    pub pod: Pod,
}

/// Why the kernel loads nothing here and what to do about it, as far as the host tells.
pub fn obstacle(host: &Host) -> Option<String> {
    let finding = host.findings().into_iter().find(Finding::blocks)?;
    Some(format!("{}; {}", finding.detail, finding.next_step.unwrap_or_default()))
}

/// Looks at the host and puts everything into one report.
pub fn check(host: &Host, tried: &Tried) -> Report {
    let mut findings = host.findings();
    match &tried.probes {
        Ok(probes) => findings.extend(probes.iter().map(probe)),
        Err(reason) => findings.push(
            Finding::missing("kernel programs", reason.as_str())
                .required()
                .next("first see to the required findings above; then run this again as root"),
        ),
    }
    findings.push(match &tried.nvml {
        Ok(detail) => Finding::ok("nvml", detail.as_str()),
        Err(reason) => Finding::missing("nvml", format!("no GPU figures: {reason}")).next(
            "on a host without NVIDIA GPUs there is nothing to do; else pass --nvml-lib PATH to `inferscope run`",
        ),
    });
    findings.extend(tried.pod.findings());
    Report::new(findings, tried.probes.as_deref().unwrap_or_default())
}

fn probe(report: &ProbeReport) -> Finding {
    let name = format!("probe {}/{}", report.probe, report.program);
    let finding = match (&report.hook, &report.error) {
        (Some(hook), None) => Finding::ok(name, hook.as_str()),
        (Some(hook), Some(error)) => Finding::ok(name, format!("{hook}, second choice: {error}")),
        (None, error) => {
            let reason = error.as_deref().unwrap_or("no reason given");
            Finding::missing(name, format!("no {}: {reason}", report.gives))
                .next("if the privileges above are fine, this kernel refuses the hook: the rest runs without it")
        }
    };
    if report.required { finding.required() } else { finding }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(probe: &'static str, required: bool, hook: Option<&str>) -> ProbeReport {
        let error = hook.is_none().then(|| "Operation not permitted".to_owned());
        ProbeReport { probe, program: probe, required, hook: hook.map(str::to_owned), error, gives: "times" }
    }

    fn check_with(probes: Result<Vec<ProbeReport>, String>) -> Report {
        check(&Host::empty_for_tests(), &Tried { probes, nvml: Err("no library".to_owned()), pod: Pod::No })
    }

    #[test]
    fn only_what_is_required_decides() {
        let can_run = |probes| {
            let report = check_with(probes);
            report
                .findings
                .iter()
                .filter(|f| f.name.starts_with("probe") || f.name == "kernel programs")
                .all(|f| !f.blocks())
        };
        assert!(can_run(Ok(vec![report("syscall", true, Some("raw_tp:sys_enter")), report("block", false, None)])));
        assert!(!can_run(Ok(vec![report("syscall", true, None)])));
        assert!(!can_run(Err("not root".to_owned())));
    }

    #[test]
    fn a_second_choice_is_no_loss() {
        let mut second = report("sched", false, Some("raw_tp:sched_switch"));
        second.error = Some("tp_btf refused".to_owned());
        let report = check_with(Ok(vec![second]));
        let finding = report.findings.iter().find(|f| f.name.starts_with("probe")).unwrap();
        assert_eq!(finding.status, Status::Ok);
        assert!(finding.detail.contains("raw_tp:sched_switch, second choice: tp_btf refused"));
    }
}
