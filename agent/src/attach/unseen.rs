//! What an `attach` as a whole saw beside requests, what it lost, and what it could not see.

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

/// Places of losses that make no figure of an `attach` smaller: what the cap leaves out of contents is left out on
/// purpose, with sizes that are exact; the questions about strangers, and the room for those that may be servers, are for
/// discovery, and here nothing is to be discovered.
const NO_LOSSES: [&str; 3] = ["capture_cap", "asks", "candidates"];

/// What was lost so far, by place: only what can make figures too small.
pub fn losses(sources: &Sources) -> Vec<(&'static str, u64)> {
    real(sources.losses())
}

fn real(mut losses: Vec<(&'static str, u64)>) -> Vec<(&'static str, u64)> {
    losses.retain(|(place, _)| !NO_LOSSES.contains(place));
    losses
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_figure_lacks_is_no_loss() {
        let all = ["asks", "ring_payload", "capture_cap", "user_read", "candidates", "records"];
        let losses = real(all.into_iter().map(|place| (place, 1)).collect());
        assert_eq!(losses, [("ring_payload", 1), ("user_read", 1), ("records", 1)]);
    }
}
