//! What an `attach` as a whole saw beside requests, and what it could not see.

use std::collections::BTreeMap;

use inferscope_abi::Snapshot;

use crate::{
    clock::monotonic_ns,
    correlate::HostShare,
    export::prometheus::{CIPHERTEXT, Sources},
    poll::nvml::NvmlHealth,
};

/// The services' counters when they were first seen, and when they were last.
#[derive(Debug, Default)]
pub struct Counters(BTreeMap<u32, (Snapshot, Snapshot)>);

impl Counters {
    /// Reads them: those of a service that has ended keep their last values.
    pub fn sample(&mut self, sources: &Sources) {
        let now = monotonic_ns();
        for service in sources.services.table().iter() {
            if let Some(counters) = sources.reader.service(service.index) {
                let snapshot = counters.at(now);
                self.0.entry(service.index).or_insert((snapshot, snapshot)).1 = snapshot;
            }
        }
    }

    /// What all threads did between the two; None if there was no service.
    pub fn during(&mut self, sources: &Sources) -> Option<HostShare> {
        self.sample(sources);
        self.0.values().map(|(first, last)| HostShare::between(first, last)).reduce(|all, one| all.plus(&one))
    }
}

/// In words, one each.
pub fn all(sources: &Sources) -> Vec<String> {
    let refused = sources.reports.iter().filter(|report| report.hook.is_none());
    let mut unseen: Vec<String> = refused.map(|report| format!("{} (the kernel refused it)", report.gives)).collect();
    unseen.dedup();
    match sources.nvml.as_ref().map(|nvml| nvml.snapshot().health.clone()) {
        Some(NvmlHealth::Ok) => {}
        Some(NvmlHealth::Absent { .. }) | None => unseen.push("GPUs (no NVML here)".to_owned()),
        Some(other) => unseen.push(format!("GPUs (NVML is {})", other.word())),
    }
    let stats = sources.live.snapshot().stats;
    let tls = sources.reader.lost().into_iter().find(|(place, _)| *place == CIPHERTEXT).map_or(0, |(_, count)| count);
    let hidden =
        [(tls, "encrypted connections"), (stats.http2, "HTTP/2 connections"), (stats.upgraded, "upgraded connections")];
    unseen.extend(hidden.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    unseen
}
