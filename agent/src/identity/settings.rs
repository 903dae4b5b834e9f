//! Where Kubernetes is and which node this is: from the configuration, and what it leaves open from the environment that
//! every pod has.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::config::Kubernetes;

/// What the worker needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub node: String,
    pub pod_labels: Vec<String>,
    pub pod_resources: PathBuf,
    /// Folder of the service account's token and of the API server's certificate authority.
    pub service_account: PathBuf,
    /// `HOST:PORT` of the API server.
    pub api: String,
}

impl Settings {
    /// None if Kubernetes is off. Errors: it is wanted, and something is missing for it.
    pub fn of(config: &Kubernetes, environment: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let host = variable("KUBERNETES_SERVICE_HOST");
        if !config.enabled.unwrap_or(host.is_some()) {
            return Ok(None);
        }
        let host = host.context(
            "kubernetes.enabled is true, but KUBERNETES_SERVICE_HOST is not set: run inferscope in a pod, or leave the \
             key out",
        )?;
        let port = variable("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
        let Some(node) = config.node.clone().or_else(|| variable("NODE_NAME")) else {
            // A pod that was not made for it, such as one that somebody debugs from, is no reason not to start.
            if config.enabled.is_none() {
                tracing::warn!("no names of pods: {NO_NODE}");
                return Ok(None);
            }
            bail!(NO_NODE);
        };
        if !is_node_name(&node) {
            bail!("`{node}` is no name of a node: see `kubectl get nodes`, and set kubernetes.node or NODE_NAME");
        }
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Ok(Some(Self {
            node,
            pod_labels: config.pod_labels.clone(),
            pod_resources: config.pod_resources.clone(),
            service_account: config.service_account.clone(),
            api: format!("{host}:{port}"),
        }))
    }
}

const NO_NODE: &str = "the node's name is not known: set NODE_NAME in the pod from spec.nodeName (fieldRef), or \
                       kubernetes.node";

/// A DNS subdomain, as every object's name is.
fn is_node_name(text: &str) -> bool {
    const LONGEST: usize = 253;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(config: &Kubernetes, variables: &[(&str, &str)]) -> Result<Option<Settings>> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Settings::of(config, find)
    }

    #[test]
    fn it_is_on_in_a_pod_of_a_known_node() {
        let config = Kubernetes::default();
        assert_eq!(settings(&config, &[("NODE_NAME", "n1")]).unwrap(), None);
        let host = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        assert_eq!(settings(&config, &[host]).unwrap(), None, "told and left out");
        let found = settings(&config, &[host, ("NODE_NAME", "n1")]).unwrap().unwrap();
        assert_eq!((&*found.node, &*found.api), ("n1", "10.0.0.1:443"));
        let six = [("KUBERNETES_SERVICE_HOST", "fd00::1"), ("KUBERNETES_SERVICE_PORT", "6443")];
        let config = Kubernetes { node: Some("n2.example".to_owned()), ..config };
        assert_eq!(settings(&config, &six).unwrap().unwrap().api, "[fd00::1]:6443");
        let off = Kubernetes { enabled: Some(false), ..config };
        assert_eq!(settings(&off, &[host, ("NODE_NAME", "n1")]).unwrap(), None);
    }

    #[test]
    fn what_is_missing_is_told() {
        let on = Kubernetes { enabled: Some(true), ..Kubernetes::default() };
        let host = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        for (variables, wants) in [
            (&[][..], "KUBERNETES_SERVICE_HOST is not set"),
            (&[host], "set NODE_NAME in the pod from spec.nodeName"),
            (&[host, ("NODE_NAME", "n1,metadata.name=x")], "is no name of a node"),
        ] {
            let error = settings(&on, variables).unwrap_err().to_string();
            assert!(error.contains(wants), "{error}");
        }
    }
}
