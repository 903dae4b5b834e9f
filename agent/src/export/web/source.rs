//! What the page and the API read of the running agent, as one list: tests and the load example have another agent behind
//! it than the one with kernel programs.

use std::{sync::Arc, time::SystemTime};

use inferscope_abi::Snapshot;

use super::history::History;
use crate::{
    clock::monotonic_ns,
    events::Journal,
    export::prometheus::Sources,
    identity::Identities,
    poll::{nvml::GpuSnapshot, procfs::ProcessReading},
    probe::ProbeReport,
    services::ServiceTable,
    shared::Live,
};

/// A running agent. All calls return at once.
pub trait Source: Send + Sync + 'static {
    fn history(&self) -> &History;
    fn journal(&self) -> &Journal;
    fn services(&self) -> ServiceTable;
    fn live(&self) -> &Live;
    /// A service's counters now, by its index; None if there are none.
    fn counters(&self, index: u32) -> Option<Snapshot>;
    /// None where GPUs are not looked at.
    fn gpus(&self) -> Option<Arc<GpuSnapshot>>;
    /// The agent itself in /proc.
    fn own(&self) -> Option<ProcessReading>;
    /// What was lost or left out so far, by place.
    fn losses(&self) -> Vec<(&'static str, u64)>;
    fn probes(&self) -> &[ProbeReport];
    /// Who containers are; none outside Kubernetes.
    fn identities(&self) -> Option<&Identities>;
    /// Whether the pipeline turns.
    fn healthy(&self) -> bool;
    fn started(&self) -> SystemTime;
}

impl Source for Sources {
    fn history(&self) -> &History {
        &self.history
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    fn services(&self) -> ServiceTable {
        self.services.table()
    }

    fn live(&self) -> &Live {
        &self.live
    }

    fn counters(&self, index: u32) -> Option<Snapshot> {
        Some(self.reader.service(index)?.at(monotonic_ns()))
    }

    fn gpus(&self) -> Option<Arc<GpuSnapshot>> {
        self.nvml.as_ref().map(|nvml| nvml.snapshot())
    }

    fn own(&self) -> Option<ProcessReading> {
        self.procfs.snapshot().own
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        Sources::losses(self)
    }

    fn probes(&self) -> &[ProbeReport] {
        &self.reports
    }

    fn identities(&self) -> Option<&Identities> {
        self.identities.as_ref()
    }

    fn healthy(&self) -> bool {
        Sources::healthy(self)
    }

    fn started(&self) -> SystemTime {
        self.started
    }
}
