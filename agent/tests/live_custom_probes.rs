//! Live: metrics of the configuration that are made of tracepoints, functions and USDT probes. A program that does each a
//! known number of times is counted exactly, by its labels; one that is not watched is not.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::agent::Agent;
use support::child::{Lines, Running};
use support::metrics::{Metrics, Series};
use support::workload::figure;
use support::{live, locate};

const SOON: Duration = Duration::from_secs(60);
/// Those that the helper takes in turn.
const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

/// The helper `probed`, maybe under another name.
struct Probed(Running);

impl Probed {
    fn start(program: &Path) -> Self {
        let running = Running::start(Command::new(program), Lines::Stdout).unwrap();
        running.wait_line(SOON, |line| line.starts_with("ready pid ").then_some(())).unwrap();
        Self(running)
    }

    /// Its truth. Not twice the same number: the line of the first would be taken for that of the second.
    fn rounds(&mut self, rounds: u64) -> Value {
        self.0.tell(&rounds.to_string()).unwrap();
        let truth = |line: &str| serde_json::from_str(line).ok().filter(|truth: &Value| truth["rounds"] == rounds);
        self.0.wait_line(SOON, truth).unwrap()
    }
}

fn probed() -> PathBuf {
    locate::helper("probed").unwrap()
}

/// The same file under a name by which it is not watched.
struct Unwatched(PathBuf);

impl Unwatched {
    fn link() -> Self {
        let path = probed().with_file_name(format!("unwatched-{}", std::process::id()));
        std::fs::hard_link(probed(), &path).unwrap();
        Self(path)
    }
}

impl Drop for Unwatched {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An agent that watches every helper, by its path, and has these metrics.
fn agent(metrics: &str) -> Agent {
    let config = format!(
        "[discover]\nenabled = false\n[discover.include]\nexe = [\"*/probed\"]\n[nvml]\nenabled = false\n{metrics}"
    );
    Agent::configured(&[], &config).unwrap()
}

fn metric(name: &str, kind: &str, from: &str, more: &str) -> String {
    format!("\n[[metrics.custom]]\nname = \"{name}\"\ntype = \"{kind}\"\nfrom = \"{from}\"\n{more}\n")
}

/// Waits until a metric's probe hangs in so many places.
fn hangs(agent: &Agent, name: &str, places: f64) {
    let there = |m: &Metrics| m.sum("inferscope_custom_probe_places", &[("metric", name)]) == Some(places);
    agent.wait_metrics(&format!("{name} in {places} places"), SOON, there).unwrap();
}

/// Waits until the helper is a service, so that what it does counts; the service's name.
fn is_watched(agent: &Agent, helper: &Probed) -> String {
    let pid = helper.0.pid().to_string();
    let own = |s: &Series| s.name == "inferscope_service_info" && s.labels.get("pid") == Some(&pid);
    let name = || Ok(agent.scrape()?.series.keys().find(|s| own(s)).map(|s| s.labels["service"].clone()));
    agent.wait("the helper is watched", SOON, name).unwrap()
}

/// Name, labels, and what they are to be.
type Counted<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

#[track_caller]
fn assert_counts(metrics: &Metrics, wanted: &[Counted<'_>]) {
    for (name, labels, wants) in wanted {
        assert_eq!(metrics.count(name, labels), *wants, "{name}{labels:?}");
    }
}

fn scrape(agent: &Agent) -> Metrics {
    let metrics = agent.scrape().unwrap();
    for place in ["map_custom", "custom_read"] {
        assert_eq!(metrics.count("inferscope_events_lost_total", &[("where", place)]), 0.0, "{place}");
    }
    metrics.knowing_any()
}

#[test]
fn tracepoints_are_counted_by_their_fields() {
    let Some(_guard) = live::begin("tracepoints_are_counted_by_their_fields") else { return };
    let umask = libc::SYS_umask.to_string();
    let ask = libc::SYS_getpriority.to_string();
    let metrics = [
        metric("renames_total", "counter", "tracepoint:task:task_rename", "labels = { to = \"field.newcomm\" }"),
        metric(
            "results",
            "histogram",
            "tracepoint:raw_syscalls:sys_exit",
            "value = \"field.ret\"\nlabels = { call = \"field.id\" }\nscale = 0.5\nbuckets = [1, 2.5, 3.5]",
        ),
        metric(
            "everybody_total",
            "counter",
            "tracepoint:raw_syscalls:sys_enter",
            "scope = \"host\"\nlabels = { call = \"field.id\", who = \"comm\" }\nmax_series = 5000",
        ),
        metric(
            "capped_total",
            "counter",
            "tracepoint:raw_syscalls:sys_enter",
            "labels = { call = \"field.id\" }\nmax_series = 2",
        ),
        metric("elsewhere_total", "counter", "tracepoint:raw_syscalls:sys_enter", "service = \"no-such-*\""),
    ];
    let agent = agent(&metrics.concat());
    let mut helper = Probed::start(&probed());
    let service = is_watched(&agent, &helper);
    let unwatched = Unwatched::link();
    let mut other = Probed::start(&unwatched.0);
    let (truth, rounds) = (helper.rounds(240), 240.0);
    other.rounds(60);
    let metrics = scrape(&agent);
    // What the mask was before the first round is one more result; halves of 0 to 7 in turn, the first is 0.
    let before = figure(&truth, "mask_before");
    let up_to = |edge: u64, of_rounds: f64| of_rounds + f64::from(u8::from(before <= edge));
    let sum = (0..239).map(|at| at % 8).sum::<u64>() + before;
    let call = ("call", umask.as_str());
    assert_counts(
        &metrics,
        &[
            ("renames_total", &[("to", "round-1"), ("service", &service)], 80.0),
            ("renames_total", &[], rounds),
            ("results_count", &[call], rounds + 1.0),
            ("results_sum", &[call], sum as f64 / 2.0),
            ("results_bucket", &[call, ("le", "1")], up_to(2, 91.0)),
            ("results_bucket", &[call, ("le", "2.5")], up_to(5, 181.0)),
            ("results_bucket", &[call, ("le", "3.5")], up_to(7, 240.0)),
            ("results_count", &[("call", &ask)], rounds),
            ("elsewhere_total", &[], 0.0),
        ],
    );
    let of_helpers: f64 = ["probed", "round-0", "round-1", "round-2"]
        .map(|who| metrics.count("everybody_total", &[("call", &ask), ("who", who)]))
        .into_iter()
        .sum();
    // The other file's first round is run under its own name.
    let first = unwatched.0.file_name().unwrap().to_str().unwrap();
    let first = metrics.count("everybody_total", &[("call", &ask), ("who", &first[..first.len().min(15)])]);
    assert_eq!((of_helpers + first, first), (300.0, 1.0));
    assert!(!metrics.series.keys().any(|s| s.name == "everybody_total" && s.labels.contains_key("service")));
    assert_eq!(metrics.label_values("capped_total", "call").len(), 3);
    assert!(metrics.count("capped_total", &[]) >= 3.0 * rounds);
    // The helper may just begin to wait for its next line: one more call, between the two figures of a scrape.
    let overflow = |m: &Metrics| m.count("inferscope_series_overflow_total", &[("family", "custom")]);
    let over = |m: &Metrics| m.clone().knowing_any().count("capped_total", &[("call", "_other")]);
    agent.wait_metrics("one figure", SOON, |m| over(m) > 0.0 && over(m) == overflow(m)).unwrap();
}

const WHO: &str = "labels = { who = \"arg0:i32\", name = \"arg1:string\" }";

#[test]
fn functions_are_counted_by_their_arguments() {
    let Some(_guard) = live::begin("functions_are_counted_by_their_arguments") else { return };
    let metrics = [
        metric("calls_total", "counter", "uprobe:exe:probed_call", WHO),
        metric("amount_total", "counter", "uprobe:exe:probed_call", "value = \"arg2\"\nscale = 0.01"),
        metric("last", "gauge", "uretprobe:exe:probed_call", "value = \"ret:i32\""),
        metric(
            "everybodys_total",
            "counter",
            &format!("uprobe:{}:probed_call", probed().display()),
            "scope = \"host\"\nlabels = { name = \"arg1:string\" }",
        ),
    ];
    let agent = agent(&metrics.concat());
    hangs(&agent, "everybodys_total", 1.0);
    hangs(&agent, "calls_total", 0.0);
    let mut helper = Probed::start(&probed());
    let service = is_watched(&agent, &helper);
    ["calls_total", "amount_total", "last"].iter().for_each(|name| hangs(&agent, name, 1.0));
    let unwatched = Unwatched::link();
    let mut other = Probed::start(&unwatched.0);
    other.rounds(30);
    helper.rounds(90);
    let metrics = scrape(&agent);
    assert_counts(
        &metrics,
        &[
            ("calls_total", &[("who", "-1"), ("name", "alpha")], 30.0),
            ("calls_total", &[("who", "1"), ("name", "gamma"), ("service", &service)], 30.0),
            ("calls_total", &[], 90.0),
            ("amount_total", &[], (0..90).sum::<u64>() as f64),
            ("last", &[], -8900.0),
            ("everybodys_total", &[("name", "beta")], 40.0),
        ],
    );
    // The last one that maps the file takes the probes with it; the next one gets them again.
    drop(helper);
    hangs(&agent, "calls_total", 0.0);
    let mut next = Probed::start(&probed());
    let service = is_watched(&agent, &next);
    hangs(&agent, "calls_total", 1.0);
    next.rounds(9);
    assert_counts(&scrape(&agent), &[("calls_total", &[("service", &service)], 9.0)]);
}

#[test]
fn usdt_probes_are_counted_while_their_semaphore_is_held() {
    let Some(_guard) = live::begin("usdt_probes_are_counted_while_their_semaphore_is_held") else { return };
    let metrics = [
        metric("items_total", "counter", "usdt:exe:probed:item", "labels = { who = \"arg0\", name = \"arg1:string\" }"),
        metric(
            "item_amount",
            "histogram",
            "usdt:exe:probed:item",
            "value = \"arg2\"\nbuckets = [1000, 2000]\n\
            labels = { constant = \"arg3\" }",
        ),
    ];
    let mut helper = Probed::start(&probed());
    assert_eq!(figure(&helper.rounds(3), "reached"), 0, "nobody looks at it yet");
    let agent = agent(&metrics.concat());
    is_watched(&agent, &helper);
    ["items_total", "item_amount"].iter().for_each(|name| hangs(&agent, name, 1.0));
    assert_eq!(figure(&helper.rounds(60), "reached"), 60);
    let metrics = scrape(&agent);
    for (at, name) in NAMES.into_iter().enumerate() {
        let who = (at as i64 - 1).to_string();
        assert_counts(&metrics, &[("items_total", &[("who", &who), ("name", name)], 20.0)]);
    }
    assert_counts(
        &metrics,
        &[
            ("item_amount_count", &[("constant", "-7")], 60.0),
            ("item_amount_sum", &[], 177_000.0),
            ("item_amount_bucket", &[("le", "1000")], 11.0),
            ("item_amount_bucket", &[("le", "2000")], 21.0),
        ],
    );
    agent.stop().unwrap();
    assert_eq!(figure(&helper.rounds(6), "reached"), 0, "the agent has left its semaphore");
}

#[test]
fn what_is_not_there_is_told_and_the_rest_runs() {
    let Some(_guard) = live::begin("what_is_not_there_is_told_and_the_rest_runs") else { return };
    let here = probed().display().to_string();
    let metrics = [
        metric("good_total", "counter", "tracepoint:task:task_rename", ""),
        metric("a_total", "counter", "tracepoint:task:task_renam", ""),
        metric("b_total", "counter", "tracepoint:task:task_rename", "value = \"field.newcomm\""),
        metric("c_total", "counter", "tracepoint:task:task_rename", "labels = { x = \"field.nothing\" }"),
        metric("d_total", "counter", &format!("uprobe:{here}:probed_cal"), ""),
        metric("e_total", "counter", &format!("usdt:{here}:probed:item"), "value = \"arg9\""),
        metric("f_total", "counter", "uprobe:/no/such/file:main", ""),
    ];
    let agent = agent(&metrics.concat());
    hangs(&agent, "good_total", 1.0);
    let scraped = agent.scrape().unwrap();
    for (name, reason) in
        [("a", "tracepoint"), ("b", "tracepoint"), ("c", "tracepoint"), ("d", "file"), ("e", "argument"), ("f", "file")]
    {
        let name = format!("{name}_total");
        assert_eq!(scraped.count("inferscope_custom_probe_places", &[("metric", &name)]), 0.0, "{name}");
        let failures =
            scraped.count("inferscope_custom_probe_failures_total", &[("metric", &name), ("reason", reason)]);
        assert_eq!(failures, 1.0, "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, metrics.concat()).unwrap();
    let mut command = Command::new(locate::agent().unwrap());
    command.arg("check").arg("--config").arg(&file);
    let mut check = Running::start(command, Lines::Stdout).unwrap();
    check.wait(SOON).unwrap();
    let (said, log) = (check.lines().join("\n"), agent.running.lines().join("\n"));
    for reason in [
        "no tracepoint `task:task_renam`; did you mean `task:task_rename`?",
        "the field `newcomm` is a text",
        "no field `nothing`; there are: ",
        "probed_call",
        "the probe has no arg9: it has 4 argument(s)",
        "/no/such/file",
    ] {
        assert!(said.contains(reason), "check does not say `{reason}`:\n{said}");
        assert!(log.contains(reason), "the agent does not say `{reason}`:\n{log}");
    }
    assert!(said.contains("metric good_total"), "{said}");
}
