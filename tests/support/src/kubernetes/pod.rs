//! A pod as the API server writes it: with all that nobody here reads, which is most of it.

use serde_json::{Value, json};

use super::NODE;

/// What of a pod differs.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub labels: Vec<(String, String)>,
    /// Names, and ids of those that run.
    pub containers: Vec<(String, Option<String>)>,
}

impl Pod {
    /// One with a container that runs.
    pub fn new(name: &str, container: &str, id: &str) -> Self {
        Self {
            uid: format!("uid-of-{name}"),
            namespace: "llm".to_owned(),
            name: name.to_owned(),
            labels: vec![("app".to_owned(), "chat".to_owned())],
            containers: vec![(container.to_owned(), Some(id.to_owned()))],
        }
    }

    /// The object at a version; about 5 KB, as pods are.
    pub(super) fn json(&self, version: u64) -> String {
        let labels: serde_json::Map<String, Value> =
            self.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let spec = |(name, _): &(String, Option<String>)| {
            json!({
                "name": name, "image": "registry.example/vllm:v0.32.0", "args": ["serve", "{\"items\":[1]}", "--port=8000"],
                "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "resources": {"limits": {"nvidia.com/gpu": "1", "memory": "64Gi"}},
                "volumeMounts": [{"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            })
        };
        let status = |(name, id): &(String, Option<String>)| {
            let state = if id.is_some() { "running" } else { "waiting" };
            json!({
                "name": name, "ready": id.is_some(), "restartCount": 0, "state": {state: {}}, "lastState": {},
                "image": "registry.example/vllm:v0.32.0",
                "containerID": id.as_ref().map_or(String::new(), |id| format!("containerd://{id}")),
            })
        };
        let managed: Vec<Value> = (0..3)
            .map(|_| json!({"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": "x".repeat(800)}}))
            .collect();
        json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "name": self.name, "namespace": self.namespace, "uid": self.uid, "labels": labels,
                "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"kubernetes.io/config.seen": "2026-01-01"}, "managedFields": managed,
            },
            "spec": {"nodeName": NODE, "containers": self.containers.iter().map(spec).collect::<Vec<_>>()},
            "status": {
                "phase": "Running", "hostIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": self.containers.iter().map(status).collect::<Vec<_>>(),
            },
        })
        .to_string()
    }
}
