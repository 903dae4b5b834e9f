//! What a kubelet does with the pod: variables, ConfigMap, hostPath, the service account's token, capabilities, limits.
//! The stand-in for it; what it cannot do is an error.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::chart::{Chart, Pod, Resources, Variable, VolumeMount};
use super::seccomp;
use super::settings::{Mount, Settings};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The variable of every image that says nothing else; ours says this.
const PATH: &str = "/usr/bin";

/// What the node gives to a pod.
pub struct Given<'a> {
    pub node: &'a str,
    pub id: String,
    pub pod_uid: &'a str,
    /// The image, unpacked.
    pub root: PathBuf,
    /// Where the pod's volumes are made.
    pub volumes: PathBuf,
    pub netns: PathBuf,
    /// Host and port of the API server, from inside the pod.
    pub api: (String, u16),
    /// Folder of the account: token and ca.crt.
    pub account: &'a Path,
    /// Text of the runtime's seccomp profile.
    pub profile: &'a str,
}

/// The pod's container as the runtime is to start it.
pub fn settings(chart: &Chart, given: &Given<'_>) -> Result<Settings> {
    let container = chart.pod.container()?;
    let security = &container.security_context;
    ensure!(!security.privileged, "a privileged container is not tried here");
    ensure!(!(security.run_as_non_root && security.run_as_user == 0), "root that is not root");
    ensure!(security.capabilities.drop == ["ALL"], "capabilities that are not all dropped are the runtime's own");
    let capabilities: Vec<String> = security.capabilities.add.iter().map(|name| format!("CAP_{name}")).collect();
    let seccomp = match security.seccomp_profile.kind.as_str() {
        "RuntimeDefault" => Some(seccomp::filter(given.profile, &capabilities)?),
        "Unconfined" => None,
        kind => bail!("a seccomp profile of type {kind} is not tried here"),
    };
    let mut env = vec![("PATH".to_owned(), PATH.to_owned())];
    for variable in &container.env {
        env.push((variable.name.clone(), value(variable, given)?));
    }
    // Every container of a cluster has them.
    env.push(("KUBERNETES_SERVICE_HOST".to_owned(), given.api.0.clone()));
    env.push(("KUBERNETES_SERVICE_PORT".to_owned(), given.api.1.to_string()));
    let mut mounts = Vec::new();
    for mount in &container.volume_mounts {
        mounts.push(Mount {
            source: volume(chart, mount, given)?,
            target: mount.mount_path.clone(),
            read_only: mount.read_only,
        });
    }
    if chart.pod.automount_service_account_token {
        mounts.push(Mount { source: given.account.to_owned(), target: ACCOUNT.to_owned(), read_only: true });
    }
    Ok(Settings {
        id: given.id.clone(),
        hostname: "inferscope-node".to_owned(),
        args: container.command.iter().chain(&container.args).cloned().collect(),
        env,
        root: given.root.clone(),
        read_only_root: security.read_only_root_filesystem,
        user: (security.run_as_user, security.run_as_group),
        capabilities,
        no_new_privileges: !security.allow_privilege_escalation,
        seccomp,
        mounts,
        host_pid: chart.pod.host_pid,
        netns: given.netns.clone(),
        cgroup: format!("/kubepods/burstable/pod{}/{}", given.pod_uid, given.id),
        memory: quantity(&container.resources.limits, "memory")?,
        cpu_shares: shares(&container.resources)?,
    })
}

fn value(variable: &Variable, given: &Given<'_>) -> Result<String> {
    match (&variable.value, &variable.value_from) {
        (Some(value), None) => Ok(value.clone()),
        (None, Some(source)) if source.field_ref.field_path == "spec.nodeName" => Ok(given.node.to_owned()),
        _ => bail!("nobody here knows the value of {}", variable.name),
    }
}

/// The folder of the host that is mounted.
fn volume(chart: &Chart, mount: &VolumeMount, given: &Given<'_>) -> Result<PathBuf> {
    let volume = chart.pod.volumes.iter().find(|volume| volume.name == mount.name);
    let volume = volume.with_context(|| format!("no volume {}", mount.name))?;
    match (&volume.host_path, &volume.config_map) {
        (Some(host), None) => {
            let is_there = host.kind != "Directory" || Path::new(&host.path).is_dir();
            ensure!(is_there, "{} is no folder of this host: the pod would not start", host.path);
            Ok(host.path.clone().into())
        }
        (None, Some(_)) => {
            let folder = given.volumes.join(&volume.name);
            fs::create_dir_all(&folder)?;
            for (name, text) in &chart.files {
                fs::write(folder.join(name), text)?;
            }
            Ok(folder)
        }
        _ => bail!("the volume {} is of no kind that is known here", volume.name),
    }
}

fn quantity(of: &std::collections::BTreeMap<String, String>, name: &str) -> Result<Option<i64>> {
    let Some(text) = of.get(name) else { return Ok(None) };
    let (number, unit) = match text.strip_suffix("Mi") {
        Some(number) => (number, 1 << 20),
        None => (text.strip_suffix("Gi").with_context(|| format!("{name}: {text} is in no unit known here"))?, 1 << 30),
    };
    Ok(Some(number.parse::<i64>().with_context(|| format!("{name}: {text}"))? * unit))
}

/// A kubelet's own formula: 1024 for a core, 2 at least.
fn shares(resources: &Resources) -> Result<Option<u64>> {
    let Some(text) = resources.requests.get("cpu") else { return Ok(None) };
    let thousandths: u64 = match text.strip_suffix('m') {
        Some(number) => number.parse()?,
        None => text.parse::<u64>()? * 1000,
    };
    Ok(Some((thousandths * 1024 / 1000).max(2)))
}

/// Asks as the readiness probe does.
pub fn probe_path(pod: &Pod) -> Result<&str> {
    Ok(&pod.container()?.readiness_probe.http_get.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn quantities() {
        assert_eq!(quantity(&of(&[("memory", "256Mi")]), "memory").unwrap(), Some(256 << 20));
        assert_eq!(quantity(&of(&[("memory", "2Gi")]), "memory").unwrap(), Some(2 << 30));
        assert_eq!(quantity(&of(&[]), "memory").unwrap(), None);
        assert!(quantity(&of(&[("memory", "256M")]), "memory").is_err());
        let shares =
            |text: &str| shares(&Resources { requests: of(&[("cpu", text)]), ..Resources::default() }).unwrap();
        assert_eq!((shares("20m"), shares("2"), shares("1m")), (Some(20), Some(2048), Some(2)));
    }
}
