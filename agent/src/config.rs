//! The configuration: defaults, then one TOML file, then the command line. Every key stands in [`KEYS`] with its type,
//! range and whether a change needs a restart; `deploy/inferscope.example.toml` documents them all.
#![forbid(unsafe_code)]

mod change;
mod changes;
mod custom;
mod keys;
mod kubernetes;
mod otlp;
mod privacy;
mod problem;
mod web;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use change::{Change, changes};
pub use changes::Changes;
pub use custom::{Custom, CustomKind, Edges, Scale, Scope};
pub use keys::{KEYS, Key, Kind};
pub use kubernetes::Kubernetes;
pub use otlp::{Headers, Otlp, OtlpProtocol, is_endpoint};
pub use privacy::Privacy;
pub use problem::{Problem, list as list_problems};
pub use web::Web;

use crate::{custom as metrics_custom, discover::Rules};

/// Everything that an operator can set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where /metrics, /healthz and /readyz are served.
    pub listen: SocketAddr,
    /// File that gets one JSON line per finished request; `-` is standard output.
    pub records: Option<PathBuf>,
    /// BTF of the running kernel, where /sys/kernel/btf/vmlinux is missing.
    pub btf: Option<PathBuf>,
    /// The host's tree of control groups, where it is not at a usual place.
    pub cgroups: Option<PathBuf>,
    pub nvml: Nvml,
    pub discover: Rules,
    pub capture: Capture,
    pub limits: Limits,
    pub metrics: Metrics,
    pub otlp: Otlp,
    pub kubernetes: Kubernetes,
    pub privacy: Privacy,
    pub web: Web,
    pub changes: Changes,
    pub process: Process,
    pub logs: Logs,
    pub log: Log,
}

/// What the watched servers write to their outputs and log files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// Count their messages by level.
    pub enabled: bool,
    /// What a service may write and be read, in bytes a second; what is over it is counted.
    pub bytes_per_second: u32,
    /// The least grave messages that get a record.
    pub records: LogRecords,
    /// Records of a service in the long run; what is over it is counted.
    pub records_per_second: u32,
    /// What records keep of the messages themselves.
    pub text: LogText,
}

/// Which messages of the watched servers get a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogRecords {
    Off,
    Error,
    #[default]
    Warning,
    Info,
}

/// What is kept of a message. Secrets are kept in no case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogText {
    #[default]
    Off,
    /// Without personal data too, as far as patterns know them.
    Redacted,
    Full,
}

/// The agent's own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// Give back after the start what only the start needed.
    pub drop_privileges: bool,
}

/// The GPU source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nvml {
    pub enabled: bool,
    /// Path of libnvidia-ml; the usual places if not set.
    pub library: Option<PathBuf>,
    /// How often the GPUs are asked.
    #[serde(with = "duration_text")]
    pub interval: Duration,
}

/// How much of what is moved the kernel hands over. Sizes are exact whatever is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// First bytes of each call; a multiple of 8192.
    pub head_bytes: u32,
    /// Last bytes of a call that moves more.
    pub tail_bytes: u32,
    /// Of a request that is longer only the last bytes of each further call.
    pub request_bytes: u32,
    /// Size of the ring buffer; a power of two.
    pub ring_bytes: u32,
    /// Messages between the HTTP front and the core of vLLM and SGLang too.
    pub engines: bool,
}

/// Bounds of what the agent keeps. What does not fit is counted and exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub services: u32,
    pub processes: u32,
    pub connections: u32,
    /// Label sets per metric family.
    pub series: u32,
}

/// What /metrics shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Series with `pid` and `comm` labels.
    pub per_process: bool,
    /// Paths with `{name}` in place of what varies, for `http_route`.
    pub route_templates: Vec<String>,
    /// Metrics of the operator's own.
    pub custom: Vec<Custom>,
}

/// The log on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

/// The least grave messages that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// What the command line sets; it wins over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub listen: Option<SocketAddr>,
    pub records: Option<PathBuf>,
    pub btf: Option<PathBuf>,
    pub nvml_library: Option<PathBuf>,
    pub otlp_endpoint: Option<String>,
    pub web_config: Option<PathBuf>,
    /// Added to those of the file.
    pub pids: Vec<u32>,
    pub keep_privileges: bool,
    pub log_level: Option<LogLevel>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}: {reason}", path.display())]
    Read { path: PathBuf, reason: std::io::Error },
    /// Every problem of the file, one per line, each with `FILE:LINE:`.
    #[error("{}", problem::list(path, problems))]
    Invalid { path: PathBuf, problems: Vec<Problem> },
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9770)),
            records: None,
            btf: None,
            cgroups: None,
            nvml: Nvml::default(),
            discover: Rules::default(),
            capture: Capture::default(),
            limits: Limits::default(),
            metrics: Metrics::default(),
            otlp: Otlp::default(),
            kubernetes: Kubernetes::default(),
            privacy: Privacy::default(),
            web: Web::default(),
            changes: Changes::default(),
            process: Process::default(),
            logs: Logs::default(),
            log: Log::default(),
        }
    }
}

impl Default for Process {
    fn default() -> Self {
        Process { drop_privileges: true }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Logs {
            enabled: true,
            bytes_per_second: 1 << 20,
            records: LogRecords::default(),
            records_per_second: 10,
            text: LogText::default(),
        }
    }
}

impl Default for Nvml {
    fn default() -> Self {
        Nvml { enabled: true, library: None, interval: Duration::from_secs(1) }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Capture {
            head_bytes: 128 << 10,
            tail_bytes: 8 << 10,
            request_bytes: 1 << 20,
            ring_bytes: 8 << 20,
            engines: true,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { services: 256, processes: 4096, connections: 16_384, series: 5000 }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { per_process: true, route_templates: Vec::new(), custom: Vec::new() }
    }
}

impl Config {
    /// Defaults, then the file if there is one, then the command line.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut config = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|reason| ConfigError::Read { path: path.to_owned(), reason })?;
                Self::parse(&text).map_err(|problems| ConfigError::Invalid { path: path.to_owned(), problems })?
            }
            None => Self::default(),
        };
        config.apply(overrides);
        Ok(config)
    }

    /// Reads the text of a file. All problems at once, in order of line.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let problems = problem::find(text);
        if !problems.is_empty() {
            return Err(problems);
        }
        // What the table of keys let through and serde does not: a gap between the two, still told to the user.
        let config: Self = toml::from_str(text).map_err(|error| vec![Problem::of_toml(text, &error)])?;
        let wrong = metrics_custom::Rules::new(&config.metrics.custom).err().unwrap_or_default();
        let problems = problem::of_items(text, "metrics", "custom", wrong);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    fn apply(&mut self, overrides: &Overrides) {
        let Overrides {
            listen,
            records,
            btf,
            nvml_library,
            otlp_endpoint,
            web_config,
            pids,
            keep_privileges,
            log_level,
        } = overrides.clone();
        self.listen = listen.unwrap_or(self.listen);
        self.records = records.or(self.records.take());
        self.btf = btf.or(self.btf.take());
        self.nvml.library = nvml_library.or(self.nvml.library.take());
        self.otlp.endpoint = otlp_endpoint.or(self.otlp.endpoint.take());
        self.web.config_file = web_config.or(self.web.config_file.take());
        self.process.drop_privileges &= !keep_privileges;
        self.log.level = log_level.unwrap_or(self.log.level);
        for pid in pids {
            if !self.discover.include.pids.contains(&pid) {
                self.discover.include.pids.push(pid);
            }
        }
    }
}

/// Durations as people write them: `500ms`, `1s`, `2m`.
pub(crate) mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(D::Error::custom)
    }
}
