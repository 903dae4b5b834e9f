//! Sends requests to an OpenAI-compatible server and writes what it saw of each as a line of JSON.

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::client::{Client, Request};
use support::clock::{now_ns, sleep_until_ns};
use support::drain::drain_stream;
use support::outcome::Outcome;
use support::transport::Target;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stream {
    Yes,
    No,
    Mix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Api {
    Chat,
    Completions,
    Mix,
}

#[derive(Parser)]
#[command(about = "A load client that records what it saw")]
struct Args {
    #[arg(long, default_value = "http://127.0.0.1:18080")]
    url: String,
    #[arg(long, default_value = "test-model")]
    model: String,
    #[arg(long, default_value_t = 100)]
    requests: u64,
    #[arg(long, default_value_t = 4)]
    concurrency: u64,
    #[arg(long, value_enum, default_value_t = Stream::Mix)]
    stream: Stream,
    #[arg(long, value_enum, default_value_t = Api::Chat)]
    api: Api,
    #[arg(long, default_value_t = 16)]
    max_tokens: u64,
    #[arg(long, default_value = "Count from one to ten in words, please.")]
    prompt: String,
    /// One line of JSON per request; - for standard output.
    #[arg(long)]
    jsonl: Option<PathBuf>,
    /// Requests per second, started on schedule whether or not earlier ones have ended (up to the concurrency).
    #[arg(long)]
    rate: Option<f64>,
    /// A new connection for every request.
    #[arg(long)]
    no_keep_alive: bool,
    /// Go away after so many content chunks.
    #[arg(long)]
    abort_after: Option<u64>,
    /// Pause before every read.
    #[arg(long)]
    slow_ms: Option<u64>,
    /// Do not ask streams for their usage.
    #[arg(long)]
    no_usage: bool,
    /// Extra header `Name: value`. May be repeated.
    #[arg(long)]
    header: Vec<String>,
    /// Read one stream on each of so many connections as fast as they come, count, and end: the throughput bench.
    #[arg(long)]
    drain: Option<usize>,
    /// Say `ready pid N` and wait for a line on standard input before the first request.
    #[arg(long)]
    wait: bool,
}

struct Run<'a> {
    args: &'a Args,
    target: Target,
    headers: Vec<(String, String)>,
    next: AtomicU64,
    start_ns: u64,
    out: Mutex<Option<Box<dyn Write + Send>>>,
    outcomes: Mutex<Vec<Outcome>>,
}

impl Run<'_> {
    fn request(&self, i: u64) -> Request {
        let a = self.args;
        let odd = i % 2 == 1;
        let stream = a.stream == Stream::Yes || (a.stream == Stream::Mix && odd);
        let chat = a.api == Api::Chat || (a.api == Api::Mix && (i / 2).is_multiple_of(2));
        let make = if chat { Request::chat } else { Request::completion };
        let made = make(&a.model, &a.prompt, a.max_tokens, stream);
        Request {
            close: a.no_keep_alive,
            abort_after: a.abort_after.filter(|_| stream),
            slow: a.slow_ms.map(Duration::from_millis),
            headers: self.headers.clone(),
            ..if a.no_usage { made.without_usage() } else { made }
        }
    }

    fn work(&self) -> Result<()> {
        let mut client = Client::new(&self.target);
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= self.args.requests {
                return Ok(());
            }
            if let Some(rate) = self.args.rate {
                sleep_until_ns(self.start_ns + (i as f64 / rate * 1e9) as u64);
            }
            let outcome = match client.send(&self.request(i)) {
                Ok(o) => o,
                Err(e) => Outcome { failure: Some(format!("{e:#}")), ..Outcome::default() },
            };
            if let Some(out) = self.out.lock().expect("no writer panics").as_mut() {
                serde_json::to_writer(&mut *out, &outcome)?;
                out.write_all(b"\n")?;
            }
            self.outcomes.lock().expect("no writer panics").push(outcome);
        }
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let out: Option<Box<dyn Write + Send>> = match &args.jsonl {
        None => None,
        Some(p) if p.as_os_str() == "-" => Some(Box::new(std::io::stdout())),
        Some(p) => Some(Box::new(BufWriter::new(File::create(p).with_context(|| p.display().to_string())?))),
    };
    let headers = args
        .header
        .iter()
        .map(|h| h.split_once(':').map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned())).context("--header"))
        .collect::<Result<_>>()?;
    let target = Target::parse(&args.url)?;
    if args.wait {
        println!("ready pid {}", std::process::id());
        std::io::stdin().read_line(&mut String::new())?;
    }
    if let Some(connections) = args.drain {
        return drain(&args, &target, headers, connections);
    }
    let run = Run {
        args: &args,
        target,
        headers,
        next: AtomicU64::new(0),
        start_ns: now_ns(),
        out: Mutex::new(out),
        outcomes: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.concurrency.max(1)).map(|_| scope.spawn(|| run.work())).collect();
        workers.into_iter().try_for_each(|w| w.join().expect("a worker does not panic"))
    })?;
    if let Some(out) = run.out.lock().expect("no writer panics").as_mut() {
        out.flush()?;
    }
    let all = run.outcomes.lock().expect("no writer panics");
    eprintln!("{}", summary(&all, (now_ns() - run.start_ns) as f64 / 1e9));
    Ok(())
}

fn drain(args: &Args, target: &Target, headers: Vec<(String, String)>, connections: usize) -> Result<()> {
    let stream = Request::chat(&args.model, &args.prompt, args.max_tokens, true);
    let request = Request { close: true, headers, ..stream };
    let drained = drain_stream(target, &request, connections, Duration::from_secs(600))?;
    println!("{}", serde_json::json!({ "drained": drained, "chunks_per_second": drained.chunks_per_second() }));
    Ok(())
}

fn summary(all: &[Outcome], seconds: f64) -> serde_json::Value {
    let mut ttft: Vec<u64> = all.iter().filter_map(|o| o.ttft_ns).collect();
    ttft.sort_unstable();
    let quantile = |q: f64| ttft.get(((ttft.len() as f64 - 1.0) * q).round() as usize).map(|ns| *ns as f64 / 1e9);
    serde_json::json!({
        "requests": all.len(),
        "complete": all.iter().filter(|o| o.complete()).count(),
        "aborted": all.iter().filter(|o| o.aborted).count(),
        "failed": all.iter().filter(|o| o.failure.is_some()).count(),
        "errors": all.iter().filter(|o| o.status >= 400 || o.error.is_some()).count(),
        "output_tokens": all.iter().filter_map(|o| o.output_tokens).sum::<u64>(),
        "content_chunks": all.iter().map(|o| o.content_chunks).sum::<u64>(),
        "seconds": seconds,
        "ttft_p50_s": quantile(0.5),
        "ttft_p95_s": quantile(0.95),
    })
}
