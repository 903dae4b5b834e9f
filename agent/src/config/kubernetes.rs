//! Where the names of pods and containers come from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The `[kubernetes]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kubernetes {
    /// If not set: on where KUBERNETES_SERVICE_HOST is set, as in every pod.
    pub enabled: Option<bool>,
    /// This node's name; if not set, NODE_NAME of the environment.
    pub node: Option<String>,
    /// Labels of pods that series get.
    pub pod_labels: Vec<String>,
    /// The kubelet's socket that tells which container has which GPU.
    pub pod_resources: PathBuf,
    /// Folder of the service account: `token` and `ca.crt`.
    pub service_account: PathBuf,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Kubernetes {
            enabled: None,
            node: None,
            pod_labels: Vec::new(),
            pod_resources: "/var/lib/kubelet/pod-resources/kubelet.sock".into(),
            service_account: "/var/run/secrets/kubernetes.io/serviceaccount".into(),
        }
    }
}
