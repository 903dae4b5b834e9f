//! Live: the series of a service: they hold its ended processes too, go with it, and need none of the series of processes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use support::agent::Agent;
use support::live;
use support::metrics::Metrics;
use support::workload::Workload;

const SOON: Duration = Duration::from_secs(10);
const ONCPU: &str = "inferscope_service_oncpu_seconds_total";
const OFFCPU: &str = "inferscope_service_offcpu_seconds_total";

#[test]
fn a_service_keeps_the_time_of_its_ended_processes() {
    let Some(_guard) = live::begin("a_service_keeps_the_time_of_its_ended_processes") else { return };
    let mut spawn = Workload::start(&["spawn", "--count", "200"]).unwrap();
    let agent = Agent::watch(&[spawn.pid()]).unwrap();
    spawn.work().unwrap();
    let alone = |m: &Metrics| m.count("inferscope_service_processes", &[]) == 1.0;
    let m = agent.wait_metrics("the end of all children", SOON, alone).unwrap();
    let (service, process) = (m.count(ONCPU, &[]), m.count("inferscope_process_oncpu_seconds_total", &[]));
    assert!(service > process && process > 0.0, "{service} s of the service, {process} s of the process that is left");
    assert!(m.sum("inferscope_service_runqueue_seconds_total", &[]).is_some());
    assert!(m.count(OFFCPU, &[]) > 0.0);
    let later = agent.scrape().unwrap();
    assert!(later.count(ONCPU, &[]) >= service);
    assert!(spawn.finish().unwrap().success());
    agent.wait_metrics("no series of an ended service", SOON, |m| m.sum(ONCPU, &[]).is_none()).unwrap();
}

/// The last thread to be counted as live may be the first to come to its end, and the others' time must end all the same.
#[test]
fn processes_that_end_with_many_busy_threads_leave_nothing_running() {
    let Some(_guard) = live::begin("processes_that_end_with_many_busy_threads_leave_nothing_running") else { return };
    let mut spawn = Workload::start(&["spawn", "--count", "100", "--threads", "8"]).unwrap();
    let agent = Agent::watch(&[spawn.pid()]).unwrap();
    spawn.work().unwrap();
    let alone = |m: &Metrics| m.count("inferscope_service_processes", &[]) == 1.0;
    agent.wait_metrics("the end of all children", SOON, alone).unwrap();
    let begun = Instant::now();
    let before = agent.scrape().unwrap();
    let grown = |m: &Metrics, name: &str| m.count(name, &[]) - before.count(name, &[]);
    let second = |m: &Metrics| grown(m, OFFCPU) > 1.0;
    let m = agent.wait_metrics("a second of waiting", SOON, second).unwrap();
    // One thread is left, and has no more time than there was.
    let there_was = begun.elapsed().as_secs_f64();
    let waited = grown(&m, OFFCPU);
    let busy = grown(&m, ONCPU) + grown(&m, "inferscope_service_runqueue_seconds_total");
    let all = waited + busy;
    assert!(all < 1.5 * there_was, "{busy} s busy and {waited} s off the CPU in {there_was} s of one thread");
}

/// Families with a series that is of no process.
fn of_no_process(metrics: &Metrics) -> BTreeSet<&str> {
    let all = metrics.series.keys().filter(|series| !series.labels.contains_key("comm"));
    all.map(|series| series.name.as_str()).collect()
}

#[test]
fn without_series_of_processes_all_others_are_there() {
    let Some(_guard) = live::begin("without_series_of_processes_all_others_are_there") else { return };
    let mut work = Workload::start(&["syscalls", "--count", "1000"]).unwrap();
    const QUIET: &str = "[discover]\nenabled = false\n[nvml]\nenabled = false\n[metrics]\nper_process = ";
    let with = |per_process: bool| Agent::configured(&[work.pid()], &format!("{QUIET}{per_process}\n")).unwrap();
    let read = |m: &Metrics| m.sum("inferscope_memory_bytes", &[]).is_some() && m.sum(ONCPU, &[]).is_some();
    let all =
        with(true).wait_metrics("a scrape", SOON, |m| read(m) && m.sum("process_threads", &[]).is_some()).unwrap();
    let agent = with(false);
    let same = |m: &Metrics| of_no_process(m) == of_no_process(&all);
    let m = agent.wait_metrics("the series of services", SOON, same).unwrap();
    assert!(m.series.keys().all(|series| !series.labels.contains_key("comm")), "{:?}", m.families());
    work.work().unwrap();
    assert!(agent.scrape().unwrap().count(ONCPU, &[]) > 0.0);
    work.finish().unwrap();
}
