//! The worker against an API server over HTTPS and a kubelet's socket in this process, which answer as real ones do, and
//! as they should not.

mod api;
mod hardship;
mod kubelet;
mod pod_resources;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use support::kubernetes::{Api, NODE};

use super::{Identities, Running, Settings, Source, failure::Kind, pod_resources as resources, watch, worker};
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
