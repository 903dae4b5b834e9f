//! The dashboards of deploy/grafana against the agent they are written for: every query parses and asks for metrics and
//! labels that exist, every metric is shown, and each dashboard is whole in itself.
//! That the queries give something is for a real Prometheus to say, and what they give in the cases of
//! deploy/grafana/tests for promtool: `cargo xtask test`.

#![allow(clippy::unwrap_used)]

mod promql;

use std::collections::{BTreeMap, BTreeSet};

use agent::export::metrics::METRICS;
use promql::{Asked, files, labels_of, read, series};
use promql_parser::label::{MatchOp, Matchers};
use serde::Deserialize;

/// Metrics that no panel shows, each with the reason.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("inferscope_gpu_container_info", "only in a cluster, where the test of the panels does not run"),
    ("inferscope_kubernetes_up", "only in a cluster"),
    ("inferscope_kubernetes_pods", "only in a cluster"),
    ("inferscope_kubernetes_errors_total", "only in a cluster"),
    ("inferscope_web_config_reloads_total", "only with a web configuration, which the agent of that test has not"),
    ("inferscope_web_config_stale", "only with a web configuration; an alert tells"),
    ("inferscope_web_certificate_expires_timestamp_seconds", "only with TLS; an alert tells"),
    ("inferscope_web_certificate_begins_timestamp_seconds", "only with TLS; an alert tells"),
    ("inferscope_hops_total", "only where a server asks a process of its own, as Ollama its runner"),
    ("inferscope_changes_total", "charts are marked with the instant of each change, not with their number"),
];

/// Label values that queries may name; the exporters have them in their code.
const VALUES: &[(&str, &[&str])] = &[
    ("phase", &["prefill", "decode", "whole"]),
    ("task", &["general"]),
    // Of the host, and of the agent itself.
    ("service", &[""]),
    ("unit", &["sm"]),
    ("gen_ai_token_type", &["input", "output"]),
    ("reason", &["gpu_idle"]),
    // None, and one that the rules treat apart.
    ("error_type", &["", "|cancelled"]),
    ("alertname", &["Inferscope.*"]),
    ("alertstate", &["firing"]),
    ("window", &["5m", "30m", "1h", "2h", "6h", "1d", "3d"]),
];

/// Prometheus' own series beside `up`.
const OF_PROMETHEUS: [&str; 3] = ["ALERTS", "scrape_duration_seconds", "scrape_samples_scraped"];

const TYPES: [&str; 7] = ["bargauge", "heatmap", "row", "stat", "state-timeline", "table", "timeseries"];

/// Grafana's ids of units.
const UNITS: [&str; 13] =
    ["Bps", "bytes", "celsius", "hertz", "iops", "joule", "none", "ops", "percentunit", "reqps", "s", "short", "watt"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dashboard {
    uid: String,
    title: String,
    description: String,
    tags: Vec<String>,
    schema_version: u32,
    templating: Templating,
    annotations: Option<Annotations>,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
struct Annotations {
    list: Vec<Annotation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotation {
    name: String,
    expr: String,
    datasource: Source,
    /// The value is an instant, in milliseconds.
    use_value_for_time: String,
}

#[derive(Deserialize)]
struct Templating {
    list: Vec<Variable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    definition: Option<String>,
    datasource: Option<Source>,
    #[serde(default)]
    include_all: bool,
    all_value: Option<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    uid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Panel {
    id: u32,
    #[serde(rename = "type")]
    kind: String,
    title: String,
    #[serde(default)]
    description: String,
    datasource: Option<Source>,
    grid_pos: Place,
    field_config: Option<FieldConfig>,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct FieldConfig {
    defaults: Defaults,
}

#[derive(Deserialize)]
struct Defaults {
    unit: String,
}

#[derive(Deserialize)]
struct Target {
    expr: String,
    datasource: Source,
}

#[derive(Deserialize)]
struct Place {
    x: u32,
    y: u32,
    w: u32,
    h: u32,
}

impl Place {
    fn overlaps(&self, other: &Self) -> bool {
        let apart = self.x + self.w <= other.x || other.x + other.w <= self.x;
        !(apart || self.y + self.h <= other.y || other.y + other.h <= self.y)
    }
}

impl Dashboard {
    fn annotations(&self) -> impl Iterator<Item = &Annotation> {
        self.annotations.iter().flat_map(|annotations| &annotations.list)
    }

    /// Of panels and annotations, with their titles.
    fn expressions(&self) -> impl Iterator<Item = (&str, &str)> {
        let panels = self
            .panels
            .iter()
            .flat_map(|panel| panel.targets.iter().map(move |target| (panel.title.as_str(), target.expr.as_str())));
        panels.chain(self.annotations().map(|annotation| (annotation.name.as_str(), annotation.expr.as_str())))
    }
}

fn dashboards() -> Vec<(Dashboard, String)> {
    let found = files("deploy/grafana", ".json").into_iter();
    found.map(|path| (read(&path), std::fs::read_to_string(&path).unwrap())).collect()
}

/// Variables, and what each is when everything is selected. Of jobs and instances those that are agents, and not all that
/// Prometheus knows; of services all that have a name, `_other` too; namespace and model may be absent.
const ALL: [(&str, Option<&str>); 5] =
    [("namespace", Some(".*")), ("service", Some(".+")), ("model", Some(".*")), ("job", None), ("instance", None)];
/// For the values that there are.
const ONE: &str = "one|other";

/// As Grafana sends it when everything is selected.
fn substituted(expression: &str) -> String {
    ALL.iter().fold(expression.replace("$__rate_interval", "1m"), |text, (name, all)| {
        text.replace(&format!("\"${name}\""), &format!("\"{}\"", all.unwrap_or(ONE)))
    })
}

/// Names that `$name`, `${name}` and `${name:format}` stand for.
fn variables(text: &str) -> BTreeSet<String> {
    let word = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    text.split('$').skip(1).map(|rest| word(rest.trim_start_matches('{'))).filter(|name| !name.is_empty()).collect()
}

/// Names and labels of the series that the rules record.
fn recorded() -> BTreeSet<String> {
    let rules = files("deploy/prometheus", ".rules.yaml").into_iter();
    let text: String = rules.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    text.lines().filter_map(|line| line.split_once("- record: ")).map(|(_, name)| name.to_owned()).collect()
}

#[test]
fn queries_ask_for_what_there_is() {
    let (recorded, series) = (recorded(), series());
    let known: BTreeSet<&str> = (METRICS.iter().flat_map(|metric| metric.labels.iter().copied()))
        .chain(["instance", "job", "namespace", "pod", "container", "le", "sli"])
        .collect();
    for (dashboard, _) in dashboards() {
        for (title, expression) in dashboard.expressions() {
            let place = format!("{}, {title}: {expression}", dashboard.title);
            let text = substituted(expression);
            assert!(!text.contains('$'), "a variable is left over: {place}");
            let asked = Asked::by(&text);
            for (name, matchers) in &asked.selectors {
                let of_rules = recorded.contains(name) || name == "ALERTS";
                let exists = of_rules || series.contains(name) || OF_PROMETHEUS.contains(&name.as_str());
                assert!(exists, "nothing is called {name}: {place}");
                for matcher in &matchers.matchers {
                    let label = matcher.name.as_str();
                    assert!(of_rules || labels_of(name).contains(label), "{name} has no label {label}: {place}");
                    let values = VALUES.iter().find(|(known, _)| *known == label).map_or(&[][..], |(_, values)| values);
                    let any =
                        matches!(matcher.op, MatchOp::Re(_)) && [".*", ".+", ONE].contains(&matcher.value.as_str());
                    assert!(any || values.contains(&matcher.value.as_str()), "{label}={}: {place}", matcher.value);
                }
            }
            for label in &asked.grouping {
                assert!(known.contains(label.as_str()), "no label {label}: {place}");
            }
        }
    }
}

#[test]
fn every_metric_is_shown() {
    let mut shown = BTreeSet::new();
    for (dashboard, _) in dashboards() {
        for (_, expression) in dashboard.expressions() {
            shown.extend(Asked::by(&substituted(expression)).selectors.into_iter().map(|(name, _)| name));
        }
    }
    for metric in METRICS {
        let ends = ["", "_bucket", "_sum", "_count"];
        let is_shown = ends.iter().any(|end| shown.contains(&format!("{}{end}", metric.name)));
        let left_out = NOT_SHOWN.iter().any(|(name, _)| *name == metric.name);
        assert!(is_shown != left_out, "{}: shown {is_shown}, in NOT_SHOWN {left_out}", metric.name);
    }
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    promql_expr_test: Vec<QueryCase>,
}

#[derive(Deserialize)]
struct QueryCase {
    expr: String,
}

/// Of responses that say their tokens.
const EXACT: &str = "gen_ai_client_token_usage_sum";
const ESTIMATED: &str = "inferscope_tokens_estimated_total";

/// Whether a query is of tokens that were generated, and not of the prompts' beside them.
fn of_output(asked: &Asked) -> bool {
    let output = |matchers: &Matchers| matchers.matchers.iter().any(|matcher| matcher.value == "output");
    asked.selectors.iter().any(|(name, matchers)| name == EXACT && output(matchers))
}

#[test]
fn output_tokens_are_exact_and_estimated_ones() {
    let mut found = 0;
    for (dashboard, _) in dashboards() {
        for (title, expression) in dashboard.expressions() {
            let asked = Asked::by(&substituted(expression));
            if of_output(&asked) {
                let estimated = asked.selectors.iter().any(|(name, _)| name == ESTIMATED);
                assert!(estimated, "{}, {title} leaves out what is estimated: {expression}", dashboard.title);
                found += 1;
            }
        }
    }
    assert!(found > 0, "no query is of output tokens");
}

#[test]
fn cases_are_of_the_queries_that_there_are() {
    let all = dashboards();
    let queries: BTreeSet<String> =
        all.iter().flat_map(|(dashboard, _)| dashboard.expressions()).map(|(_, query)| substituted(query)).collect();
    // Each case of tokens says what all of them give.
    let of_tokens: BTreeSet<&String> = queries.iter().filter(|query| of_output(&Asked::by(query))).collect();
    for path in files("deploy/grafana/tests", ".test.yaml") {
        for case in read::<TestFile>(&path).tests {
            let asked: BTreeSet<&String> = case.promql_expr_test.iter().map(|of| &of.expr).collect();
            for query in &asked {
                assert!(queries.contains(*query), "{}: no dashboard asks {query}", case.name);
            }
            let left_out: Vec<_> = of_tokens.difference(&asked).collect();
            let whole = left_out.is_empty() || !path.ends_with("tokens.test.yaml");
            assert!(whole, "{} leaves out {left_out:?}", case.name);
        }
    }
}

#[test]
fn changes_mark_the_charts() {
    for name in ["inferscope / overview", "inferscope / service"] {
        let (dashboard, _) = dashboards().into_iter().find(|(dashboard, _)| dashboard.title == name).unwrap();
        let changes = dashboard.annotations().find(|annotation| annotation.name == "Changes").unwrap();
        assert!(is_variable(&changes.datasource) && changes.use_value_for_time == "on", "{name}");
        let asked = Asked::by(&substituted(&changes.expr));
        let all = asked.selectors.iter().all(|(metric, _)| metric == "inferscope_last_change_timestamp_seconds");
        assert!(all && changes.expr.split(" or ").all(|side| side.starts_with("1000 * ")), "{name}");
    }
}

#[test]
fn dashboards_are_whole() {
    let mut uids = BTreeSet::new();
    let all = dashboards();
    for (dashboard, _) in &all {
        assert!(uids.insert(dashboard.uid.clone()), "{} stands twice", dashboard.uid);
    }
    for (dashboard, text) in &all {
        let title = &dashboard.title;
        assert!(title.starts_with("inferscope / ") && dashboard.tags == ["inferscope"], "{title}");
        assert!(dashboard.schema_version >= 39 && !dashboard.description.is_empty(), "{title}");
        let defined: BTreeMap<&str, &Variable> =
            dashboard.templating.list.iter().map(|variable| (variable.name.as_str(), variable)).collect();
        let internal = |name: &str| name.starts_with("__");
        for name in variables(text).iter().filter(|name| !internal(name)) {
            assert!(defined.contains_key(name.as_str()), "{title} has no variable {name}");
        }
        for (name, variable) in &defined {
            assert!(text.contains(&format!("${name}")) || text.contains(&format!("${{{name}")), "{title}: {name}");
            if variable.kind == "query" {
                of_query(variable);
            }
        }
        for uid in text.split("/d/").skip(1).map(|rest| rest.split('?').next().unwrap()) {
            assert!(uids.contains(uid), "{title} links to {uid}");
        }
    }
}

fn of_query(variable: &Variable) {
    let name = &variable.name;
    let (_, all) = ALL.iter().find(|(known, _)| known == name).unwrap();
    assert!(variable.include_all && variable.all_value.as_deref() == *all, "{name}");
    assert!(variable.datasource.as_ref().is_some_and(is_variable), "{name}");
    let definition = variable.definition.as_deref().unwrap();
    let inner = definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
    let (selector, label) = inner.rsplit_once(", ").unwrap();
    let asked = Asked::by(&substituted(selector));
    let (metric, matchers) = &asked.selectors[0];
    assert!(series().contains(metric) && labels_of(metric).contains(label), "{definition}");
    assert!(matchers.matchers.iter().all(|matcher| labels_of(metric).contains(matcher.name.as_str())), "{definition}");
}

fn is_variable(source: &Source) -> bool {
    source.kind == "prometheus" && source.uid == "${datasource}"
}

#[test]
fn panels_say_what_they_show() {
    for (dashboard, _) in dashboards() {
        let mut ids = BTreeSet::new();
        for panel in &dashboard.panels {
            let place = format!("{}, {}", dashboard.title, panel.title);
            assert!(ids.insert(panel.id), "{place}: id {} stands twice", panel.id);
            assert!(TYPES.contains(&panel.kind.as_str()), "{place}: {}", panel.kind);
            assert!(panel.grid_pos.x + panel.grid_pos.w <= 24, "{place} is too wide");
            let over = |other: &&Panel| other.id != panel.id && other.grid_pos.overlaps(&panel.grid_pos);
            assert!(!dashboard.panels.iter().any(|other| over(&other)), "{place} overlaps another");
            if panel.kind == "row" {
                continue;
            }
            assert!(panel.description.len() > 20 || panel.description.ends_with('.'), "{place} has no description");
            let unit = &panel.field_config.as_ref().unwrap().defaults.unit;
            assert!(UNITS.contains(&unit.as_str()), "{place} has no unit: {unit}");
            assert!(panel.datasource.as_ref().is_some_and(is_variable), "{place}: data source");
            assert!(!panel.targets.is_empty() && panel.targets.iter().all(|t| is_variable(&t.datasource)), "{place}");
        }
    }
}
