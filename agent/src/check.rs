//! `inferscope check`: what works on this host, what does not, why, and what to do about it. Changes nothing.
//! The host's side is read here; the probes' and the GPU library's results are handed in by whoever tried them.
#![forbid(unsafe_code)]

mod host;
mod kubernetes;
mod privilege;
mod report;

use crate::{config::Config, custom::Rules, export::http, probe::ProbeReport, webconfig::Current};

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
    /// Whom the agent would serve.
    pub served: Finding,
    /// Metrics of the configuration that are made of probes.
    pub custom: Vec<Finding>,
    /// What the cluster answers, if this is a pod.
    pub pod: Pod,
}

/// Whom an agent with this configuration would serve.
pub fn served(config: &Config) -> Finding {
    const NAME: &str = "served";
    let (address, file) = (config.listen, config.web.config_file.as_deref());
    let rules = match Current::open(file) {
        Ok(current) => current.rules(),
        // The agent would not start, and kernel programs have no part in it.
        Err(error) => {
            return Finding::missing(NAME, error.to_string()).required().next("put the web configuration right");
        }
    };
    let exposed = http::exposure(address, &rules);
    let scheme = if rules.tls.is_some() { "https" } else { "http" };
    match exposed {
        None if address.ip().is_loopback() => {
            Finding::ok(NAME, format!("{scheme}://{address}, which only this host reaches"))
        }
        None => Finding::ok(NAME, format!("{scheme}://{address}, to those only whom {} lets in", shown(file))),
        Some(exposed) => Finding::degraded(NAME, format!("{scheme}://{address}, {exposed}"))
            .next("let a web configuration say who may ask (--web-config FILE), or let a firewall"),
    }
}

/// What of the configuration's metrics of probes this host has.
pub fn custom(config: &Config) -> Vec<Finding> {
    let Ok(rules) = Rules::new(&config.metrics.custom) else { return Vec::new() };
    let troubles = rules.probes().troubles();
    let finding = |name: &str| {
        let title = format!("metric {name}");
        match troubles.iter().find(|trouble| trouble.metric == name) {
            None => Finding::ok(title, "what it is made of is there, or comes with a watched process"),
            Some(trouble) => Finding::missing(title, format!("not counted: {}", trouble.reason))
                .next("put `from`, `value` and `labels` of it right; the rest runs without it"),
        }
    };
    rules.probes().names().map(finding).collect()
}

fn shown(file: Option<&std::path::Path>) -> String {
    file.map(|file| file.display().to_string()).unwrap_or_default()
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
    findings.push(tried.served.clone());
    findings.extend(tried.custom.iter().cloned());
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
        let served = served(&Config::default());
        check(
            &Host::empty_for_tests(),
            &Tried { probes, nvml: Err("no library".to_owned()), served, custom: Vec::new(), pod: Pod::No },
        )
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
    fn who_serves_everyone_is_told() {
        let at = |listen: &str| served(&Config { listen: listen.parse().unwrap(), ..Config::default() });
        assert_eq!(at("127.0.0.1:9770").status, Status::Ok);
        assert_eq!(at("[::1]:9770").status, Status::Ok);
        let open = at("[::]:9770");
        assert_eq!(open.status, Status::Degraded);
        assert!(open.detail.contains("without TLS and without credentials"), "{}", open.detail);
        let mut config = Config { listen: "0.0.0.0:9770".parse().unwrap(), ..Config::default() };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("web.yml");
        std::fs::write(&file, format!("bearer_token_hashes: ['{}']\n", "0f".repeat(32))).unwrap();
        config.web.config_file = Some(file.clone());
        assert!(served(&config).detail.contains("pass in clear text"), "{}", served(&config).detail);
        std::fs::write(&file, "bearer_tokn_file: x\n").unwrap();
        let wrong = served(&config);
        assert!(
            wrong.blocks() && wrong.detail.contains("web.yml:1: unknown key `bearer_tokn_file`"),
            "{}",
            wrong.detail
        );
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
