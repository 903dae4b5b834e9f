//! What a request says of the container that its service's root process runs in.

use serde::Serialize;

use super::Identities;
use crate::discover::Container;

/// Names of the container; what is not known, or not there, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Home {
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub container: Option<String>,
    pub container_id: Option<String>,
    #[serde(skip)]
    pub pod_uid: Option<String>,
    #[serde(skip)]
    pub node: Option<String>,
}

impl Home {
    /// Of a process in this container, or in none.
    pub fn of(container: Option<&Container>, identities: Option<&Identities>) -> Self {
        let Some(container) = container else { return Self::default() };
        let known = identities.and_then(|identities| identities.of(container)).map(|known| Self {
            namespace: Some(known.namespace.to_string()),
            pod: Some(known.pod.to_string()),
            container: known.container.map(|name| name.to_string()),
            pod_uid: Some(known.pod_uid.to_string()),
            node: Some(known.node.to_string()),
            container_id: None,
        });
        let ids_only = || Self { pod_uid: container.pod_uid.clone(), ..Self::default() };
        Self { container_id: Some(container.id.clone()), ..known.unwrap_or_else(ids_only) }
    }
}
