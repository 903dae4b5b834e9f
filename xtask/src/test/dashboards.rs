//! The dashboards of deploy/grafana on a real Prometheus: every query of every panel and variable must give something
//! while an agent watches servers that get all kinds of requests, and a fake GPU library has GPUs.

mod stage;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::report::Verdict;
use crate::libtest::Counts;
use crate::{http, paths, process, setup};
use stage::Stage;

/// Time after which everything must have come; most has after half of it.
const PATIENCE: Duration = Duration::from_secs(90);
const BETWEEN: Duration = Duration::from_secs(5);

/// Queries, by a part of them, that can have no data here, and why.
const EMPTY: &[(&str, &str)] = &[
    ("}, namespace)", "outside Kubernetes no series has a namespace"),
    ("inferscope_unseen_calls_total", "the small server makes no sendfile, splice or io_uring call"),
];

/// Queries, by a part of them, that must give nothing here, and why.
const NOTHING: &[(&str, &str)] = &[("count((up{", "the agent is up, and the target that is down was never an agent")];

/// Queries, by a part of them, that may give something or not, and why.
const EITHER: &[(&str, &str)] = &[
    ("count(inferscope_probe_up", "it depends on the kernel whether a probe is refused"),
    ("ALERTS{", "it depends on the moment which alerts are on"),
];

/// What a panel shows where its query gives nothing; here that must not pass for an answer.
const ELSE_ZERO: &str = " or vector(0)";

/// Queries that need control groups with a limit, which not every host lets root make.
const LIMITS: [&str; 2] = ["inferscope_cgroup_cpu_limit_cpus", "inferscope_cgroup_memory_limit_bytes"];

/// A query and where it stands.
struct Query {
    place: String,
    expression: String,
    /// Of a variable: the label whose values are wanted.
    label: Option<String>,
}

/// HOLD: time for which Prometheus stays afterwards, for a Grafana to look at it.
pub fn run(hold: Duration) -> Result<Verdict> {
    let prometheus = match prometheus() {
        Ok(program) => program,
        Err(error) => return Ok(Verdict::skipped(&format!("the dashboards are tried on Prometheus: {error:#}"))),
    };
    let stage = Stage::start(&prometheus)?;
    let queries = queries(stage::JOB, &stage.instance)?;
    let started = Instant::now();
    let (nothing, something): (Vec<&Query>, Vec<&Query>) = queries
        .iter()
        .filter(|query| excuse(&query.expression).is_none())
        .partition(|query| reason(NOTHING, &query.expression).is_some());
    let all = something.len();
    let mut left = something;
    while !left.is_empty() && started.elapsed() < PATIENCE {
        process::pause(BETWEEN)?;
        (_, left) = asked(stage.port, left)?;
    }
    if !stage.limits {
        left.retain(|query| !LIMITS.iter().any(|name| query.expression.contains(name)));
    }
    for query in &left {
        println!("  empty    {}: {}", query.place, query.expression);
    }
    let none = nothing.len();
    let (wrong, _) = asked(stage.port, nothing)?;
    for query in &wrong {
        println!("  not empty  {}: {}", query.place, query.expression);
    }
    if !hold.is_zero() {
        println!("  note     Prometheus is at http://127.0.0.1:{} for {} s", stage.port, hold.as_secs());
        process::pause(hold)?;
    }
    let excused = queries.iter().filter_map(|query| Some((query, excuse(&query.expression)?)));
    let reasons = excused.map(|(query, why)| format!("{}: {why}", query.place)).collect::<Vec<_>>();
    let mut counts = Counts::default();
    (0..all).for_each(|at| counts += Counts::one(at >= left.len()));
    (0..none).for_each(|at| counts += Counts::one(at >= wrong.len()));
    reasons.iter().for_each(|_| counts += Counts::one_skipped());
    Ok(Verdict { counts, reasons })
}

/// Queries that give something, and those that give nothing.
fn asked(port: u16, queries: Vec<&Query>) -> Result<(Vec<&Query>, Vec<&Query>)> {
    let (mut full, mut empty) = (Vec::new(), Vec::new());
    for query in queries {
        if gives(port, query)? { &mut full } else { &mut empty }.push(query);
    }
    Ok((full, empty))
}

fn excuse(expression: &str) -> Option<&'static str> {
    reason(EMPTY, expression).or_else(|| reason(EITHER, expression))
}

fn reason(of: &[(&str, &'static str)], expression: &str) -> Option<&'static str> {
    of.iter().find(|(part, _)| expression.contains(part)).map(|(_, why)| *why)
}

/// Beside promtool in Debian's package.
fn prometheus() -> Result<PathBuf> {
    let beside = setup::tools::promtool()?.with_file_name("prometheus");
    if beside.exists() { Ok(beside) } else { paths::program("prometheus").context("there is no prometheus") }
}

/// Of every panel and every variable, with everything selected; a variable without a value for that has those that there
/// are, which are this job and this instance.
fn queries(job: &str, instance: &str) -> Result<Vec<Query>> {
    let dir = paths::workspace().join("deploy/grafana");
    let mut files: Vec<PathBuf> = fs::read_dir(&dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    files.sort();
    let mut queries = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let dashboard: Value = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        let title = word(&dashboard["title"]);
        let all: Vec<(String, String)> = list(&dashboard["templating"]["list"])
            .filter_map(|variable| {
                let name = word(&variable["name"]);
                let there_is = [("job", job), ("instance", instance)].into_iter().find(|(known, _)| *known == name);
                let value = variable["allValue"].as_str().or(there_is.map(|(_, value)| value))?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        for variable in list(&dashboard["templating"]["list"]) {
            let Some(definition) = variable["definition"].as_str() else { continue };
            let place = format!("{title}, variable {}", word(&variable["name"]));
            let label = definition.rsplit_once(", ").map(|(_, label)| label.trim_end_matches(')').to_owned());
            queries.push(Query { place, expression: substituted(definition, &all), label });
        }
        for panel in list(&dashboard["panels"]) {
            let place = format!("{title}, {}", word(&panel["title"]));
            for target in list(&panel["targets"]) {
                let expression = substituted(word(&target["expr"]), &all).replace(ELSE_ZERO, "");
                queries.push(Query { place: place.clone(), expression, label: None });
            }
        }
    }
    Ok(queries)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// As Grafana sends it when everything is selected and the scrape interval is a second. `all`: variables, and the value that
/// each has then.
fn substituted(expression: &str, all: &[(String, String)]) -> String {
    all.iter().fold(expression.replace("$__rate_interval", "10s"), |text, (name, value)| {
        text.replace(&format!("\"${name}\""), &format!("\"{value}\""))
    })
}

/// Whether there is an answer with a number in it; an error if Prometheus refuses the query.
fn gives(port: u16, query: &Query) -> Result<bool> {
    let path = match &query.label {
        Some(label) => {
            let selector = query.expression.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(", "));
            let selector = selector.map_or("", |(selector, _)| selector);
            format!("/api/v1/label/{label}/values?match[]={}", encoded(selector))
        }
        None => format!("/api/v1/query?query={}", encoded(&query.expression)),
    };
    let response = http::get(port, &path)?;
    if response.status != 200 {
        bail!("{}: Prometheus answers {}: {}", query.place, response.status, response.body);
    }
    let answer: Value = serde_json::from_str(&response.body).context("Prometheus answers no JSON")?;
    let found = if query.label.is_some() { &answer["data"] } else { &answer["data"]["result"] };
    Ok(list(found).any(|row| query.label.is_some() || word(&row["value"][1]) != "NaN"))
}

/// For a query string.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_survives_its_url() {
        assert_eq!(encoded("a{b=~\".*\"}[1m] + 1"), "a%7Bb%3D~%22.%2A%22%7D%5B1m%5D%20%2B%201");
    }

    #[test]
    fn every_dashboard_has_queries() {
        let queries = queries("inferscope", "127.0.0.1:9770").expect("the dashboards are JSON");
        assert!(queries.iter().all(|query| !query.expression.contains('$')), "a variable is left over");
        assert!(queries.len() > 100, "{}", queries.len());
        // Other targets of the same Prometheus are no agents, whatever is selected.
        let others =
            |query: &&Query| query.expression.contains("job=~\".") || query.expression.contains("instance=~\".");
        assert_eq!(queries.iter().find(others).map(|query| query.place.as_str()), None);
        for (part, _) in NOTHING.iter().chain(EITHER) {
            assert!(queries.iter().any(|query| query.expression.contains(part)), "no query holds {part}");
        }
    }

    #[test]
    fn a_zero_for_nothing_is_no_answer() {
        let queries = queries("inferscope", "127.0.0.1:9770").expect("the dashboards are JSON");
        assert!(queries.iter().all(|query| !query.expression.contains("vector(0)")));
    }
}
