//! The watched services as the pipeline publishes them: an immutable table that scrapes read without a lock held.
#![forbid(unsafe_code)]

use std::sync::{Arc, PoisonError, RwLock};

use rustc_hash::FxHashMap;

/// A process of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessView {
    pub pid: u32,
    pub comm: String,
}

/// A watched service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// Index of the kernel side's array SERVICE.
    pub index: u32,
    pub name: String,
    pub engine: String,
    pub version: Option<String>,
    pub model: Option<String>,
    pub ports: Vec<u16>,
    /// Root process.
    pub pid: u32,
    /// Root and children, ascending.
    pub processes: Vec<ProcessView>,
}

/// All watched services at one moment.
pub type ServiceTable = Arc<Vec<Arc<ServiceView>>>;

/// Service and `comm` of every watched process, by pid.
pub fn owners(services: &ServiceTable) -> FxHashMap<u32, (&str, &str)> {
    let each = services.iter().flat_map(|service| service.processes.iter().map(move |view| (service, view)));
    each.map(|(service, view)| (view.pid, (service.name.as_str(), view.comm.as_str()))).collect()
}

/// The cell through which the table passes.
#[derive(Debug, Clone, Default)]
pub struct SharedServices(Arc<RwLock<ServiceTable>>);

impl SharedServices {
    /// Replaces the table for everyone who asks from now on.
    pub fn publish(&self, table: Vec<Arc<ServiceView>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// The table as it stands.
    pub fn table(&self) -> ServiceTable {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
