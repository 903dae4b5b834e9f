//! Service names: from the operator's rules, else the systemd unit, else `<engine>-<model or port>`. A name is unique among living services
//! and stays with its process; the same servers started in the same order get the same names again.

use std::collections::HashMap;
use std::path::Path;

use super::command::base_name;
use super::process::Process;
use super::rules::{NameRule, Subject};
use super::unit;

/// The names in use, by pid and start.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashMap<(u32, u64), Name>,
}

/// A service's name, and what it was before it was made unique: that does not depend on what else runs on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub unique: String,
    pub wanted: String,
}

/// Longest name, so that it fits a label of Kubernetes too.
const MAX_BYTES: usize = 63;

impl Names {
    /// The process's name; made at the first call and kept.
    pub(super) fn of(&mut self, process: &Process, rules: &[NameRule], subject: &Subject<'_>) -> Name {
        let key = (process.pid, process.start_ticks);
        if let Some(name) = self.taken.get(&key) {
            return name.clone();
        }
        let wanted = match rules.iter().find(|rule| rule.fits(subject)) {
            Some(rule) => clean(&rule.name),
            None => default_name(process, subject),
        };
        let name = Name { unique: self.unique(&wanted, subject.ports.first().copied()), wanted };
        self.taken.insert(key, name.clone());
        name
    }

    /// Frees the names of processes that have ended.
    pub fn prune(&mut self, proc_root: &Path) {
        self.taken.retain(|(pid, start), _| {
            super::process::stat(proc_root, *pid).is_some_and(|stat| stat.start_ticks == *start)
        });
    }

    fn unique(&self, wanted: &str, port: Option<u16>) -> String {
        let is_free = |name: &String| !self.taken.values().any(|taken| taken.unique == *name);
        let with_port = port.map(|port| with_suffix(wanted, &port.to_string()));
        let numbered = (2..).map(|n: u32| with_suffix(wanted, &n.to_string()));
        let mut candidates = std::iter::once(wanted.to_owned()).chain(with_port).chain(numbered);
        candidates.find(is_free).expect("the numbers do not end before the names do")
    }
}

fn default_name(process: &Process, subject: &Subject<'_>) -> String {
    if let Some(unit) = own_unit(process) {
        return clean(unit);
    }
    let known = subject.engine != super::UNKNOWN_ENGINE;
    let program = if known { subject.engine } else { program_name(process) };
    let what = match (subject.own_model.filter(|_| known), subject.ports.first()) {
        (Some(model), _) => base_name(model).to_owned(),
        (None, Some(port)) => port.to_string(),
        (None, None) => process.pid.to_string(),
    };
    clean(&format!("{program}-{what}"))
}

/// The unit that the system's manager started this very process for.
fn own_unit(process: &Process) -> Option<&str> {
    let started = process.ppid == 1 && process.container.is_none();
    process.systemd_unit.as_deref().filter(|unit| started && unit::names_a_service(unit))
}

/// What people would call a process that is no known engine.
fn program_name(process: &Process) -> &str {
    let exe = process.exe.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    exe.or(process.argv.first().map(|arg| base_name(arg))).unwrap_or(&process.comm)
}

fn clean(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).take(MAX_BYTES).collect();
    if name.is_empty() { "service".to_owned() } else { name }
}

fn with_suffix(name: &str, suffix: &str) -> String {
    let keep = name.len().min(MAX_BYTES - 1 - suffix.len());
    format!("{}-{suffix}", &name[..keep])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32) -> Process {
        Process {
            pid,
            ppid: 1,
            start_ticks: u64::from(pid),
            comm: "python3".into(),
            exe: Some("/usr/bin/python3".into()),
            exe_deleted: false,
            argv: vec!["python3".into()],
            container: None,
            systemd_unit: None,
        }
    }

    fn name(names: &mut Names, process: &Process, rules: &[NameRule], subject: &Subject<'_>) -> String {
        names.of(process, rules, subject).unique
    }

    #[test]
    fn what_a_name_was_before_does_not_depend_on_the_others() {
        let rules = [NameRule { name: "chat".into(), port: Some(8000), ..Default::default() }];
        let subject =
            |model, ports| Subject { engine: "vllm", model, own_model: model, exe: "/usr/bin/python3", ports };
        let mut names = Names::default();
        for (pid, unique) in [(1, "vllm-Q"), (2, "vllm-Q-9000"), (3, "vllm-Q-2")] {
            let name = names.of(&process(pid), &rules, &subject(Some("a/Q"), &[9000]));
            assert_eq!((name.unique.as_str(), name.wanted.as_str()), (unique, "vllm-Q"));
        }
        for (pid, unique) in [(4, "chat"), (5, "chat-8000")] {
            let name = names.of(&process(pid), &rules, &subject(None, &[8000]));
            assert_eq!((name.unique.as_str(), name.wanted.as_str()), (unique, "chat"));
        }
    }

    #[test]
    fn names_are_unique_and_stay() {
        let mut names = Names::default();
        let subject =
            |model, ports| Subject { engine: "vllm", model, own_model: model, exe: "/usr/bin/python3", ports };
        assert_eq!(name(&mut names, &process(1), &[], &subject(Some("Qwen/Qwen3-8B"), &[8000])), "vllm-Qwen3-8B");
        assert_eq!(name(&mut names, &process(2), &[], &subject(Some("Qwen/Qwen3-8B"), &[8001])), "vllm-Qwen3-8B-8001");
        assert_eq!(name(&mut names, &process(3), &[], &subject(Some("Qwen/Qwen3-8B"), &[8001])), "vllm-Qwen3-8B-2");
        assert_eq!(name(&mut names, &process(4), &[], &subject(None, &[8002])), "vllm-8002");
        assert_eq!(name(&mut names, &process(5), &[], &subject(None, &[])), "vllm-5");
        // A model that becomes known later does not rename the service.
        assert_eq!(name(&mut names, &process(4), &[], &subject(Some("m"), &[8002])), "vllm-8002");
        // The fixture root has no processes: every name is free again.
        names.prune(Path::new("/nonexistent"));
        assert_eq!(name(&mut names, &process(6), &[], &subject(Some("Qwen/Qwen3-8B"), &[8000])), "vllm-Qwen3-8B");
    }

    #[test]
    fn rules_name_services() {
        let rules = [
            NameRule {
                name: "chat eu".into(),
                engine: Some("vllm".into()),
                model: Some("*Qwen*".into()),
                ..Default::default()
            },
            NameRule { name: "other".into(), port: Some(9000), ..Default::default() },
        ];
        let mut names = Names::default();
        let subject = |engine, model, ports| Subject { engine, model, own_model: model, exe: "/x", ports };
        assert_eq!(name(&mut names, &process(1), &rules, &subject("vllm", Some("a/Qwen3"), &[1])), "chat-eu");
        assert_eq!(name(&mut names, &process(2), &rules, &subject("vllm", None, &[8, 9000])), "other");
        assert_eq!(name(&mut names, &process(3), &rules, &subject("unknown", None, &[8080])), "python3-8080");
        assert_eq!(name(&mut names, &process(4), &rules, &subject("unknown", Some("m"), &[])), "python3-4");
    }

    #[test]
    fn a_unit_of_the_systems_manager_names_its_service() {
        let of_unit = |pid, ppid, unit: &str| Process { ppid, systemd_unit: Some(unit.into()), ..process(pid) };
        let subject = Subject { engine: "vllm", model: None, own_model: None, exe: "/x", ports: &[8000] };
        let rules = [NameRule { name: "chat".into(), port: Some(8000), ..Default::default() }];
        let mut names = Names::default();
        assert_eq!(name(&mut names, &of_unit(1, 1, "vllm@a"), &[], &subject), "vllm-a");
        assert_eq!(name(&mut names, &of_unit(2, 1, "qwen"), &rules, &subject), "chat", "the rules win");
        assert_eq!(name(&mut names, &of_unit(3, 7, "qwen"), &[], &subject), "vllm-8000", "somebody in it started it");
        assert_eq!(name(&mut names, &of_unit(4, 1, "sshd"), &[], &subject), "vllm-8000-8000");
    }

    #[test]
    fn long_and_odd_names_are_cut() {
        assert_eq!(clean("").as_str(), "service");
        assert_eq!(clean("a/b c\u{fc}"), "a-b-c-");
        let long = clean(&"x".repeat(200));
        assert_eq!(long.len(), MAX_BYTES);
        assert_eq!(with_suffix(&long, "8000").len(), MAX_BYTES);
    }
}
