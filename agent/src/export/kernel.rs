//! Families read straight from the kernel side's counters: scheduling, sockets, system calls, losses, probes.

use std::collections::BTreeMap;

use ::prometheus::proto::MetricFamily;
use inferscope_abi::{
    FIRST_OFFCPU_STATE, Process, RUNQ_BUCKETS, RUNQ_SHIFT, STATE_NAMES, STATE_ONCPU, STATE_RUNQUEUE, Snapshot,
    state_ns_since_start,
};

use super::{family::Family, metrics};
use crate::{
    probe::{CounterReader, ProbeReport, arch},
    services::{ProcessView, ServiceTable, ServiceView, owners},
};

const NS: f64 = 1e-9;

/// Upper edges of the run-queue histogram in seconds; the kernel's last bucket has no edge.
fn runqueue_edges() -> [f64; RUNQ_BUCKETS - 1] {
    std::array::from_fn(|bucket| (1u64 << (bucket as u32 + RUNQ_SHIFT)) as f64 / 1e9)
}

fn seconds(counters: &Snapshot, state: usize) -> f64 {
    state_ns_since_start(counters.state_ns[state]) as f64 * NS
}

struct SchedFamilies {
    oncpu: Family,
    runqueue: Family,
    offcpu: Family,
    latency: Family,
    switches: Family,
    block_ios: Family,
    block_bytes: Family,
}

impl SchedFamilies {
    fn add(&mut self, service: &ServiceView, view: &ProcessView, process: &Process, now_ns: u64) {
        let pid = view.pid.to_string();
        let labels: [&str; 3] = [&service.name, &pid, &view.comm];
        let with = |last| [labels[0], labels[1], labels[2], last];
        let now = process.counters.at(now_ns);
        self.oncpu.add(&labels, seconds(&now, STATE_ONCPU));
        self.runqueue.add(&labels, seconds(&now, STATE_RUNQUEUE));
        for (state, name) in STATE_NAMES.iter().enumerate().skip(FIRST_OFFCPU_STATE) {
            self.offcpu.add(&with(name), seconds(&now, state));
        }
        let waited = seconds(&now, STATE_RUNQUEUE);
        self.latency.add_histogram(&labels, &runqueue_edges(), &process.runq_delay, waited);
        self.switches.add(&with("voluntary"), process.counters.voluntary_switches as f64);
        self.switches.add(&with("involuntary"), process.counters.involuntary_switches as f64);
        self.block_ios.add(&labels, process.counters.block_ios as f64);
        self.block_bytes.add(&labels, process.counters.block_bytes as f64);
    }
}

/// Scheduling and block I/O of every watched process, exact at `now_ns` (CLOCK_MONOTONIC).
pub fn sched(reader: &CounterReader, services: &ServiceTable, now_ns: u64) -> Vec<MetricFamily> {
    let mut families = SchedFamilies {
        oncpu: Family::new(&metrics::PROCESS_ONCPU),
        runqueue: Family::new(&metrics::PROCESS_RUNQUEUE),
        offcpu: Family::new(&metrics::PROCESS_OFFCPU),
        latency: Family::new(&metrics::RUNQUEUE_LATENCY),
        switches: Family::new(&metrics::PROCESS_SWITCHES),
        block_ios: Family::new(&metrics::PROCESS_BLOCK_IOS),
        block_bytes: Family::new(&metrics::PROCESS_BLOCK_BYTES),
    };
    for service in services.iter() {
        for view in &service.processes {
            if let Some(process) = reader.process(view.pid) {
                families.add(service, view, &process, now_ns);
            }
        }
    }
    let SchedFamilies { oncpu, runqueue, offcpu, latency, switches, block_ios, block_bytes } = families;
    [oncpu, runqueue, offcpu, latency, switches, block_ios, block_bytes]
        .into_iter()
        .filter_map(Family::finish)
        .collect()
}

/// Thread states of every service, with those of its processes that have ended. `sums`: the counters of the service at an
/// index, as they stand now.
pub fn services(sums: impl Fn(u32) -> Option<Snapshot>, services: &ServiceTable) -> impl Iterator<Item = MetricFamily> {
    let mut oncpu = Family::new(&metrics::SERVICE_ONCPU);
    let mut runqueue = Family::new(&metrics::SERVICE_RUNQUEUE);
    let mut offcpu = Family::new(&metrics::SERVICE_OFFCPU);
    for service in services.iter() {
        let Some(now) = sums(service.index) else { continue };
        oncpu.add(&[&service.name], seconds(&now, STATE_ONCPU));
        runqueue.add(&[&service.name], seconds(&now, STATE_RUNQUEUE));
        for (state, name) in STATE_NAMES.iter().enumerate().skip(FIRST_OFFCPU_STATE) {
            offcpu.add(&[&service.name, name], seconds(&now, state));
        }
    }
    [oncpu, runqueue, offcpu].into_iter().filter_map(Family::finish)
}

/// System calls of every watched process, and what they moved through sockets.
pub fn syscalls(reader: &CounterReader, services: &ServiceTable) -> Vec<MetricFamily> {
    let mut calls = Family::new(&metrics::SYSCALLS);
    let mut seconds = Family::new(&metrics::SYSCALL_SECONDS);
    let mut errors = Family::new(&metrics::SYSCALL_ERRORS);
    let mut unseen = Family::new(&metrics::UNSEEN_CALLS);
    let mut network: BTreeMap<u32, [u64; 2]> = BTreeMap::new();
    let owners = owners(services);
    for row in reader.syscalls() {
        let Some((service, comm)) = owners.get(&row.key.tgid) else { continue };
        let pid = row.key.tgid.to_string();
        let name = arch::syscall_name(row.key.number);
        let labels: [&str; 4] = [service, &pid, comm, &name];
        calls.add(&labels, row.stats.calls as f64);
        seconds.add(&labels, row.stats.time_ns as f64 * NS);
        if row.stats.errors != 0 {
            errors.add(&labels, row.stats.errors as f64);
        }
        if arch::is_unseen(row.key.number) {
            unseen.add(&labels, row.stats.calls as f64);
        }
        network.entry(row.key.tgid).or_default()[usize::from(!arch::receives(row.key.number))] +=
            row.stats.socket_bytes;
    }
    let mut sockets = Family::new(&metrics::PROCESS_NETWORK);
    for (tgid, bytes) in network {
        let Some((service, comm)) = owners.get(&tgid) else { continue };
        for (direction, bytes) in ["receive", "transmit"].into_iter().zip(bytes) {
            sockets.add(&[service, &tgid.to_string(), comm, direction], bytes as f64);
        }
    }
    [calls, seconds, errors, unseen, sockets].into_iter().filter_map(Family::finish).collect()
}

/// Which probe got which hook.
pub fn probes(reports: &[ProbeReport]) -> Option<MetricFamily> {
    let mut up = Family::new(&metrics::PROBE_UP);
    for report in reports {
        let hook = report.hook.as_deref().unwrap_or(report.program);
        up.add(&[report.probe, hook], f64::from(u8::from(report.hook.is_some())));
    }
    up.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use inferscope_abi::STATE_FUTEX;

    use super::*;

    #[test]
    fn a_service_has_the_sums_at_its_index() {
        let service = |index, name: &str| Arc::new(ServiceView { index, name: name.into(), ..ServiceView::default() });
        let table = Arc::new(vec![service(1, "a"), service(3, "b")]);
        let sums = |index: u32| {
            let mut now = Snapshot::default();
            now.state_ns[STATE_ONCPU] = u64::from(index) * 1_500_000_000;
            now.state_ns[STATE_FUTEX] = 6_000_000_000;
            (index != 3).then_some(now)
        };
        let families: Vec<_> = services(sums, &table).collect();
        let text = ::prometheus::TextEncoder::new().encode_to_string(&families).expect("encodable");
        for line in [
            "inferscope_service_oncpu_seconds_total{service=\"a\"} 1.5",
            "inferscope_service_runqueue_seconds_total{service=\"a\"} 0",
            "inferscope_service_offcpu_seconds_total{service=\"a\",reason=\"futex\"} 6",
        ] {
            assert!(text.lines().any(|got| got == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("\"b\""), "{text}");
    }
}
