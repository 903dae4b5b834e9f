//! The rules of deploy/prometheus against the agent they are written for: every metric and label is one that it
//! exports, every alert has a runbook, and a case in which it fires and one in which it does not.
//! That the cases come true is for promtool to say: `cargo xtask test`.

#![allow(clippy::unwrap_used)]

mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use agent::export::metrics::METRICS;
use promql::{Asked, files, labels_of, project, read, series};
use serde::Deserialize;

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    alert_rule_test: Vec<AlertCase>,
}

#[derive(Deserialize)]
struct AlertCase {
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Deserialize)]
struct ExpectedAlert {
    exp_labels: BTreeMap<String, String>,
}

fn rules() -> Vec<Rule> {
    let groups = files("deploy/prometheus", ".rules.yaml").into_iter().flat_map(|path| read::<RuleFile>(&path).groups);
    groups.flat_map(|group| group.rules).collect()
}

#[test]
fn rules_ask_for_what_the_agent_exports() {
    let rules = rules();
    let recorded: BTreeSet<&String> = rules.iter().filter_map(|rule| rule.record.as_ref()).collect();
    let series = series();
    let known: BTreeSet<&str> = (METRICS.iter().flat_map(|metric| metric.labels.iter().copied()))
        .chain(["instance", "job", "namespace", "pod", "container", "le", "service_group"])
        .chain(rules.iter().flat_map(|rule| rule.labels.keys().map(String::as_str)))
        .collect();
    for rule in &rules {
        let asked = Asked::by(&rule.expr);
        for (name, matchers) in &asked.selectors {
            assert!(recorded.contains(name) || series.contains(name), "nothing is called {name}: {}", rule.expr);
            for label in matchers.matchers.iter().filter(|_| !recorded.contains(name)) {
                assert!(labels_of(name).contains(label.name.as_str()), "{name} has no label {}", label.name);
            }
        }
        for label in &asked.grouping {
            assert!(known.contains(label.as_str()), "no label {label}: {}", rule.expr);
        }
    }
}

#[test]
fn a_bucket_that_is_asked_for_is_one() {
    for rule in rules() {
        for (name, matchers) in Asked::by(&rule.expr).selectors {
            let Some(family) = name.strip_suffix("_bucket") else { continue };
            let buckets = METRICS.iter().find(|metric| metric.name == family).unwrap().buckets;
            for edge in matchers.matchers.iter().filter(|matcher| matcher.name == "le") {
                // Prometheus 3 writes 1 as 1.0.
                let first = edge.value.split('|').next().unwrap();
                assert!(buckets.contains(&first.parse().unwrap()), "{family} has no edge {first}");
            }
        }
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let mut alerts = BTreeSet::new();
    for rule in rules().iter().filter(|rule| rule.alert.is_some()) {
        let name = rule.alert.clone().unwrap();
        assert!(["page", "ticket", "info"].contains(&rule.labels["severity"].as_str()), "{name}");
        assert!(rule.annotations["runbook_url"].ends_with(&format!("/docs/runbooks/{name}.md")), "{name}");
        assert!(["summary", "description"].iter().all(|key| rule.annotations.contains_key(*key)), "{name}");
        alerts.insert(name);
    }
    let pages =
        files("docs/runbooks", ".md").into_iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    assert_eq!(pages.filter(|page| page != "README").collect::<BTreeSet<_>>(), alerts);
    for list in ["docs/runbooks/README.md", "deploy/prometheus/README.md"] {
        let text = fs::read_to_string(project().join(list)).unwrap();
        for alert in &alerts {
            assert!(text.contains(&format!("[{alert}]")), "{list} leaves out {alert}");
        }
    }
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let mut fires: BTreeSet<(String, Option<String>, Option<String>)> = BTreeSet::new();
    let mut silent = BTreeSet::new();
    for path in files("deploy/prometheus/tests", ".test.yaml") {
        for case in read::<TestFile>(&path).tests.into_iter().flat_map(|test| test.alert_rule_test) {
            if case.exp_alerts.is_empty() {
                silent.insert(case.alertname.clone());
            }
            for alert in case.exp_alerts {
                let label = |name: &str| alert.exp_labels.get(name).cloned();
                fires.insert((case.alertname.clone(), label("severity"), label("window")));
            }
        }
    }
    for rule in rules().iter().filter(|rule| rule.alert.is_some()) {
        let name = rule.alert.clone().unwrap();
        let label = |name: &str| rule.labels.get(name).cloned();
        assert!(silent.contains(&name), "{name} has no case in which it does not fire");
        let fired = (name, label("severity"), label("window"));
        assert!(fires.contains(&fired), "{fired:?} fires in no case");
    }
}

#[test]
fn names_of_groups_are_unique() {
    let mut seen = BTreeSet::new();
    for path in files("deploy/prometheus", ".rules.yaml") {
        for group in read::<RuleFile>(&path).groups {
            assert!(seen.insert(group.name.clone()), "{} stands twice", group.name);
        }
    }
}
