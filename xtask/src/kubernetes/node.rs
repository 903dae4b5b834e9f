//! A node: network namespaces for its pods, an API server, a kubelet's socket, three servers in containers, and the
//! agent's container as the chart describes it. Ends all of it when dropped.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use support::kubernetes::kubelet::{Answer, Kubelet, one_gpu};
use support::kubernetes::{Api, NODE, Pod};
use tempfile::TempDir;

use super::chart::Chart;
use super::debian::Debian;
use super::kubelet::{self, Given};
use super::runtime::{Running, Runtime};
use super::servers::{KINDS, Kind, Server};
use super::settings::Settings;
use crate::package::unpack;
use crate::{http, paths, process, step};

/// Out of the networks that are set aside for tests (RFC 2544).
const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
const AGENT: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);
const AGENT_ID: &str = "a9";
const AGENT_UID: &str = "7a1d1f3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b";
pub const NAMESPACE: &str = "llm";
pub const GPU: &str = "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f";
const PATIENCE: Duration = Duration::from_secs(60);

/// The whole of it, in the order in which it ends.
pub struct Node {
    pub agent: Running,
    /// As the agent was started.
    pub settings: Settings,
    pub servers: Vec<Server>,
    pub chart: Chart,
    pub api: Api,
    _kubelet: Kubelet,
    _network: Network,
    _folder: TempDir,
}

impl Node {
    /// Packs BINARY as an image, renders the chart and starts everything.
    pub fn start(binary: &Path) -> Result<Self> {
        let debian = Debian::ensure()?;
        let runtime = Runtime::new(debian.runc.clone())?;
        tracefs()?;
        let folder = tempfile::tempdir_in(paths::cache("kubernetes")?.canonicalize()?)?;
        let root = folder.path().join("image");
        step::work("pack and unpack the image", "10 seconds", || unpack(binary, &root))?;
        let network = Network::new()?;
        let api = Api::start_at(HOST)?;
        let sockets = folder.path().join("pod-resources");
        fs::create_dir_all(&sockets)?;
        let message = one_gpu(NAMESPACE, Kind::Llama.pod(), Kind::Llama.container(), GPU);
        let kubelet = Kubelet::start(&sockets.join("kubelet.sock"), Answer::Message(message))?;
        let servers = step::work("start three servers in containers", "5 seconds", || {
            KINDS.iter().map(|&kind| Server::start(kind, &runtime, &debian, network.of(kind.pod()))).collect()
        })?;
        KINDS.iter().for_each(|&kind| api.put(&pod(kind)));
        let chart = Chart::render(&values(&sockets))?;
        let given = Given {
            node: NODE,
            id: AGENT_ID.repeat(32),
            pod_uid: AGENT_UID,
            root,
            volumes: folder.path().join("volumes"),
            netns: network.of("agent"),
            api: (HOST.to_string(), api.address.port()),
            account: api.account(),
            profile: &debian.profile,
        };
        let settings = kubelet::settings(&chart, &given)?;
        let agent = runtime.run("agent", &settings)?;
        let node = Self { agent, settings, servers, chart, api, _kubelet: kubelet, _network: network, _folder: folder };
        step::work("start the agent's pod", "2 seconds", || node.wait())?;
        Ok(node)
    }

    /// Until the pod's readiness probe says so.
    fn wait(&self) -> Result<()> {
        let (path, port) = (kubelet::probe_path(&self.chart.pod)?, self.chart.pod.container()?.port()?);
        let started = Instant::now();
        while !http::get_at(AGENT, port, path).is_ok_and(|answer| answer.status == 200) {
            if started.elapsed() > PATIENCE || !self.agent.is_alive() {
                let log = step::tail(&self.agent.log, 20);
                bail!("the pod is not ready; the end of {}:\n{log}", self.agent.log.display());
            }
            process::pause(Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// What Prometheus would read, at the pod's address and the chart's port.
    pub fn scrape(&self) -> Result<support::metrics::Metrics> {
        let answer = http::get_at(AGENT, self.chart.pod.container()?.port()?, "/metrics")?;
        support::metrics::Metrics::parse(&answer.body)
    }

    pub fn url(&self) -> String {
        let port = self.chart.pod.container().and_then(super::chart::Container::port).unwrap_or_default();
        format!("http://{AGENT}:{port}")
    }

    pub fn exec_hint(&self) -> String {
        self.agent.exec_hint()
    }

    pub fn server(&self, kind: Kind) -> Result<&Server> {
        self.servers.iter().find(|server| server.kind == kind).context("no such server")
    }
}

/// Where the kubelet's socket is, and a label, so that one is seen.
fn values(sockets: &Path) -> Vec<String> {
    vec![format!("podResources.hostPath={}", sockets.display()), "kubernetes.podLabels={app}".to_owned()]
}

fn pod(kind: Kind) -> Pod {
    Pod { uid: kind.pod_uid(), ..Pod::new(kind.pod(), kind.container(), &kind.id()) }
}

/// systemd mounts it on every node; hosts without systemd have an empty folder.
fn tracefs() -> Result<()> {
    const FOLDER: &str = "/sys/kernel/tracing";
    if !Path::new(FOLDER).join("events").exists() {
        process::output(Command::new("mount").args(["-t", "tracefs", "none", FOLDER]))?;
    }
    Ok(())
}

/// The pods' network namespaces. The agent's has a cable to the host, as a pod's has; the servers' have none.
struct Network {
    names: Vec<String>,
}

impl Network {
    fn new() -> Result<Self> {
        let mut network = Self { names: Vec::new() };
        for name in KINDS.iter().map(|kind| kind.pod()).chain(["agent"]) {
            network.add(name)?;
        }
        let device = format!("ik{}", std::process::id());
        let agent = name_of("agent");
        ip(&["link", "add", &device, "type", "veth", "peer", "name", "eth0", "netns", &agent])?;
        ip(&["address", "add", &format!("{HOST}/30"), "dev", &device])?;
        ip(&["link", "set", &device, "up"])?;
        ip(&["-n", &agent, "address", "add", &format!("{AGENT}/30"), "dev", "eth0"])?;
        ip(&["-n", &agent, "link", "set", "eth0", "up"])?;
        Ok(network)
    }

    fn add(&mut self, name: &str) -> Result<()> {
        let name = name_of(name);
        ip(&["netns", "add", &name])?;
        self.names.push(name.clone());
        ip(&["-n", &name, "link", "set", "lo", "up"])
    }

    fn of(&self, name: &str) -> PathBuf {
        Path::new("/run/netns").join(name_of(name))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // With the agent's namespace its cable goes, both ends of it.
        self.names.iter().for_each(|name| {
            let _ = ip(&["netns", "delete", name]);
        });
    }
}

fn name_of(pod: &str) -> String {
    format!("inferscope-{}-{pod}", std::process::id())
}

fn ip(args: &[&str]) -> Result<()> {
    process::output(Command::new("ip").args(args)).map(drop)
}
