//! The scrape: families from every source, put together, sorted and written as text. Holds no state of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use ::prometheus::{Encoder, TextEncoder, proto::MetricFamily};
use anyhow::Result;

use super::{
    cgroup, family::Family, flights, gpu, http, identity, kernel, metrics, otlp, own, process,
    requests::RequestMetrics, serverlog, web::History,
};
use crate::{
    changes,
    clock::monotonic_ns,
    custom::Probes,
    events::Journal,
    identity::Identities,
    poll::{
        nvml::NvmlHandle,
        procfs::{ProcPoller, ProcSnapshot},
    },
    probe::{CounterReader, ProbeReport},
    services::{ServiceTable, ServiceView, SharedServices},
    shared::Live,
};

/// Everything that a scrape reads.
pub struct Sources {
    pub reader: CounterReader,
    pub reports: Vec<ProbeReport>,
    pub services: SharedServices,
    pub live: Arc<Live>,
    pub requests: Arc<RequestMetrics>,
    /// Metrics of the configuration that are made of probes.
    pub probes: Option<Arc<Probes>>,
    /// For the page and the API; no scrape reads it.
    pub history: Arc<History>,
    pub journal: Arc<Journal>,
    /// How many changes there were.
    pub changes: Arc<changes::Counts>,
    pub records_lost: Option<Arc<AtomicU64>>,
    pub otlp: Option<Arc<otlp::Counts>>,
    /// Whom the HTTP server lets in.
    pub door: http::Door,
    pub nvml: Option<Arc<NvmlHandle>>,
    /// Who containers are; none outside Kubernetes.
    pub identities: Option<Identities>,
    pub procfs: ProcPoller,
    /// Series with the labels pid and comm too.
    pub per_process: bool,
    pub started: SystemTime,
}

/// A place of the kernel side that is no loss: what is encrypted has a family of its own.
pub const CIPHERTEXT: &str = "ciphertext";
/// Where records are lost that an output did not take.
pub const RECORDS: &str = "records";
/// A pipeline that has not turned for so long does not work any more.
const STALLED: Duration = Duration::from_secs(10);

impl Sources {
    /// Whether the pipeline turns.
    pub fn healthy(&self) -> bool {
        let turned = self.live.turned_ns.load(Ordering::Relaxed);
        turned != 0 && monotonic_ns().saturating_sub(turned) < STALLED.as_nanos() as u64
    }

    /// All families, as text in Prometheus' exposition format.
    pub fn scrape(&self) -> Result<String> {
        let mut text = Vec::with_capacity(64 << 10);
        TextEncoder::new().encode(&self.families(), &mut text)?;
        Ok(String::from_utf8(text)?)
    }

    /// All families, sorted by name.
    pub fn families(&self) -> Vec<MetricFamily> {
        let services = self.services.table();
        let mut families = self.requests.families();
        families.extend(self.service_families(&services));
        families.extend(self.changes.families());
        families.extend(self.probes.iter().flat_map(|probes| probes.families()));
        let now = monotonic_ns();
        families.extend(kernel::services(|index| Some(self.reader.service(index)?.at(now)), &services));
        let proc = self.proc_snapshot(&services);
        families.extend(cgroup::families(&proc, &services));
        if self.per_process {
            families.extend(kernel::sched(&self.reader, &services, monotonic_ns()));
            families.extend(kernel::syscalls(&self.reader, &services));
            families.extend(process::families(&proc, &services));
        }
        families.extend(process::failures(&proc));
        let gpu = self.nvml.as_ref().map(|nvml| nvml.snapshot());
        if let Some(gpu) = &gpu {
            families.extend(gpu::families(gpu));
            if self.per_process {
                families.extend(gpu::processes(gpu, &services));
            }
        }
        if let Some(identities) = &self.identities {
            families.extend(identity::families(identities, gpu.as_deref()));
        }
        identity::label(&mut families, self.identities.as_ref(), &self.services.homes());
        families.extend(kernel::probes(&self.reports));
        families.extend(self.own_families());
        families.extend(own::families(proc.own.as_ref(), self.started));
        families.extend(self.otlp.iter().flat_map(|otlp| otlp.families()));
        families.extend(self.door.counts.family());
        families.extend(http::web_config(&self.door.current));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        families
    }

    /// What /proc said last; asks for the processes of these services from now on.
    fn proc_snapshot(&self, services: &ServiceTable) -> ProcSnapshot {
        let all = |service: &ServiceView| service.processes.iter().map(|process| process.pid).collect();
        // The control group of a service is that of its root process.
        let pids = |service: &ServiceView| if self.per_process { all(service) } else { vec![service.pid] };
        self.procfs.watch(&services.iter().flat_map(|service| pids(service)).collect::<Vec<u32>>());
        self.procfs.snapshot()
    }

    fn service_families(&self, services: &ServiceTable) -> Vec<MetricFamily> {
        let mut info = Family::new(&metrics::SERVICE_INFO);
        let mut count = Family::new(&metrics::SERVICE_PROCESSES);
        for service in services.iter() {
            let port = service.ports.first().map(u16::to_string).unwrap_or_default();
            let version = service.version.as_deref().unwrap_or_default();
            let model = service.model.as_deref().unwrap_or_default();
            let pid = service.pid.to_string();
            let container = service.container.as_ref();
            let container_id = container.map_or("", |container| &container.id);
            let pod_uid = container.and_then(|container| container.pod_uid.as_deref()).unwrap_or_default();
            info.add(&[&service.name, &service.engine, version, model, &port, &pid, container_id, pod_uid], 1.0);
            count.add(&[&service.name], service.processes.len() as f64);
        }
        let snapshot = self.live.snapshot();
        let mut active = Family::new(&metrics::HTTP_ACTIVE);
        for service in services.iter() {
            let port = service.ports.first().copied().unwrap_or_default();
            if !snapshot.in_flight.keys().any(|(name, _)| *name == service.name) {
                active.add(&[&service.name, &port.to_string()], 0.0);
            }
        }
        for ((service, port), requests) in &snapshot.in_flight {
            active.add(&[service, &port.to_string()], *requests as f64);
        }
        let mut exits = Family::new(&metrics::PROCESS_EXITS);
        for ((service, cause), processes) in &snapshot.exits {
            exits.add(&[service, cause.name, cause.signal], *processes as f64);
        }
        let rows = |index| self.reader.logs(index);
        let families = [info, count, active, exits].into_iter().filter_map(Family::finish);
        families
            .chain(flights::families(services, &snapshot))
            .chain(serverlog::families(services, &snapshot, rows))
            .collect()
    }

    /// What was lost or left out so far, by place.
    pub fn losses(&self) -> Vec<(&'static str, u64)> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut losses = self.reader.lost().to_vec();
        losses.retain(|(place, _)| *place != CIPHERTEXT);
        losses.extend(self.live.refused());
        losses.extend(self.otlp.iter().flat_map(|otlp| otlp.losses()));
        let snapshot = self.live.snapshot();
        let (stats, logs) = (snapshot.stats, snapshot.logs.unwrap_or_default());
        losses.extend([
            ("program_busy", self.reader.missed_runs()),
            ("undecodable", count(&self.live.undecodable)),
            ("asks", count(&self.live.asks_lost)),
            ("custom_value", self.requests.unusable()),
            ("changes", count(&self.live.changes_lost)),
            ("unknown_service", count(&self.live.unknown_service)),
            (RECORDS, self.records_lost.as_deref().map_or(0, count)),
            ("connection_evicted", stats.evictions),
            ("engine_frames", stats.engine_frames_lost),
            ("engine_requests", stats.engine_requests_lost),
            ("log_undecided", logs.undecided),
            ("log_records", logs.records_left_out),
        ]);
        losses
    }

    fn own_families(&self) -> Vec<MetricFamily> {
        let snapshot = self.live.snapshot();
        let mut events = Family::new(&metrics::EVENTS);
        for (kind, count) in self.live.events() {
            events.add(&[kind], count as f64);
        }
        let mut lost = Family::new(&metrics::EVENTS_LOST);
        for (place, count) in self.losses() {
            lost.add(&[place], count as f64);
        }
        let mut failures = Family::new(&metrics::PARSE_FAILURES);
        for (cause, count) in snapshot.stats.failures() {
            failures.add(&[cause], count as f64);
        }
        let mut unsupported = Family::new(&metrics::UNSUPPORTED);
        unsupported.add(&["http2"], snapshot.stats.http2 as f64);
        unsupported.add(&["upgraded"], snapshot.stats.upgraded as f64);
        let tls = self.reader.lost().into_iter().find(|(place, _)| *place == CIPHERTEXT);
        unsupported.add(&["tls"], tls.map_or(0.0, |(_, count)| count as f64));
        let mut overflow = Family::new(&metrics::SERIES_OVERFLOW);
        let over = [
            ("process_exits", snapshot.exits_overflow),
            ("log_lines", snapshot.logs.as_ref().map_or(0, |logs| logs.overflow)),
            ("changes", self.changes.overflow()),
        ];
        let of_probes = self.probes.as_ref().map_or(0, |probes| probes.overflow());
        for (family, count) in self.requests.overflow().into_iter().chain(over) {
            let count = if family == "custom" { count + of_probes } else { count };
            overflow.add(&[family], count as f64);
        }
        let single = |metric, value: f64| {
            let mut family = Family::new(metric);
            family.add(&[], value);
            family
        };
        [
            events,
            lost,
            failures,
            unsupported,
            overflow,
            single(&metrics::EXCHANGES_LOST, snapshot.stats.exchanges_lost as f64),
            single(&metrics::HOPS, snapshot.stats.hops as f64),
            single(&metrics::CONNECTIONS, snapshot.connections as f64),
            single(&metrics::BYTES_LEFT_OUT, snapshot.stats.bytes_left_out as f64),
            single(&metrics::RING_FILL, self.live.batch.load(Ordering::Relaxed) as f64),
        ]
        .into_iter()
        .filter_map(Family::finish)
        .collect()
    }
}
