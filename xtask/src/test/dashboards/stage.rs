//! What the dashboards look at: two small servers with traffic, one of them in a control group with limits, a program
//! that is a client, a fake GPU library, the agent, and Prometheus with the rules. Everything ends with the value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use support::child::{Lines, Running};
use support::client::{Client, Request};
use support::locate;
use support::server::Server;
use support::transport::Target;

use crate::agent::Agent;
use crate::bench::Groups;
use crate::{http, paths, process, step};

/// GPU 0 is used by the server, throttled by its power limit, and has an XID error; GPU 1 is in MIG mode.
const GPUS: &str = r#"{"gpu": 0, "name": "Test GPU", "memory_total": 85520809984, "memory_reserved": 655360000}
{"gpu": 1, "name": "Test GPU", "memory_total": 85520809984, "mig": [{"gi": 1, "ci": 0, "memory_total": 42760404992}]}
{"t": 0, "gpu": 0, "util": 92, "mem_util": 61, "mW": 412000, "temp": 58, "sm_clock": 1980, "mem_clock": 2619, "throttle": 4, "pcie_tx": 51200, "pcie_rx": 204800, "ecc_corrected": 1, "ecc_uncorrected": 0, "gpm": {"2": 71.5, "3": 38.0, "5": 24.0, "10": 63.0, "60": 50.0, "61": 200.0}}
{"t": 0, "gpu": 1, "util": 50, "mem_util": 30, "mW": 300000, "temp": 50, "sm_clock": 1980, "mem_clock": 2619, "throttle": 0, "pcie_tx": 0, "pcie_rx": 0, "ecc_corrected": 0, "ecc_uncorrected": 0, "gpm": {"2": 50.0, "3": 20.0, "5": 10.0, "10": 30.0, "60": 0.0, "61": 0.0}}
{"t": 0, "gpu": 0, "pid": SERVER, "sm": 90, "mem": 60, "enc": 0, "dec": 0, "memory": 71940702208}
{"t": 5, "gpu": 0, "xid": 31}
"#;
/// A call of the library that fails, so that failures have a series.
const FAULT: &str = "fail=nvmlDeviceGetTemperature=UNKNOWN@1\n";

/// Metrics of the configuration: one that is counted, one of a file that there is not.
const COUNTS: &str = r#"
[[metrics.custom]]
name = "process_ends_total"
type = "counter"
from = "tracepoint:sched:sched_process_exit"
scope = "host"
[[metrics.custom]]
name = "missing_calls_total"
type = "counter"
from = "uprobe:/nowhere/libmissing.so:call"
"#;

/// The agents' job at Prometheus.
pub const JOB: &str = "inferscope";
/// Nothing listens there: a target of somebody else, which is down.
const FOREIGN: &str = "127.0.0.1:1";

/// Fields end in this order.
pub struct Stage {
    pub port: u16,
    /// The agent's, at Prometheus.
    pub instance: String,
    /// Whether the server is in a control group with limits.
    pub limits: bool,
    _traffic: Traffic,
    _client: Watched,
    _prometheus: process::Group,
    _agent: Agent,
    _servers: [Server; 2],
    _groups: Option<Groups>,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub fn start(prometheus: &Path) -> Result<Self> {
        let dir = tempfile::tempdir().context("no room for temporary files")?;
        let groups = Groups::new("inferscope-dashboards").ok();
        let server = small_server(&["-s", "prefill-ms=20", "-s", "delay-us=3000"])?;
        let limits = groups.as_ref().is_some_and(|groups| confined(groups, server.pid()).is_ok());
        // Its workers are killed by some of their requests.
        let mortal = small_server(&["--mode", "prefork", "-s", "delay-us=1000"])?;
        let client = Watched::start(&server.target)?;
        let library = gpus(dir.path(), server.pid())?;
        let config = dir.path().join("agent.toml");
        fs::write(&config, configuration(&[&server, &mortal], client.pid()))?;
        let port = http::free_port()?;
        let agent = Agent::start(
            &agent_binary(),
            port,
            &["--config", &config.to_string_lossy(), "--nvml-lib", &library.to_string_lossy()],
        )?;
        let instance = format!("127.0.0.1:{port}");
        let (prometheus, port) = serve(prometheus, dir.path(), &instance)?;
        let traffic = Traffic::start(&server.target, &mortal.target);
        let client = client.go()?;
        Ok(Self {
            port,
            instance,
            limits,
            _traffic: traffic,
            _client: client,
            _prometheus: prometheus,
            _agent: agent,
            _servers: [server, mortal],
            _groups: groups,
            _dir: dir,
        })
    }
}

/// A small server that keeps what it says of clients that go away to itself.
fn small_server(args: &[&str]) -> Result<Server> {
    let mut command = Command::new(locate::helper("sse-server")?);
    command.args(args).stderr(Stdio::null());
    let running = Running::start(command, Lines::Stdout)?;
    let listening = |line: &str| Some(line.strip_prefix("listening on ")?.split(' ').next()?.to_owned());
    let target = Target::parse(&running.wait_line(Duration::from_secs(20), listening)?)?;
    Ok(Server { running, target })
}

/// `INFERSCOPE_BIN`, as for the live tests, else the one that was built.
fn agent_binary() -> PathBuf {
    std::env::var_os("INFERSCOPE_BIN").map_or_else(|| paths::target().join("release/inferscope"), PathBuf::from)
}

/// OTLP goes where nobody listens, so that its exports have series; of the metrics of its own one cannot be had.
fn configuration(servers: &[&Server], client: u32) -> String {
    let ports: Vec<String> = servers.iter().filter_map(|server| Some(server.target.port()?.to_string())).collect();
    format!(
        "[discover]\nenabled = false\n[discover.include]\nports = [{}]\npids = [{client}]\n[nvml]\ninterval = \"1s\"\n\
         [otlp]\nendpoint = \"http://127.0.0.1:1\"\ninterval = \"1s\"\n{COUNTS}",
        ports.join(", ")
    )
}

/// The fake library in a folder of its own, with its script.
fn gpus(dir: &Path, pid: u32) -> Result<PathBuf> {
    let library = dir.join("libfake_nvml.so");
    fs::copy(paths::target().join("release/libfake_nvml.so"), &library).context("no fake GPU library")?;
    fs::write(dir.join("fake-nvml.jsonl"), GPUS.replace("SERVER", &pid.to_string()))?;
    fs::write(dir.join("fake-nvml.control"), FAULT)?;
    Ok(library)
}

/// One CPU and a gigabyte.
fn confined(groups: &Groups, pid: u32) -> Result<()> {
    let limits = if groups.is_unified() {
        [("cpu", "cpu.max", "100000 100000"), ("memory", "memory.max", "1073741824")]
    } else {
        [("cpu", "cpu.cfs_quota_us", "100000"), ("memory", "memory.limit_in_bytes", "1073741824")]
    };
    for (controller, file, limit) in limits {
        fs::write(groups.file(controller, file).context("no such controller")?, limit)?;
    }
    groups.members().into_iter().try_for_each(|file| fs::write(file, pid.to_string()))?;
    Ok(())
}

/// Prometheus with the rules, all of them evaluated every second, and its port.
fn serve(program: &Path, dir: &Path, agent: &str) -> Result<(process::Group, u16)> {
    let rules = dir.join("rules");
    fs::create_dir(&rules)?;
    for entry in fs::read_dir(paths::workspace().join("deploy/prometheus"))? {
        let file = entry?.path();
        let Some(name) = file.file_name().filter(|name| name.to_string_lossy().ends_with(".rules.yaml")) else {
            continue;
        };
        let text = fs::read_to_string(&file)?;
        let own = |line: &&str| !line.trim_start().starts_with("interval:");
        fs::write(rules.join(name), text.lines().filter(own).collect::<Vec<_>>().join("\n"))?;
    }
    let config = dir.join("prometheus.yml");
    fs::write(
        &config,
        format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}/*.rules.yaml']\nscrape_configs:\n\
             - {{job_name: {JOB}, honor_labels: true, static_configs: [{{targets: ['{agent}']}}]}}\n\
             - {{job_name: foreign, static_configs: [{{targets: ['{FOREIGN}']}}]}}\n",
            rules.display()
        ),
    )?;
    let port = http::free_port()?;
    let log = paths::cache("log")?.join("prometheus.log");
    let output = fs::File::create(&log)?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut group = process::Group::spawn(&mut command)?;
    let started = Instant::now();
    while !http::get(port, "/-/ready").is_ok_and(|response| response.status == 200) {
        if group.try_wait()?.is_some() || started.elapsed() > Duration::from_secs(30) {
            bail!("Prometheus does not run; the end of {}:\n{}", log.display(), step::tail(&log, 20));
        }
        process::pause(Duration::from_millis(50))?;
    }
    Ok((group, port))
}

/// The load client as a watched process: what it asks for is seen from the caller's side.
struct Watched {
    load: Running,
}

impl Watched {
    fn start(target: &Target) -> Result<Self> {
        let port = target.port().context("the server listens on TCP")?;
        let mut load = Command::new(locate::helper("load")?);
        load.args(["--url", &format!("http://127.0.0.1:{port}"), "--requests", "100000", "--rate", "5", "--wait"]);
        let load = Running::start(load, Lines::Stdout)?;
        load.wait_line(Duration::from_secs(20), |line| line.starts_with("ready pid ").then_some(()))?;
        Ok(Self { load })
    }

    fn pid(&self) -> u32 {
        self.load.pid()
    }

    fn go(mut self) -> Result<Self> {
        self.load.tell("go")?;
        Ok(self)
    }
}

/// Requests of all kinds until dropped.
struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    fn start(server: &Target, mortal: &Target) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads: Vec<_> =
            (0..3).map(|_| sender(server, requests(), &stop, Duration::from_millis(30))).collect();
        let deadly = vec![
            Request::chat("small", "one two three", 8, true),
            Request::chat("small", "one two three", 8, true).test("turn", "kill"),
        ];
        threads.push(sender(mortal, deadly, &stop, Duration::from_secs(2)));
        Self { stop, threads }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic in a thread has printed itself.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn requests() -> Vec<Request> {
    let stream = || Request::chat("large", "Name three rivers in Europe, please", 40, true);
    vec![
        stream(),
        Request::chat("large", "Why is the sky blue?", 20, false),
        stream().without_usage(),
        Request::completion("large", "Once upon a time", 30, true),
        stream().test("status", 500),
        Request { abort_after: Some(5), ..stream() },
        Request::get("/v1/models"),
    ]
}

/// Sends one after the other; what fails is part of the play.
fn sender(target: &Target, requests: Vec<Request>, stop: &Arc<AtomicBool>, pause: Duration) -> JoinHandle<()> {
    let (target, stop) = (target.clone(), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut client = Client::new(&target);
        for request in requests.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if client.send(request).is_err() {
                client = Client::new(&target);
            }
            std::thread::sleep(pause);
        }
    })
}
