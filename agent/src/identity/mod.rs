//! Who a container is: namespace, pod, container and chosen labels, told by the API server of the cluster, and which GPUs
//! it was given, told by this node's kubelet. Knows only what is on this node, asks on a thread of its own, and answers
//! at once: what is not known yet is `None`.
#![forbid(unsafe_code)]

mod account;
mod ask;
mod device;
mod failure;
mod home;
pub mod items;
pub mod object;
pub mod pod_resources;
mod settings;
mod state;
mod table;
#[cfg(test)]
pub mod tests;
mod watch;
mod worker;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

pub use ask::{Answers, ask};
pub use device::DeviceUse;
pub use failure::{Failure, KINDS, Kind};
pub use home::Home;
pub use settings::Settings;
pub use state::{SOURCES, Source, State};
pub use worker::{Running, begin};

use crate::discover::Container;
use table::Table;

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub namespace: Arc<str>,
    pub pod: Arc<str>,
    /// As the API server has it: of a static pod another one than in the container's cgroup.
    pub pod_uid: Arc<str>,
    /// `None` until the pod's status names the container, and for what is no container of the pod's own.
    pub container: Option<Arc<str>>,
    /// The pod's labels that the configuration asks for, as names for series and values.
    pub labels: Arc<[(String, String)]>,
    pub node: Arc<str>,
}

/// The node's containers. Clones are the same.
#[derive(Clone, Debug)]
pub struct Identities(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    node: Arc<str>,
    pod_labels: Vec<String>,
    table: RwLock<Table>,
    devices: RwLock<Arc<Vec<DeviceUse>>>,
    state: State,
}

impl Identities {
    /// Knows nobody yet. `pod_labels` are those that identities have.
    pub fn new(node: &str, pod_labels: Vec<String>) -> Self {
        Self(Arc::new(Shared {
            node: node.into(),
            pod_labels,
            table: RwLock::default(),
            devices: RwLock::default(),
            state: State::default(),
        }))
    }

    /// Who a container is: by its id, else by its pod alone. `None` if neither is known.
    pub fn of(&self, container: &Container) -> Option<Identity> {
        let table = self.0.table.read().unwrap_or_else(PoisonError::into_inner);
        let known = table.find(&container.id, container.pod_uid.as_deref())?;
        Some(Identity {
            namespace: Arc::clone(&known.pod.namespace),
            pod: Arc::clone(&known.pod.name),
            pod_uid: Arc::clone(known.uid),
            container: known.container.cloned(),
            labels: Arc::clone(&known.pod.labels),
            node: Arc::clone(&self.0.node),
        })
    }

    /// Pods of this node that have not ended.
    pub fn pods(&self) -> usize {
        self.0.table.read().unwrap_or_else(PoisonError::into_inner).living()
    }

    /// GPUs that containers were given, as the kubelet told last.
    pub fn devices(&self) -> Arc<Vec<DeviceUse>> {
        Arc::clone(&self.0.devices.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How the sources go.
    pub fn state(&self) -> &State {
        &self.0.state
    }

    /// Those of a pod's labels that are wanted, as `label_NAME` with what no series may have in a name made `_`.
    fn chosen(&self, labels: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let mut chosen: Vec<(String, String)> = Vec::new();
        for name in &self.0.pod_labels {
            let as_label = label_name(name);
            if let Some(value) = labels.get(name)
                && !chosen.iter().any(|(taken, _)| *taken == as_label)
            {
                chosen.push((as_label, value.clone()));
            }
        }
        chosen
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table, Instant) -> T) -> T {
        change(&mut self.0.table.write().unwrap_or_else(PoisonError::into_inner), Instant::now())
    }

    fn set_devices(&self, devices: Vec<DeviceUse>) {
        *self.0.devices.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(devices);
    }
}

fn label_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("label_{}", name.chars().map(plain).collect::<String>())
}
