//! On-CPU time and run-queue delay of a process with more busy threads than CPUs, against the kernel's own books.

use anyhow::Result;
use support::agent::Agent;
use support::schedstat;
use support::workload::Workload;

use super::Context;
use super::table::Row;

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let seconds = if context.quick { "3" } else { "10" };
    let mut busy = Workload::start(&["busy", "--threads", "4", "--seconds", seconds])?;
    let agent = Agent::watch(&[busy.pid()])?;
    let (truth, metrics) = (schedstat::read(busy.pid())?, agent.scrape()?);
    let taken = schedstat::taken_s()?;
    busy.work()?;
    let taken = schedstat::taken_s()? - taken;
    // Every thread is blocked now: nothing moves between the two readings.
    let (truth, after) = (schedstat::read(busy.pid())? - truth, agent.scrape()?);
    let pid = busy.pid().to_string();
    let grown = |name: &str| after.count(name, &[("pid", &pid)]) - metrics.count(name, &[("pid", &pid)]);
    let row = |what: &str, name: &str, truth_ns: u64, most: f64| {
        let (ours, truth) = (grown(name), truth_ns as f64 / 1e9);
        let off = (ours - truth).abs() / truth;
        let measured = format!("{ours:.4} s of {truth:.4} s, {:.4} % off", off * 100.0);
        Row::held(format!("{what}, 4 busy threads"), measured, &format!("within {} %", most * 100.0), off <= most)
    };
    let interrupts = "CPU time gone to interrupts and to the hypervisor meanwhile, which schedstat may leave out";
    Ok(vec![
        row("on-CPU", "inferscope_process_oncpu_seconds_total", truth.oncpu_ns, 0.01),
        row("run-queue", "inferscope_process_runqueue_seconds_total", truth.runqueue_ns, 0.05),
        Row::told(interrupts, format!("{taken:.2} s")),
    ])
}
