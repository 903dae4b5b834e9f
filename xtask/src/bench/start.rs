//! How soon after its start the agent watches a given process.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use support::server::Server;

use super::Context;
use super::table::{Row, median, quantile};
use crate::{http, process};

const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);

pub fn run(context: &Context) -> Result<Vec<Row>> {
    let server = Server::start(&[])?;
    let mut times = Vec::new();
    for _ in 0..if context.quick { 3 } else { 9 } {
        times.push(once(context, server.pid())?);
    }
    let measured = format!("median {:.3} s, longest {:.3} s of {}", median(&times), quantile(&times, 1.0), times.len());
    Ok(vec![Row::held(
        "exec to ready, with a given process in /metrics",
        measured,
        "within 1 s",
        quantile(&times, 1.0) <= 1.0,
    )])
}

/// Seconds from exec until /readyz says yes and /metrics has the process.
fn once(context: &Context, pid: u32) -> Result<f64> {
    let port = http::free_port()?;
    let mut command = Command::new(&context.agent);
    command.args(["run", "--listen", &format!("127.0.0.1:{port}"), "--pid", &pid.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let watched = format!("pid=\"{pid}\"");
    let started = Instant::now();
    let mut agent = process::Group::spawn(&mut command)?;
    loop {
        let ready = http::get(port, "/readyz").is_ok_and(|response| response.status == 200);
        let in_metrics = |text: &str| {
            text.lines()
                .any(|line| line.starts_with("inferscope_process_oncpu_seconds_total{") && line.contains(&watched))
        };
        if ready && in_metrics(&http::get(port, "/metrics")?.body) {
            return Ok(started.elapsed().as_secs_f64());
        }
        if let Some(status) = agent.try_wait()? {
            bail!("the agent ended ({status})");
        }
        if started.elapsed() > PATIENCE {
            bail!("the process is not watched after {PATIENCE:?}");
        }
        std::thread::sleep(POLL);
    }
}
