//! Live: a real server in a control group that is named like a container of a pod, and an API server that knows the pod.
//! Series and records say where it runs, from the first moment that is known until the last series goes.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;
use support::agent::Agent;
use support::client::Request;
use support::kubernetes::{Api, NODE, Pod};
use support::live::{self, send};
use support::metrics::Metrics;
use support::server::Server;

const SOON: Duration = Duration::from_secs(20);
const ID: &str = "5a1e0b7c5a1e0b7c5a1e0b7c5a1e0b7c5a1e0b7c5a1e0b7c5a1e0b7c5a1e0b7c";
const UID: &str = "8b1d1f3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b";

/// A group like a container's, in whichever hierarchy there is; removed at the end, with its parents.
struct Group(PathBuf);

impl Group {
    fn with(pid: u32) -> Option<Self> {
        let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let root = roots.into_iter().map(PathBuf::from).find(|root| root.join("cgroup.procs").exists())?;
        let group = Self(root.join(format!("inferscope-test/pod{UID}/{ID}")));
        std::fs::create_dir_all(&group.0).ok()?;
        std::fs::write(group.0.join("cgroup.procs"), pid.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in self.0.ancestors().take(3) {
            // The kernel lets go of a group a moment after its last process.
            for _ in 0..100 {
                if std::fs::remove_dir(folder).is_ok() || !folder.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn agent(api: &Api, server: &Server) -> Agent {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let config = format!(
        "[discover]\nenabled = false\n[nvml]\nenabled = false\n[kubernetes]\npod_labels = [\"app\"]\n\
         service_account = \"{}\"\npod_resources = \"/nonexistent.sock\"\n",
        api.account().display()
    );
    std::fs::write(&file, config).unwrap();
    let args = ["--pid".to_owned(), server.pid().to_string(), "--config".to_owned(), file.display().to_string()];
    Agent::prepared(&args, |command| {
        command.env("KUBERNETES_SERVICE_HOST", api.address.ip().to_string());
        command.env("KUBERNETES_SERVICE_PORT", api.address.port().to_string());
        command.env("NODE_NAME", NODE);
        Ok(())
    })
    .unwrap()
}

/// Whether every series of a service has these labels, and there are some.
fn all_say(metrics: &Metrics, wants: &[(&str, &str)]) -> bool {
    let of_service: Vec<_> = metrics.series.keys().filter(|series| series.labels.contains_key("service")).collect();
    let says = |labels: &std::collections::BTreeMap<String, String>| {
        wants.iter().all(|(name, value)| labels.get(*name).is_some_and(|found| found == value))
    };
    !of_service.is_empty() && of_service.iter().all(|series| says(&series.labels))
}

#[test]
fn series_and_records_say_which_pod_it_was() {
    let Some(_guard) = live::begin("series_and_records_say_which_pod_it_was") else { return };
    let (server, api) = (Server::start(&[]).unwrap(), Api::start().unwrap());
    let Some(_group) = Group::with(server.pid()) else {
        return live::skip("series_and_records_say_which_pod_it_was", "no control group can be made here");
    };
    let pod = Pod { uid: UID.to_owned(), ..Pod::new("vllm-0", "vllm", ID) };
    // The API server does not know it yet.
    let agent = agent(&api, &server);
    let chat = Request::chat("m", "one two three", 5, true);
    send(&server, &chat);
    let first = agent.wait_records(1, |record| record.operation.is_some()).unwrap().remove(0);
    assert_eq!((first.container_id.as_deref(), first.pod), (Some(ID), None));
    let metrics = agent.scrape().unwrap();
    assert!(metrics.series.keys().all(|series| !series.labels.contains_key("namespace")), "{:?}", metrics.families());
    // It has no container yet, and then it has.
    api.put(&Pod { containers: vec![("vllm".to_owned(), None)], ..pod.clone() });
    let by_pod = [("namespace", "llm"), ("pod", "vllm-0"), ("label_app", "chat")];
    agent.wait_metrics("the pod's name", SOON, |metrics| all_say(metrics, &by_pod)).unwrap();
    api.put(&pod);
    let whole = [("namespace", "llm"), ("pod", "vllm-0"), ("container", "vllm"), ("label_app", "chat")];
    agent.wait_metrics("the container's name", SOON, |metrics| all_say(metrics, &whole)).unwrap();
    send(&server, &chat);
    let second = agent.wait_records(2, |record| record.operation.is_some()).unwrap().remove(1);
    let said = [&second.namespace, &second.pod, &second.container, &second.container_id].map(Option::as_deref);
    assert_eq!(said, [Some("llm"), Some("vllm-0"), Some("vllm"), Some(ID)]);
    // The server ends, its pod goes, and the series that stay say the same.
    drop(server);
    api.delete(&pod);
    let ended = |metrics: &Metrics| {
        metrics.sum("inferscope_service_info", &[]).is_none()
            && metrics.count("inferscope_kubernetes_pods", &[]) == 0.0
            && metrics.count("gen_ai_server_request_duration_seconds_count", &[]) == 2.0
    };
    let metrics = agent.wait_metrics("the end", SOON, ended).unwrap();
    assert!(all_say(&metrics, &whole), "{:?}", metrics.series.keys());
}
