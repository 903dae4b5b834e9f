//! The chart as real helm renders it, and of it what a kubelet reads of a pod. A field that nobody here carries out is an
//! error: what the chart says must not be left out in silence.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{paths, process, setup};

/// Read by the API server, the scheduler or a controller, or of no effect on a node without them.
const NOT_THE_CONTAINERS: [&str; 10] = [
    "name",
    "serviceAccountName",
    "enableServiceLinks",
    "terminationGracePeriodSeconds",
    "nodeSelector",
    "tolerations",
    "image",
    "imagePullPolicy",
    "startupProbe",
    "livenessProbe",
];

/// What the chart makes of some values.
pub struct Chart {
    pub pod: Pod,
    /// Files of the ConfigMap, by name.
    pub files: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct DaemonSet {
    spec: DaemonSetSpec,
}

#[derive(Deserialize)]
struct DaemonSetSpec {
    template: Template,
}

#[derive(Deserialize)]
struct Template {
    spec: Pod,
}

/// `PodSpec`, as far as the chart uses it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    #[serde(rename = "hostPID", default)]
    pub host_pid: bool,
    #[serde(default)]
    pub automount_service_account_token: bool,
    pub containers: Vec<Container>,
    #[serde(default)]
    pub volumes: Vec<Volume>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub command: Vec<String>,
    pub args: Vec<String>,
    #[serde(default)]
    pub env: Vec<Variable>,
    pub ports: Vec<Port>,
    pub readiness_probe: Probe,
    #[serde(default)]
    pub resources: Resources,
    pub security_context: SecurityContext,
    #[serde(default)]
    pub volume_mounts: Vec<VolumeMount>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Variable {
    pub name: String,
    pub value: Option<String>,
    pub value_from: Option<Source>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    pub field_ref: FieldRef,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldRef {
    pub field_path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    pub name: String,
    pub container_port: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    pub http_get: HttpGet,
}

#[derive(Deserialize)]
pub struct HttpGet {
    pub path: String,
    /// A port's name.
    pub port: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    #[serde(default)]
    pub limits: BTreeMap<String, String>,
    #[serde(default)]
    pub requests: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityContext {
    pub run_as_user: u32,
    pub run_as_group: u32,
    pub run_as_non_root: bool,
    pub read_only_root_filesystem: bool,
    pub privileged: bool,
    pub allow_privilege_escalation: bool,
    pub capabilities: Capabilities,
    pub seccomp_profile: Profile,
    /// Of no effect on a kernel without it.
    #[serde(rename = "appArmorProfile")]
    _app_armor: Profile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    pub drop: Vec<String>,
    pub add: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeMount {
    pub name: String,
    pub mount_path: String,
    #[serde(default)]
    pub read_only: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    pub name: String,
    pub config_map: Option<ConfigMapVolume>,
    pub host_path: Option<HostPath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigMapVolume {
    pub name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPath {
    pub path: String,
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Deserialize)]
struct ConfigMap {
    metadata: Metadata,
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

impl Chart {
    /// Renders it. Errors: helm or its pinned package is not to be had, or the chart says what nobody here carries out.
    pub fn render(values: &[String]) -> Result<Self> {
        let helm = setup::tools::kubernetes()?.join("bin/helm");
        let set: DaemonSet = template(&helm, "daemonset", values)?;
        let map: ConfigMap = template(&helm, "config", values)?;
        let pod = set.spec.template.spec;
        pod.check(&map.metadata.name)?;
        Ok(Self { pod, files: map.data })
    }
}

impl Pod {
    /// The one container.
    pub fn container(&self) -> Result<&Container> {
        let [container] = self.containers.as_slice() else { anyhow::bail!("the chart has not one container") };
        Ok(container)
    }

    /// Nothing is left over, and names that point somewhere do.
    fn check(&self, map: &str) -> Result<()> {
        let container = self.container()?;
        for field in self.rest.keys().chain(container.rest.keys()) {
            ensure!(NOT_THE_CONTAINERS.contains(&field.as_str()), "nobody here carries out the pod's {field}");
        }
        for map_of in self.volumes.iter().filter_map(|volume| volume.config_map.as_ref()) {
            ensure!(map_of.name == map, "the pod mounts the ConfigMap {}, the chart makes {map}", map_of.name);
        }
        let probed = &container.readiness_probe.http_get.port;
        ensure!(container.ports.iter().any(|port| port.name == *probed), "the probe asks at an unknown port {probed}");
        Ok(())
    }
}

impl Container {
    /// The port that probes and Prometheus ask at.
    pub fn port(&self) -> Result<u16> {
        let name = &self.readiness_probe.http_get.port;
        let port = self.ports.iter().find(|port| port.name == *name).context("no such port")?;
        Ok(port.container_port)
    }
}

fn template<T: DeserializeOwned>(helm: &Path, name: &str, values: &[String]) -> Result<T> {
    let mut command = Command::new(helm);
    command.current_dir(paths::workspace()).args(["template", "inferscope", "deploy/helm/inferscope"]);
    command.args(["--namespace", "inferscope", "--show-only", &format!("templates/{name}.yaml")]);
    values.iter().for_each(|value| {
        command.args(["--set", value]);
    });
    let text = process::output(&mut command)?;
    serde_saphyr::from_str(&text).map_err(|error| anyhow::anyhow!("templates/{name}.yaml: {error}"))
}
