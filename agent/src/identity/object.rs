//! The few fields of a pod that matter here, and the events of a watch, as the API server writes them in JSON
//! (Kubernetes API reference: Pod v1, WatchEvent v1, Status v1). Everything else is skipped while it is read.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A pod as the table takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Ids without the runtime's scheme, and names.
    pub containers: Vec<(String, String)>,
    /// Of a static pod: what its cgroup has in place of the uid.
    pub config_hash: Option<String>,
}

/// A line of a watch.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub enum Event {
    Added(PodObject),
    Modified(PodObject),
    Deleted(PodObject),
    Bookmark(Bookmark),
    Error(Status),
}

/// A pod as it is written.
#[derive(Debug, Deserialize)]
pub struct PodObject {
    metadata: Metadata,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<Annotations>,
}

#[derive(Debug, Deserialize)]
struct Annotations {
    #[serde(rename = "kubernetes.io/config.mirror")]
    mirrored: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Deserialize)]
struct ContainerStatus {
    name: String,
    /// `containerd://ID`; empty while the container waits.
    #[serde(rename = "containerID", default)]
    container_id: String,
}

/// How far the watch is.
#[derive(Debug, Deserialize)]
pub struct Bookmark {
    pub metadata: ListMetadata,
}

/// Of a list, too.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMetadata {
    pub resource_version: String,
}

/// Why the server gives no answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub code: u16,
    pub reason: String,
    pub message: String,
}

impl PodObject {
    /// How far the watch is with it.
    pub fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref().filter(|version| !version.is_empty())
    }

    /// What is kept of it.
    pub fn into_pod(self) -> Pod {
        let PodStatus { container_statuses, init_container_statuses, ephemeral_container_statuses } = self.status;
        let all = [container_statuses, init_container_statuses, ephemeral_container_statuses];
        let id = |id: String| id.split_once("://").map_or(id.clone(), |(_, id)| id.to_owned());
        let containers = all.into_iter().flatten().flatten().map(|status| (id(status.container_id), status.name));
        Pod {
            uid: self.metadata.uid,
            namespace: self.metadata.namespace,
            name: self.metadata.name,
            labels: self.metadata.labels.unwrap_or_default(),
            containers: containers.filter(|(id, _)| !id.is_empty()).collect(),
            config_hash: self.metadata.annotations.and_then(|annotations| annotations.mirrored),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"vllm-0","namespace":"llm","uid":"u1",
        "resourceVersion":"41","labels":{"app":"vllm"},"annotations":{"kubernetes.io/config.mirror":"h1","x":"y"},
        "managedFields":[{"manager":"kubelet"}]},"spec":{"containers":[{"name":"vllm"}]},
        "status":{"phase":"Running","initContainerStatuses":[{"name":"fetch","containerID":"containerd://i1"}],
        "containerStatuses":[{"name":"vllm","containerID":"cri-o://c1","ready":true},{"name":"waits"}],
        "ephemeralContainerStatuses":null}}"#;

    #[test]
    fn what_matters_of_a_pod_is_read() {
        let object: PodObject = serde_json::from_str(POD).unwrap();
        assert_eq!(object.version(), Some("41"));
        let pod = object.into_pod();
        assert_eq!((&*pod.uid, &*pod.namespace, &*pod.name), ("u1", "llm", "vllm-0"));
        let containers: Vec<(&str, &str)> = pod.containers.iter().map(|(id, name)| (&**id, &**name)).collect();
        assert_eq!(containers, [("c1", "vllm"), ("i1", "fetch")]);
        assert_eq!((pod.labels["app"].as_str(), pod.config_hash.as_deref()), ("vllm", Some("h1")));
        let bare = r#"{"metadata":{"name":"n","namespace":"s","uid":"u"}}"#;
        assert!(serde_json::from_str::<PodObject>(bare).unwrap().into_pod().containers.is_empty());
    }

    #[test]
    fn events_are_told_apart() {
        let event = |text: &str| serde_json::from_str::<Event>(text);
        assert!(matches!(event(&format!(r#"{{"type":"ADDED","object":{POD}}}"#)), Ok(Event::Added(_))));
        assert!(matches!(event(&format!(r#"{{"object":{POD},"type":"DELETED"}}"#)), Ok(Event::Deleted(_))));
        let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"99","creationTimestamp":null},"spec":{"containers":null},"status":{}}}"#;
        let Ok(Event::Bookmark(at)) = event(bookmark) else { panic!("no bookmark") };
        assert_eq!(at.metadata.resource_version, "99");
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old resource version: 1 (2)","reason":"Expired","code":410}}"#;
        let Ok(Event::Error(status)) = event(gone) else { panic!("no error") };
        assert_eq!((status.code, &*status.reason), (410, "Expired"));
        assert!(event(r#"{"type":"NEW","object":{}}"#).is_err() && event("{}").is_err() && event("<html>").is_err());
    }
}
