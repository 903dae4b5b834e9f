//! The command line: arguments as typed, and how they become a validated configuration. Starts nothing.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::{Changes, Config, ConfigError, Log, LogLevel, Overrides, Process, is_endpoint};
use crate::discover::{Include, Rules};
use crate::profile::FREQUENCY_HZ;

/// Watches LLM inference servers from the kernel: time to first token, tokens, and why a request was as slow as it was.
#[derive(Clone, Debug, Parser)]
#[command(name = "inferscope", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub log: LogArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Arguments that every command has.
#[derive(Clone, Debug, Default, Args)]
pub struct LogArgs {
    /// Say more: -v for debug, -vv for trace
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// How much to log; wins over the configuration file
    #[arg(long, value_enum, value_name = "LEVEL", global = true, conflicts_with = "verbose")]
    pub log_level: Option<LogLevel>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Watch this host's inference servers and serve /metrics
    Run(RunArgs),
    /// Say what works on this host, what does not, and what to do about it
    Check(CheckArgs),
    /// List the inference servers that run on this host
    Ps(PsArgs),
    /// Watch processes: print each request as it ends, and a summary; record a timeline with --out
    Attach(AttachArgs),
    /// Show the services of a running agent as a live table
    Top(TopArgs),
    /// Print a shell's completion script
    Completions {
        /// The shell to complete for
        shell: Shell,
    },
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory, which must be there
        dir: PathBuf,
    },
    /// Print the table of metrics for the README
    #[command(hide = true)]
    MetricsTable,
}

#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Where /metrics is served [default: 127.0.0.1:9770]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Watch this process whatever it is; can be given several times
    #[arg(long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=4 << 20))]
    pub pids: Vec<u32>,
    /// Write one JSON line per finished request to FILE, or to standard output if it is -
    #[arg(long, value_name = "FILE|-")]
    pub records: Option<PathBuf>,
    /// Send spans, metrics and log records to this OTLP collector, such as http://127.0.0.1:4318
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub otlp: Option<String>,
    /// TLS, client certificates, users and tokens of what is served: a web configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    pub web_config: Option<PathBuf>,
    /// NVIDIA's management library, if it is not in a usual place
    #[arg(long, value_name = "PATH")]
    pub nvml_lib: Option<PathBuf>,
    /// BTF of the running kernel, if /sys/kernel/btf/vmlinux is missing
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Keep the rights that only the start needs, such as loading kernel programs
    #[arg(long)]
    pub keep_privileges: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where `run` would serve
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// Configuration file (TOML) that `run` would get
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Web configuration file (YAML) that `run` would get
    #[arg(long, value_name = "FILE")]
    pub web_config: Option<PathBuf>,
    /// BTF of the running kernel, if /sys/kernel/btf/vmlinux is missing
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct PsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Configuration file (TOML): its rules of discovery, its names, and its GPU library
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// NVIDIA's management library, if it is not in a usual place
    #[arg(long, value_name = "PATH")]
    pub nvml_lib: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct AttachArgs {
    /// The process to watch, with its children, whatever it is; several with commas, or given several times
    #[arg(
        long = "pid", value_name = "PID", required = true, value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..=4 << 20)
    )]
    pub pids: Vec<u32>,
    /// How long to watch
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub duration: Duration,
    /// Print JSON lines
    #[arg(long)]
    pub json: bool,
    /// Record a timeline: what every thread did when, and the requests above it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What FILE becomes [default: by its name: .json is json, .pb.gz and .pprof are pprof, .svg is flamegraph, else perfetto]
    #[arg(long, value_enum, value_name = "FORMAT", requires = "out")]
    pub format: Option<AttachFormat>,
    /// Draw system calls that take so long in the timeline; 0s draws all
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = any_time)]
    pub syscalls: Duration,
    /// Take no stacks for the timeline; not for pprof and flamegraph, which are made of them
    #[arg(long, requires = "out")]
    pub no_stacks: bool,
    /// How often stacks are taken on each CPU
    #[arg(long, value_name = "HZ", default_value_t = FREQUENCY_HZ, conflicts_with = "no_stacks",
          value_parser = clap::value_parser!(u32).range(1..=1999))]
    pub frequency: u32,
}

/// What `attach --out` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AttachFormat {
    /// A timeline in Perfetto's format, for ui.perfetto.dev
    Perfetto,
    /// A timeline as Chrome's trace events, which ui.perfetto.dev opens too; several times as long
    Json,
    /// A profile of stacks for pprof
    Pprof,
    /// A flame graph of stacks, as SVG
    Flamegraph,
}

impl AttachFormat {
    /// What a file of this name is expected to be.
    fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        match name.as_str() {
            name if name.ends_with(".json") => Self::Json,
            name if name.ends_with(".pb.gz") || name.ends_with(".pprof") => Self::Pprof,
            name if name.ends_with(".svg") => Self::Flamegraph,
            _ => Self::Perfetto,
        }
    }
}

/// Arguments of `top`.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// The agent to ask
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9770")]
    pub url: String,
    #[command(flatten)]
    pub access: AccessArgs,
    /// How often to ask
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub interval: Duration,
    /// Print a plain table at every interval instead of the live one; the default when output is no terminal
    #[arg(long)]
    pub plain: bool,
    /// Print one plain table and end
    #[arg(long)]
    pub once: bool,
}

/// How `top` gets into an agent with a web configuration. Secrets come from files.
#[derive(Clone, Debug, Default, Args)]
pub struct AccessArgs {
    /// Certificates (PEM) that the agent's must come from [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The name in the agent's certificate, if it is not that of the URL
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Certificate (PEM) to show to the agent
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// A bearer token, in the first line
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub token_file: Option<PathBuf>,
    /// A user of the agent
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// The user's password, in the first line
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
}

/// The shortest time that an option takes: less makes an agent that is asked all the time.
const SHORTEST: Duration = Duration::from_millis(100);

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an address with a port, such as 127.0.0.1:9770 or [::]:9770".to_owned())
}

fn endpoint(text: &str) -> Result<String, String> {
    let good = is_endpoint(text).then(|| text.to_owned());
    good.ok_or_else(|| "write a URL of http or https without a password, such as http://127.0.0.1:4318".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time >= SHORTEST => Ok(time),
        Ok(_) => Err(format!("the shortest is {}", humantime::format_duration(SHORTEST))),
        Err(_) => Err("write a number with its unit, such as 500ms, 30s or 2m".to_owned()),
    }
}

fn any_time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a number with its unit, such as 500us or 10ms".to_owned())
}

impl LogArgs {
    /// The level that was asked for, if any was.
    pub fn level(&self) -> Option<LogLevel> {
        match self.verbose {
            0 => self.log_level,
            1 => Some(LogLevel::Debug),
            _ => Some(LogLevel::Trace),
        }
    }
}

impl RunArgs {
    /// Defaults, then the file, then these arguments. Call again with the same arguments for a reload.
    pub fn config(&self, log: &LogArgs) -> Result<Config, ConfigError> {
        let overrides = Overrides {
            listen: self.listen,
            records: self.records.clone(),
            btf: self.btf.clone(),
            nvml_library: self.nvml_lib.clone(),
            otlp_endpoint: self.otlp.clone(),
            web_config: self.web_config.clone(),
            pids: self.pids.clone(),
            keep_privileges: self.keep_privileges,
            log_level: log.level(),
        };
        Config::load(self.config.as_deref(), &overrides)
    }
}

impl CheckArgs {
    /// What [`RunArgs::config`] makes of the same arguments.
    pub fn config(&self, log: &LogArgs) -> Result<Config, ConfigError> {
        let run = RunArgs {
            listen: self.listen,
            config: self.config.clone(),
            web_config: self.web_config.clone(),
            btf: self.btf.clone(),
            ..RunArgs::default()
        };
        run.config(log)
    }
}

impl PsArgs {
    /// What [`RunArgs::config`] makes of the same file and library.
    pub fn config(&self, log: &LogArgs) -> Result<Config, ConfigError> {
        let run = RunArgs { config: self.config.clone(), nvml_lib: self.nvml_lib.clone(), ..RunArgs::default() };
        run.config(log)
    }
}

impl AttachArgs {
    /// What is to be written, if anything is.
    pub fn output(&self) -> Option<(&Path, AttachFormat)> {
        let path = self.out.as_deref()?;
        Some((path, self.format.unwrap_or_else(|| AttachFormat::of(path))))
    }

    /// The defaults, with these processes as the only ones watched.
    pub fn config(&self, log: &LogArgs) -> Config {
        let include = Include { pids: self.pids.clone(), ..Include::default() };
        // Requests go to standard output: the log says only what went wrong.
        let level = log.level().unwrap_or(LogLevel::Warn);
        Config {
            // Its end is near, and its threads are there before the programs.
            process: Process { drop_privileges: false },
            changes: Changes { enabled: false, ..Changes::default() },
            discover: Rules { enabled: false, include, ..Rules::default() },
            log: Log { level, ..Log::default() },
            ..Config::default()
        }
    }
}

/// Writes a shell's completion script. Errors: `out` does not take it.
pub fn completions(shell: Shell, out: &mut impl std::io::Write) -> std::io::Result<()> {
    // What makes the script panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "inferscope", &mut script);
    out.write_all(&script)?;
    out.flush()
}

/// Writes inferscope.1 and a page for each command into DIR. Errors: DIR cannot be written.
pub fn manual(dir: &Path) -> std::io::Result<()> {
    clap_mangen::generate_to(Cli::command(), dir)
}

#[cfg(test)]
mod tests;
