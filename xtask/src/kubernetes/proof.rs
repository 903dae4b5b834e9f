//! What must be so, each a test case: the container is what the chart says, the series have the right labels and counts,
//! and what is in other containers is found by its own root, network and PID namespace.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::CapabilitySet;
use serde_json::Value;
use support::metrics::Metrics;

use super::node::{GPU, NAMESPACE, Node};
use super::servers::{KINDS, Kind, PORT, VLLM_VERSION};
use super::stacks;
use crate::libtest::Counts;
use crate::process;

const SOON: Duration = Duration::from_secs(30);
const DURATION: &str = "gen_ai_server_request_duration_seconds_count";
const FIRST_TOKEN: &str = "gen_ai_server_time_to_first_token_seconds_count";
const INFO: &str = "inferscope_service_info";

type Case = (&'static str, fn(&Node) -> Result<()>);

const CASES: [Case; 7] = [
    ("the container has what the chart says and no more", confined),
    ("three servers on one port are three services of the right pods", found),
    ("requests are counted for the pod that answered them, with TTFT", counted),
    ("the kubelet's GPUs and the API server answer", sources),
    ("`inferscope check` in the pod finds nothing missing of Kubernetes", checked),
    ("stacks of a native server in a container have names", stacks::native),
    ("stacks of a Python server in a container have names", stacks::python),
];

/// Runs all of them, telling EACH.
pub fn cases(node: &Node, mut each: impl FnMut(&str, &Result<()>)) -> Counts {
    let mut counts = Counts::default();
    for (name, case) in CASES {
        let done = case(node);
        each(name, &done);
        counts += Counts::one(done.is_ok());
    }
    counts
}

/// A few series for a person to see.
pub fn show(node: &Node) -> Result<()> {
    let metrics = node.scrape()?;
    for name in [INFO, DURATION, FIRST_TOKEN] {
        for (series, value) in metrics.series.iter().filter(|(series, _)| series.name == name) {
            let labels: Vec<String> = series.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            println!("{name}{{{}}} {value}", labels.join(","));
        }
    }
    Ok(())
}

/// Asks the kernel, not the configuration that was written.
fn confined(node: &Node) -> Result<()> {
    let pid = node.agent.pid;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned());
    ensure!(field("NoNewPrivs:").as_deref() == Some("1"), "it may get privileges");
    ensure!(field("Seccomp:").as_deref() == Some("2"), "no seccomp filter");
    let bounding = u64::from_str_radix(&field("CapBnd:").context("no CapBnd")?, 16)?;
    let number = |name: &String| CapabilitySet::from_name(name.strip_prefix("CAP_")?);
    let wanted: CapabilitySet = node.settings.capabilities.iter().filter_map(number).collect();
    // The agent itself gives none of the bounding set back without CAP_SETPCAP.
    ensure!(CapabilitySet::from_bits_retain(bounding) == wanted, "bounded by {bounding:x}, the chart says {wanted:?}");
    let namespace = |of: &str, kind: &str| fs::read_link(format!("/proc/{of}/ns/{kind}"));
    let own = pid.to_string();
    ensure!(namespace(&own, "pid")? == namespace("self", "pid")?, "hostPID is true, and it is in another namespace");
    for kind in ["mnt", "net", "ipc", "uts"] {
        ensure!(namespace(&own, kind)? != namespace("self", kind)?, "it is in the host's {kind} namespace");
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
    let mounts: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
    let writable = |path: &str| {
        let last = mounts.iter().rfind(|fields| fields.get(1) == Some(&path))?;
        Some(last.get(3)?.split(',').any(|option| option == "rw"))
    };
    ensure!(writable("/") == Some(false), "its root can be written to");
    for mount in &node.settings.mounts {
        ensure!(writable(&mount.target) == Some(!mount.read_only), "{} is mounted otherwise", mount.target);
    }
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    ensure!(cgroup.contains(&node.settings.cgroup), "it is in other control groups: {cgroup}");
    Ok(())
}

fn found(node: &Node) -> Result<()> {
    wait(
        node,
        "three services",
        |metrics| metrics.count("inferscope_services", &[]) >= 3.0,
        |metrics| {
            for kind in KINDS {
                let info = info(metrics, kind).with_context(|| format!("no service in {}", kind.pod()))?;
                let label = |name: &str| info.get(name).map(String::as_str).unwrap_or_default();
                ensure!(label("engine") == kind.engine(), "{} is taken for {}", kind.pod(), label("engine"));
                ensure!(label("port") == PORT.to_string(), "{} listens on {:?}", kind.pod(), label("port"));
                ensure!(
                    label("container_id") == kind.id() && label("pod_uid") == kind.pod_uid(),
                    "other ids: {info:?}"
                );
                let pid = node.server(kind)?.running.pid;
                ensure!(
                    label("pid") == pid.to_string(),
                    "{} is pid {pid} of the host, not {}",
                    kind.pod(),
                    label("pid")
                );
                ensure!(label("label_app") == "chat", "no label of the pod: {info:?}");
                let version = label("version");
                let is_known = kind == Kind::Llama || version == VLLM_VERSION;
                ensure!(is_known, "{} has version {version:?}; its own root says {VLLM_VERSION}", kind.pod());
            }
            Ok(())
        },
    )
}

fn info(metrics: &Metrics, kind: Kind) -> Option<&std::collections::BTreeMap<String, String>> {
    let of_pod = |labels: &std::collections::BTreeMap<String, String>| {
        home(kind).iter().all(|(name, value)| labels.get(*name).is_some_and(|found| found == value))
    };
    metrics.series.keys().find(|series| series.name == INFO && of_pod(&series.labels)).map(|series| &series.labels)
}

fn home(kind: Kind) -> [(&'static str, &'static str); 3] {
    [("namespace", NAMESPACE), ("pod", kind.pod()), ("container", kind.container())]
}

fn counted(node: &Node) -> Result<()> {
    let before = node.scrape()?;
    for server in &node.servers {
        server.chat(server.kind.requests())?;
    }
    let more = |metrics: &Metrics, name: &str, kind: Kind| {
        let labels = home(kind);
        metrics.count(name, &labels) - before.count(name, &labels)
    };
    let sent: usize = KINDS.iter().map(|kind| kind.requests()).sum();
    let all = |metrics: &Metrics| KINDS.iter().map(|&kind| more(metrics, DURATION, kind)).sum::<f64>() >= sent as f64;
    wait(node, "all requests", all, |metrics| {
        for kind in KINDS {
            for name in [DURATION, FIRST_TOKEN] {
                let (counted, sent) = (more(metrics, name, kind), kind.requests() as f64);
                ensure!(counted == sent, "{name} of {}: {counted} for {sent} requests", kind.pod());
            }
        }
        Ok(())
    })
}

fn sources(node: &Node) -> Result<()> {
    let up = |metrics: &Metrics, source: &str| metrics.count("inferscope_kubernetes_up", &[("source", source)]) == 1.0;
    let both = |metrics: &Metrics| up(metrics, "api") && up(metrics, "pod_resources");
    wait(node, "both sources", both, |metrics| {
        let of_pod = [("uuid", GPU), ("pod", Kind::Llama.pod())];
        let told = metrics.count("inferscope_gpu_container_info", &of_pod);
        ensure!(told == 1.0, "the GPU that the kubelet tells is in no series");
        ensure!(node.api.watches() == 1, "{} watches on one node", node.api.watches());
        Ok(())
    })
}

/// As `kubectl exec POD -- inferscope check --json`.
fn checked(node: &Node) -> Result<()> {
    let said = node.agent.exec(&["/usr/bin/inferscope", "check", "--json"])?;
    let report: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    ensure!(report["can_run"] == true, "it cannot run: {said}");
    let kubernetes = report["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finding| finding["name"].as_str().is_some_and(|name| name.starts_with("kubernetes")));
    let findings: Vec<&Value> = kubernetes.collect();
    ensure!(findings.len() >= 5, "it says little of Kubernetes: {findings:?}");
    let lacking: Vec<_> = findings.into_iter().filter(|finding| finding["status"] != "ok").collect();
    ensure!(lacking.is_empty(), "it misses: {lacking:?}");
    Ok(())
}

/// Scrapes until IS_THERE, then holds it to MUST; past the time, to MUST alone, which says what is wrong.
fn wait(
    node: &Node,
    what: &str,
    is_there: impl Fn(&Metrics) -> bool,
    must: impl Fn(&Metrics) -> Result<()>,
) -> Result<()> {
    let started = Instant::now();
    loop {
        let metrics = node.scrape()?;
        let late = started.elapsed() > SOON;
        let done = if is_there(&metrics) || late { must(&metrics) } else { Err(anyhow::anyhow!("not yet")) };
        if done.is_ok() || late {
            return done.with_context(|| format!("{what}, within {} s", SOON.as_secs()));
        }
        process::pause(Duration::from_millis(200))?;
    }
}
