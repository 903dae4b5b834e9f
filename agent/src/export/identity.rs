//! Labels of Kubernetes, and of what a replica is one of, on every series of a service, put there once for all exports; and
//! the families about the sources that they come from. What is not known has no label.

use ::prometheus::proto::{LabelPair, MetricFamily};
use rustc_hash::FxHashMap;

use super::{family::Family, metrics};
use crate::{
    identity::{Identities, Identity, KINDS, SOURCES},
    poll::nvml::GpuSnapshot,
    services::{Belongs, Homes},
};

const SERVICE: &str = "service";
/// The service's name before it was made unique on this host; only where that is another.
pub const GROUP: &str = "service_group";

/// Adds namespace, pod, container and the chosen labels of the pod to the series of every service that is in a pod, and its
/// group to those of every service that is not called as it.
pub fn label(families: &mut [MetricFamily], identities: Option<&Identities>, homes: &Homes) {
    let known: FxHashMap<&str, Vec<LabelPair>> = homes
        .iter()
        .map(|(service, belongs)| (service.as_str(), more(belongs, identities)))
        .filter(|(_, pairs)| !pairs.is_empty())
        .collect();
    if known.is_empty() {
        return;
    }
    for row in families.iter_mut().flat_map(|family| family.mut_metric().iter_mut()) {
        let of = row.get_label().iter().find(|label| label.name() == SERVICE).map(LabelPair::value);
        if let Some(more) = of.and_then(|service| known.get(service)) {
            let mut labels = row.take_label();
            labels.extend(more.iter().cloned());
            row.set_label(labels);
        }
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn more(belongs: &Belongs, identities: Option<&Identities>) -> Vec<LabelPair> {
    let identity = belongs.container.as_ref().and_then(|container| identities?.of(container));
    let group = belongs.group.as_ref().map(|group| pair(GROUP, group));
    group.into_iter().chain(identity.iter().flat_map(pairs)).collect()
}

fn pairs(identity: &Identity) -> Vec<LabelPair> {
    let mut pairs = vec![pair("namespace", &identity.namespace), pair("pod", &identity.pod)];
    pairs.extend(identity.container.iter().map(|name| pair("container", name)));
    pairs.extend(identity.labels.iter().map(|(name, value)| pair(name, value)));
    pairs
}

/// How the sources go, and which container has which GPU.
pub fn families(identities: &Identities, gpu: Option<&GpuSnapshot>) -> impl Iterator<Item = MetricFamily> {
    let state = identities.state();
    let mut up = Family::new(&metrics::KUBERNETES_UP);
    let mut errors = Family::new(&metrics::KUBERNETES_ERRORS);
    for (source, source_name) in SOURCES {
        up.add(&[source_name], f64::from(u8::from(state.is_up(source))));
        for (kind, kind_name) in KINDS {
            errors.add(&[source_name, kind_name], state.errors(source, kind) as f64);
        }
    }
    let mut pods = Family::new(&metrics::KUBERNETES_PODS);
    pods.add(&[], identities.pods() as f64);
    let mut devices = Family::new(&metrics::GPU_CONTAINER_INFO);
    for device in identities.devices().iter() {
        let index = gpu.and_then(|gpu| index_of(gpu, &device.uuid)).unwrap_or_default();
        let labels = [&index, &device.uuid, &device.namespace, &device.pod, &device.container, &device.resource]
            .map(String::as_str);
        devices.add(&labels, 1.0);
    }
    [up, errors, pods, devices].into_iter().filter_map(Family::finish)
}

/// The index of the GPU that has this uuid, or a part with it.
fn index_of(gpu: &GpuSnapshot, uuid: &str) -> Option<String> {
    let found = gpu.devices.iter().find(|device| device.uuid == uuid || device.mig.iter().any(|mig| mig.uuid == uuid));
    found.map(|device| device.index.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        discover::Container,
        identity::tests::known,
        poll::nvml::{DeviceReading, MigReading},
    };

    fn text(families: &[MetricFamily]) -> String {
        ::prometheus::TextEncoder::new().encode_to_string(families).expect("encodable")
    }

    fn a_family() -> Vec<MetricFamily> {
        let (mut count, mut own) = (Family::new(&metrics::SERVICE_PROCESSES), Family::new(&metrics::CONNECTIONS));
        ["in-pod", "no-name", "elsewhere"].iter().for_each(|service| count.add(&[service], 2.0));
        own.add(&[], 1.0);
        [count, own].into_iter().filter_map(Family::finish).collect()
    }

    #[test]
    fn series_of_a_service_in_a_pod_say_so() {
        let identities = known(&["app"]);
        let container = |id: &str, pod_uid: Option<&str>| Belongs {
            container: Some(Container {
                id: id.to_owned(),
                runtime: "containerd",
                pod_uid: pod_uid.map(str::to_owned),
            }),
            group: None,
        };
        let homes: Homes = [
            ("in-pod".to_owned(), container("c0", None)),
            ("no-name".to_owned(), container("other", Some("u0"))),
            ("elsewhere".to_owned(), container("unknown", None)),
        ]
        .into_iter()
        .collect();
        let mut families = a_family();
        label(&mut families, Some(&identities), &homes);
        let text = text(&families);
        for line in [
            r#"inferscope_service_processes{service="in-pod",namespace="llm",pod="vllm-0",container="vllm",label_app="chat"} 2"#,
            r#"inferscope_service_processes{service="no-name",namespace="llm",pod="vllm-0",label_app="chat"} 2"#,
            r#"inferscope_service_processes{service="elsewhere"} 2"#,
            "inferscope_connections 1",
        ] {
            assert!(text.lines().any(|there| there == line), "{line}\n{text}");
        }
    }

    #[test]
    fn series_of_a_replica_have_its_group() {
        let group = Belongs { container: None, group: Some("chat".to_owned()) };
        let homes: Homes = [("in-pod".to_owned(), group)].into_iter().collect();
        let mut families = a_family();
        label(&mut families, None, &homes);
        let text = text(&families);
        for line in [
            r#"inferscope_service_processes{service="in-pod",service_group="chat"} 2"#,
            r#"inferscope_service_processes{service="elsewhere"} 2"#,
        ] {
            assert!(text.lines().any(|there| there == line), "{line}\n{text}");
        }
    }

    #[test]
    fn gpus_join_by_the_uuid_that_nvml_has() {
        let identities = known(&[]);
        let mig = vec![MigReading { uuid: "MIG-7".into(), ..MigReading::default() }];
        let device = DeviceReading { index: 3, uuid: "GPU-1".into(), mig, ..DeviceReading::default() };
        let gpu = GpuSnapshot { devices: Arc::new([device]), ..GpuSnapshot::empty() };
        let families: Vec<MetricFamily> = families(&identities, Some(&gpu)).collect();
        let text = text(&families);
        for line in [
            r#"inferscope_gpu_container_info{gpu="3",uuid="MIG-7",namespace="llm",pod="vllm-0",container="vllm",resource="nvidia.com/gpu"} 1"#,
            r#"inferscope_gpu_container_info{gpu="",uuid="GPU-2",namespace="llm",pod="vllm-0",container="vllm",resource="nvidia.com/gpu"} 1"#,
            "inferscope_kubernetes_pods 1",
            r#"inferscope_kubernetes_up{source="api"} 0"#,
            r#"inferscope_kubernetes_errors_total{source="pod_resources",error="timeout"} 0"#,
        ] {
            assert!(text.lines().any(|there| there == line), "{line}\n{text}");
        }
    }
}
