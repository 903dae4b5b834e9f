//! The watched services as the pipeline publishes them: an immutable table that scrapes read without a lock held.
#![forbid(unsafe_code)]

use std::sync::{Arc, PoisonError, RwLock};

use rustc_hash::FxHashMap;

use crate::discover::Container;

/// A process of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessView {
    pub pid: u32,
    pub comm: String,
}

/// A watched service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// The one that the root process runs in.
    pub container: Option<Container>,
    /// Root and children, ascending.
    pub processes: Vec<ProcessView>,
}

/// All watched services at one moment. No two have the same name: it labels their series.
pub type ServiceTable = Arc<Vec<Arc<ServiceView>>>;

/// Service and `comm` of every watched process, by pid.
pub fn owners(services: &ServiceTable) -> FxHashMap<u32, (&str, &str)> {
    let each = services.iter().flat_map(|service| service.processes.iter().map(move |view| (service, view)));
    each.map(|(service, view)| (view.pid, (service.name.as_str(), view.comm.as_str()))).collect()
}

/// The name itself, or if that is taken, the first with a number that is not.
pub fn free_name(name: String, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(&name) {
        return name;
    }
    let mut numbered = (2..).map(|n: u32| format!("{name}-{n}"));
    numbered.find(|name| !is_taken(name)).expect("the numbers do not end before the names do")
}

/// Where a service's series belong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Belongs {
    /// The one that the root process is, or was, in.
    pub container: Option<Container>,
    /// The service's name before it was made unique on this host, if it is another: its replicas have the same.
    pub group: Option<String>,
}

/// By name of the service, where there is something to say; also of services that have ended, while their series stay.
pub type Homes = FxHashMap<String, Belongs>;

/// The cell through which the table passes.
#[derive(Debug, Clone, Default)]
pub struct SharedServices(Arc<RwLock<(ServiceTable, Arc<Homes>)>>);

impl SharedServices {
    /// Replaces the table for everyone who asks from now on.
    pub fn publish(&self, table: Vec<Arc<ServiceView>>, homes: Homes) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(table), Arc::new(homes));
    }

    /// The table as it stands.
    pub fn table(&self) -> ServiceTable {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Where the services are, or were.
    pub fn homes(&self) -> Arc<Homes> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_services_have_one_name() {
        let free = |taken: &[&str]| free_name("a".to_owned(), |name| taken.contains(&name));
        assert_eq!(free(&["b"]), "a");
        assert_eq!(free(&["a"]), "a-2");
        assert_eq!(free(&["a", "a-2", "a-4"]), "a-3");
    }
}
