//! Everything that faults are injected into: a server in control groups and a network namespace of its own, its model on a
//! disk of its own, a fake GPU, and the agent under test. Taken down in that order's reverse when dropped.

use std::cell::{RefCell, RefMut};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use support::agent::Agent;
use support::client::{Client, Request};
use support::transport::Target;

use super::disk::Disk;
use super::faults::gil;
use super::gpu::Gpu;
use super::groups::Groups;
use super::load::Load;
use super::network::Network;
use super::records::Records;
use crate::bench::table::median;
use crate::process;
use crate::servers::{self, Engine, Options, Server, Surroundings};

const DISCOVERY: Duration = Duration::from_secs(30);
const RECOVERY: Duration = Duration::from_secs(10);
/// A probe that takes no longer than this many times its quiet median says that all is well again.
const WELL: f64 = 1.5;
const PROBES: usize = 9;

/// Fields are dropped in this order.
pub struct Rig {
    pub engine: Engine,
    pub records: RefCell<Records>,
    agent: Agent,
    server: Server,
    pub gpu: Gpu,
    /// Where the model's file is on it; vLLM makes its weights up.
    pub disk: Option<Disk>,
    network: RefCell<Network>,
    pub groups: Groups,
    /// For those who want the same CPUs.
    pub neighbours: Groups,
    /// The agent's own, as a service has one: in a group with the clients its priority would take their share of a CPU.
    _home: Groups,
    pub serial: AtomicU64,
    dir: tempfile::TempDir,
}

impl Rig {
    pub fn new(engine: Engine) -> Result<Self> {
        let name = format!("inferscope-verdict-{}", std::process::id());
        let dir = tempfile::Builder::new().prefix(&name).tempdir().context("no room for a temporary directory")?;
        // The server runs as nobody and reads from it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let (groups, neighbours) = (Groups::new(&name)?, Groups::new(&format!("{name}-neighbours"))?);
        let network = Network::new(&name)?;
        let disk = match engine {
            Engine::Llama => Some(Disk::with(&servers::llama_model()?, dir.path())?),
            Engine::Vllm => None,
        };
        let mut place = Surroundings {
            host: Some(network.cable()),
            groups: groups.members(),
            netns: Some(network.namespace()),
            model: disk.as_ref().map(Disk::file).transpose()?,
            env: Vec::new(),
        };
        if engine == Engine::Vllm {
            place.env = gil::environment(dir.path())?;
            for (name, value) in [("VLLM_HOST_IP", "127.0.0.1"), ("GLOO_SOCKET_IFNAME", "lo")] {
                place.env.push((name.to_owned(), value.into()));
            }
        }
        let server = Server::start_in(engine, &Options::default(), &place)?;
        let gpu = Gpu::new(dir.path(), &pids(&groups)?)?;
        let home = Groups::new(&format!("{name}-agent"))?;
        let agent = agent(&dir, &gpu, &home)?;
        let records = RefCell::new(Records::new(agent.records_path().to_owned()));
        let (network, serial) = (RefCell::new(network), AtomicU64::new(1));
        let rig =
            Self { engine, records, agent, server, gpu, disk, network, groups, neighbours, _home: home, serial, dir };
        rig.wait_until_watched()?;
        Ok(rig)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn network(&self) -> RefMut<'_, Network> {
        self.network.borrow_mut()
    }

    /// Ordinary users at the server's good cable.
    pub fn load(&self, at_a_time: usize) -> Load {
        let target = self.target(self.network().cable());
        Load { target, model: self.server.model(), at_a_time, large: None, tokens: 0, slowly: false }
    }

    /// Tokens and alternatives that make a stream of about 200 kB; vLLM gives no more than 20 alternatives.
    pub fn large(&self) -> (u64, u64) {
        match self.engine {
            Engine::Llama => (48, 40),
            Engine::Vllm => (96, 20),
        }
    }

    pub fn target(&self, address: Ipv4Addr) -> Target {
        Target::parse(&format!("{address}:{}", self.server.port)).expect("an address and a port")
    }

    /// Events that the agent lost so far.
    pub fn lost(&self) -> Result<f64> {
        self.agent.lost()
    }

    /// Seconds that one small request takes.
    pub fn probe(&self, client: &mut Client) -> Result<f64> {
        let outcome = client.send(&Request::chat(self.server.model(), "say something", 6, false))?;
        Ok(outcome.duration_ns() as f64 / 1e9)
    }

    /// What a probe takes in quiet times.
    pub fn quiet_probe(&self) -> Result<f64> {
        let mut client = Client::new(&self.load(1).target);
        let probes: Result<Vec<f64>> = (0..PROBES).map(|_| self.probe(&mut client)).collect();
        Ok(median(&probes?))
    }

    /// Waits until two probes in a row are as fast as QUIET_S again; whether they ever were.
    pub fn recovered(&self, quiet_s: f64) -> Result<bool> {
        let mut client = Client::new(&self.load(1).target);
        let deadline = Instant::now() + RECOVERY;
        let mut good = 0;
        while good < 2 {
            if process::interrupted() {
                bail!("interrupted");
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            good = if self.probe(&mut client)? <= WELL * quiet_s { good + 1 } else { 0 };
        }
        Ok(true)
    }

    /// The agent finds the server by itself, so it may take a moment.
    fn wait_until_watched(&self) -> Result<()> {
        let deadline = Instant::now() + DISCOVERY;
        let mut client = Client::new(&self.load(1).target);
        while Instant::now() < deadline {
            self.probe(&mut client)?;
            if fs::metadata(self.agent.records_path()).is_ok_and(|file| file.len() > 0) {
                return Ok(());
            }
            process::pause(Duration::from_millis(100))?;
        }
        bail!("the agent does not find the server: {}", self.agent.running.lines().join("\n"));
    }
}

fn agent(dir: &tempfile::TempDir, gpu: &Gpu, home: &Groups) -> Result<Agent> {
    let file = dir.path().join("agent.toml");
    let library = gpu.library();
    fs::write(&file, format!("[nvml]\nlibrary = \"{}\"\ninterval = \"100ms\"\n", library.display()))?;
    let agent = Agent::start(&["--config".to_owned(), file.display().to_string()])?;
    let pid = agent.running.pid().to_string();
    for members in home.members() {
        fs::write(&members, &pid).with_context(|| format!("cannot write {}", members.display()))?;
    }
    Ok(agent)
}

/// The server and all that it started.
fn pids(groups: &Groups) -> Result<Vec<u32>> {
    let file = groups.members().into_iter().next().context("this host has no control groups")?;
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}
