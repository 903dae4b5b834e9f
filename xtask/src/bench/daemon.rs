//! What the daemon costs with everything on that it does by itself: records, metrics, the verdict, and OTLP to a
//! collector that takes all of it. Tokens per second of a real server with and without, and the agent's own CPU at a rate
//! that a large host sees.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use support::agent::Agent;
use support::server::Server;

use super::table::Row;
use super::timeline::rate;
use super::{Context, load, turns};

const LEAST: f64 = 0.99;
const MOST_CPU: f64 = 0.015;
const REQUESTS_PER_S: f64 = 100.0;
const CHUNKS: u64 = 50;
const AT_A_TIME: u64 = 32;
const SECONDS: f64 = 20.0;
const WARM_UP: u32 = 8;

pub fn run(context: &Context) -> Result<Vec<Row>> {
    Ok(vec![own_cpu(context)?, on_a_server(context)?])
}

/// A collector that takes whatever comes and says that all is well.
struct Sink {
    address: SocketAddr,
    exports: Arc<AtomicU64>,
}

impl Sink {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port for a collector")?;
        let (address, exports) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&exports);
        // Ends with the process: nobody waits for a collector.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || while answer(&stream, &counted).is_some() {});
            }
        });
        Ok(Self { address, exports })
    }

    /// The agent's configuration that sends there.
    fn config(&self) -> String {
        format!("[otlp]\nendpoint = \"http://{}\"\n[nvml]\nenabled = false\n", self.address)
    }
}

/// Takes one request; None when the connection is over.
fn answer(mut stream: &TcpStream, counted: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    counted.fetch_add(1, Ordering::Relaxed);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n").ok()
}

/// Seconds of CPU that a process has taken.
pub(super) fn cpu_s(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    let of = |text: &str| text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
    let all: f64 = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .map(|text| of(&text))
        .sum();
    Ok(if all > 0.0 { all } else { of(&text) } / 1e9)
}

fn own_cpu(context: &Context) -> Result<Row> {
    let seconds = if context.quick { 5.0 } else { SECONDS };
    let (server, sink) = (Server::start(&[])?, Sink::start()?);
    let agent = Agent::configured(&[server.pid()], &sink.config())?;
    let url = format!("http://{}", server.target.host());
    let run = |requests: f64| {
        let delay_us = AT_A_TIME as f64 / (REQUESTS_PER_S * CHUNKS as f64) * 1e6;
        let header = format!("x-test-delay-us: {delay_us:.0}");
        let (requests, at_a_time, chunks) = (format!("{requests:.0}"), AT_A_TIME.to_string(), CHUNKS.to_string());
        load::outcomes(&[
            "--url",
            &url,
            "--model",
            "m",
            "--requests",
            &requests,
            "--concurrency",
            &at_a_time,
            "--stream",
            "yes",
            "--max-tokens",
            &chunks,
            "--header",
            &header,
        ])
    };
    run(REQUESTS_PER_S)?;
    let (before, began) = (cpu_s(agent.pid())?, Instant::now());
    let requests = run(REQUESTS_PER_S * seconds)?.len() as f64;
    let took = began.elapsed().as_secs_f64();
    let cpu = (cpu_s(agent.pid())? - before) / took;
    let at = requests / took;
    // A host that cannot give the rate is no measure of its cost: the share is of so many requests.
    let per_rate = cpu * REQUESTS_PER_S / at;
    let exports = sink.exports.load(Ordering::Relaxed);
    Ok(Row::held(
        format!("agent CPU at {REQUESTS_PER_S:.0} requests/s of {CHUNKS} chunks, verdict and OTLP on"),
        format!(
            "{:.2} % of a core at {at:.0} requests/s ({:.2} % at {REQUESTS_PER_S:.0}), {exports} exports, {} events lost",
            cpu * 100.0,
            per_rate * 100.0,
            agent.lost()?
        ),
        "at most 1.5 %",
        per_rate <= MOST_CPU && exports > 0,
    ))
}

fn on_a_server(context: &Context) -> Result<Row> {
    let server = context.engines.llama()?;
    let sink = Sink::start()?;
    let (rounds, requests) = if context.quick { (2, 8) } else { (30, 10) };
    rate(&server, 4, requests)?;
    let without = || rate(&server, 4, requests);
    let with = || {
        let agent = Agent::configured(&[server.pid], &sink.config())?;
        // What an agent does at its start is not what is asked here.
        rate(&server, 4, WARM_UP)?;
        let with = rate(&server, 4, requests)?;
        agent.wait_metrics("its requests are counted", Duration::from_secs(20), |metrics| {
            metrics.count("inferscope_verdict_total", &[]) >= f64::from(WARM_UP + requests)
        })?;
        agent.stop()?;
        Ok(with)
    };
    let ratios = turns::ratios(rounds, without, with)?;
    Ok(Row::held(
        format!("{}: tokens/s with the daemon, verdict and OTLP on, 4 at a time", server.name),
        ratios.to_string(),
        "at least 0.99",
        ratios.median() >= LEAST,
    ))
}
