//! The worker against an API server over HTTPS and a kubelet's socket in this process, which answer as real ones do, and
//! as they should not.

mod api;
mod ask;
mod hardship;
mod pod_resources;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use support::kubernetes::{Api, NODE};

use super::{
    DeviceUse, Home, Identities, Running, Settings, Source, failure::Kind, object::Pod, pod_resources as resources,
    watch, worker,
};
use crate::{
    discover::Container,
    tasks::{Ended, supervised},
};

/// Soon and often.
const EAGER: worker::Pace = worker::Pace {
    pods: watch::Pace {
        first: Duration::from_millis(10),
        most: Duration::from_millis(40),
        answer: Duration::from_secs(5),
        watch: Duration::from_secs(60),
        gather: Duration::ZERO,
    },
    pod_resources: resources::Pace {
        every: Duration::from_millis(50),
        least: Duration::from_millis(10),
        deadline: Duration::from_millis(500),
    },
};

/// A started worker.
struct Started {
    identities: Identities,
    _running: Running,
    _ended: Ended,
}

fn settings(api: &str, account: PathBuf, socket: PathBuf) -> Settings {
    Settings {
        node: NODE.to_owned(),
        pod_labels: vec!["app".to_owned(), "app.kubernetes.io/name".to_owned()],
        pod_resources: socket,
        service_account: account,
        api: api.to_owned(),
    }
}

fn start_at(settings: Settings, pace: worker::Pace) -> Started {
    let (tasks, ended) = supervised();
    let (identities, running) = worker::start_at(settings, tasks.guard("kubernetes"), pace).unwrap();
    Started { identities, _running: running, _ended: ended }
}

/// Against this server, without a kubelet.
fn start(api: &Api) -> Started {
    start_at(settings(&api.address.to_string(), api.account().to_owned(), "/nonexistent.sock".into()), EAGER)
}

#[track_caller]
fn wait(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn container(id: &str, pod_uid: Option<&str>) -> Container {
    Container { id: id.to_owned(), runtime: "containerd", pod_uid: pod_uid.map(str::to_owned) }
}

impl Started {
    /// Pod and container of an id.
    fn of(&self, id: &str) -> Option<(String, Option<String>)> {
        let found = self.identities.of(&container(id, None))?;
        Some((found.pod.to_string(), found.container.map(|name| name.to_string())))
    }

    fn errors(&self, kind: Kind) -> u64 {
        self.identities.state().errors(Source::Api, kind)
    }

    fn is_up(&self) -> bool {
        self.identities.state().is_up(Source::Api)
    }
}

/// One pod with one container and two GPUs, as if it had been told.
pub fn known(pod_labels: &[&str]) -> Identities {
    let identities = Identities::new(NODE, pod_labels.iter().map(|name| (*name).to_owned()).collect());
    let pod = Pod {
        uid: "u0".to_owned(),
        namespace: "llm".to_owned(),
        name: "vllm-0".to_owned(),
        labels: [("app".to_owned(), "chat".to_owned())].into_iter().collect(),
        containers: vec![("c0".to_owned(), "vllm".to_owned())],
        config_hash: None,
    };
    let labels = identities.chosen(&pod.labels);
    assert!(identities.change(|table, now| table.apply(pod, labels, now)));
    let device = |uuid: &str| DeviceUse {
        uuid: uuid.to_owned(),
        namespace: "llm".to_owned(),
        pod: "vllm-0".to_owned(),
        container: "vllm".to_owned(),
        resource: "nvidia.com/gpu".to_owned(),
    };
    identities.set_devices(vec![device("GPU-2"), device("MIG-7")]);
    identities
}

#[test]
fn labels_are_named_as_series_want_them() {
    let names = ["app.kubernetes.io/name", "app", "app-kubernetes-io.name", "missing"];
    let identities = Identities::new(NODE, names.map(str::to_owned).to_vec());
    let labels = [("app.kubernetes.io/name", "vllm"), ("app-kubernetes-io.name", "twice"), ("app", "chat"), ("x", "y")];
    let chosen = identities.chosen(&labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let wants = [("label_app_kubernetes_io_name", "vllm"), ("label_app", "chat")];
    assert_eq!(chosen, wants.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn a_home_has_the_ids_whatever_is_known() {
    let identities = known(&[]);
    let home = |container: &Container, identities| Home::of(Some(container), identities);
    let whole = home(&container("c0", Some("u0")), Some(&identities));
    assert_eq!((whole.namespace.as_deref(), whole.container.as_deref()), (Some("llm"), Some("vllm")));
    assert_eq!((whole.container_id.as_deref(), whole.node.as_deref()), (Some("c0"), Some(NODE)));
    for identities in [None, Some(&identities)] {
        let ids = home(&container("c1", Some("u1")), identities);
        assert_eq!((ids.container_id.as_deref(), ids.pod_uid.as_deref()), (Some("c1"), Some("u1")));
        assert_eq!((ids.namespace, ids.pod, ids.node), (None, None, None));
        assert_eq!(Home::of(None, identities), Home::default());
    }
}
