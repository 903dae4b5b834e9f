//! What knowing the node's pods costs: two agents side by side for a minute, one that asks an API server with 500
//! containers and ten changes a second, and one with Kubernetes off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use support::agent::Agent;
use support::kubernetes::{Api, NODE, Pod};

use super::Context;
use super::daemon::cpu_s;
use super::memory::resident_mb;
use super::table::Row;
use crate::process;

const PODS: usize = 250;
const CONTAINERS: usize = 500;
const CHANGE_EVERY: Duration = Duration::from_millis(100);
const MOST_MB: f64 = 5.0;
const MOST_CPU: f64 = 0.002;

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let time = Duration::from_secs(if context.quick { 15 } else { 60 });
    let api = Api::start()?;
    (0..PODS).for_each(|number| api.put(&pod(number, 0)));
    let with = agent(&api, true)?;
    let without = agent(&api, false)?;
    with.wait_metrics("the pods are known", Duration::from_secs(20), |metrics| {
        metrics.count("inferscope_kubernetes_pods", &[]) >= PODS as f64
    })?;
    let measured = changing(&api, || {
        // What an agent does at its start is not what is asked here.
        process::pause(Duration::from_secs(5))?;
        let (began, before) = (Instant::now(), [cpu_s(with.pid())?, cpu_s(without.pid())?]);
        process::pause(time)?;
        let took = began.elapsed().as_secs_f64();
        Ok([(cpu_s(with.pid())? - before[0]) / took, (cpu_s(without.pid())? - before[1]) / took])
    });
    let (cpu, changes) = measured?;
    let metrics = with.scrape()?;
    let listed = api.seen().iter().filter(|seen| !seen.path.contains("watch=1")).count();
    ensure!(metrics.count("inferscope_kubernetes_up", &[("source", "api")]) > 0.0, "the agent lost the API server");
    without.scrape()?;
    let memory = [resident_mb(with.pid())?, resident_mb(without.pid())?];
    let (more_cpu, more_mb) = (cpu[0] - cpu[1], memory[0] - memory[1]);
    let of = format!("{CONTAINERS} containers, 10 changes/s");
    Ok(vec![
        Row::held(
            format!("CPU for the names of pods: {of}"),
            format!(
                "{:.2} % of a core ({:.2} % with, {:.2} % without), {changes} changes, {listed} list(s)",
                more_cpu * 100.0,
                cpu[0] * 100.0,
                cpu[1] * 100.0
            ),
            "at most 0.2 %",
            more_cpu <= MOST_CPU,
        ),
        Row::held(
            format!("memory for the names of pods: {of}"),
            format!("{more_mb:.1} MB ({:.1} MB with, {:.1} MB without)", memory[0], memory[1]),
            "at most 5 MB",
            more_mb <= MOST_MB,
        ),
    ])
}

/// A pod with two containers, restarted so often.
fn pod(number: usize, restarts: usize) -> Pod {
    let id = |container: usize| Some(format!("{number:020x}{restarts:020x}{container:024x}"));
    Pod {
        containers: vec![("vllm".to_owned(), id(0)), ("sidecar".to_owned(), id(1))],
        ..Pod::new(&format!("vllm-{number}"), "vllm", "")
    }
}

fn agent(api: &Api, kubernetes: bool) -> Result<Agent> {
    let file = std::env::temp_dir().join(format!("inferscope-identity-{}-{kubernetes}.toml", std::process::id()));
    let config = format!(
        "[discover]\nenabled = false\n[nvml]\nenabled = false\n[kubernetes]\nenabled = {kubernetes}\nnode = \"{NODE}\"\n\
         pod_labels = [\"app\"]\nservice_account = \"{}\"\npod_resources = \"/nonexistent.sock\"\n",
        api.account().display()
    );
    std::fs::write(&file, config).with_context(|| file.display().to_string())?;
    let agent = Agent::prepared(&["--config".to_owned(), file.display().to_string()], |command| {
        command.env("KUBERNETES_SERVICE_HOST", api.address.ip().to_string());
        command.env("KUBERNETES_SERVICE_PORT", api.address.port().to_string());
        Ok(())
    });
    std::fs::remove_file(&file)?;
    agent
}

/// Measures while pods change; with the number of changes. Every tenth is a container that was restarted.
fn changing<T>(api: &Api, measure: impl FnOnce() -> Result<T>) -> Result<(T, usize)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let change = scope.spawn(|| {
            let mut changes = 0;
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(CHANGE_EVERY);
                changes += 1;
                let restarts = if changes % 10 == 0 { changes } else { 0 };
                api.put(&pod(changes % PODS, restarts));
            }
            changes
        });
        let measured = measure();
        over.store(true, Ordering::Relaxed);
        let changes = change.join().map_err(|_| anyhow::anyhow!("the thread that changes pods failed"))?;
        Ok((measured?, changes))
    })
}
