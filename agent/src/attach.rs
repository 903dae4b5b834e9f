//! `inferscope attach`: one process and its children, each request printed as it ends, a summary at the end.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{AttachArgs, LogArgs},
    correlate::Request,
    run,
};

#[derive(Default)]
struct Summary {
    requests: u64,
    errors: u64,
    input_tokens: u64,
    output_tokens: u64,
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    duration: Vec<f64>,
    oncpu: f64,
    runqueue: f64,
}

/// Figures kept for quantiles; a longer run keeps the first ones and says so.
const KEPT: usize = 100_000;

impl Summary {
    fn add(&mut self, request: &Request) {
        self.requests += 1;
        self.errors += u64::from(request.error_type.is_some());
        self.input_tokens += request.input_tokens.unwrap_or(0);
        self.output_tokens += request.output_tokens.unwrap_or(0);
        if self.duration.len() < KEPT {
            self.ttft.extend(request.ttft_s);
            self.tpot.extend(request.tpot_s);
            self.duration.push(request.duration_s);
        }
        if let Some(host) = &request.host.total {
            self.oncpu += host.oncpu_s;
            self.runqueue += host.runqueue_s;
        }
    }
}

fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let at = (q * (values.len().checked_sub(1)? as f64)).round() as usize;
    values.get(at).copied()
}

fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(s) if s < 1.0 => format!("{:.1} ms", s * 1e3),
        Some(s) => format!("{s:.2} s"),
    }
}

fn print_request(request: &Request) -> io::Result<()> {
    let tokens = |tokens: Option<u64>| tokens.map_or("-".to_owned(), |t| t.to_string());
    writeln!(
        io::stdout().lock(),
        "{:<16} {:>3} {:<24} in {:>6} out {:>6}{} ttft {:>9} tpot {:>9} total {:>9} cpu {:>9} runq {:>9} {}",
        request.operation.unwrap_or("-"),
        request.status,
        request.model.as_deref().unwrap_or("-"),
        tokens(request.input_tokens),
        tokens(request.output_tokens),
        if request.tokens_estimated { "~" } else { " " },
        seconds(request.ttft_s),
        seconds(request.tpot_s),
        seconds(Some(request.duration_s)),
        seconds(request.host.total.map(|host| host.oncpu_s)),
        seconds(request.host.total.map(|host| host.runqueue_s)),
        request.error_type.as_deref().or(request.finish_reason.as_deref()).unwrap_or("-"),
    )
}

fn print_json(request: &Request) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, request)?;
    writeln!(out)
}

fn print_summary(summary: &mut Summary, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (ttft50, ttft95) = (quantile(&mut summary.ttft, 0.5), quantile(&mut summary.ttft, 0.95));
    let tpot50 = quantile(&mut summary.tpot, 0.5);
    let (d50, d95) = (quantile(&mut summary.duration, 0.5), quantile(&mut summary.duration, 0.95));
    if json {
        let value = serde_json::json!({ "summary": {
            "requests": summary.requests, "errors": summary.errors,
            "input_tokens": summary.input_tokens, "output_tokens": summary.output_tokens,
            "ttft_p50_s": ttft50, "ttft_p95_s": ttft95, "tpot_p50_s": tpot50,
            "duration_p50_s": d50, "duration_p95_s": d95,
        }});
        return writeln!(out, "{value}");
    }
    writeln!(
        out,
        "\n{} requests, {} errors, {} tokens in, {} out\n\
         ttft p50 {} p95 {}, tpot p50 {}, duration p50 {} p95 {}\n\
         host during requests (thread time, overlapping requests each count it): on-CPU {}, run queue {}",
        summary.requests,
        summary.errors,
        summary.input_tokens,
        summary.output_tokens,
        seconds(ttft50),
        seconds(ttft95),
        seconds(tpot50),
        seconds(d50),
        seconds(d95),
        seconds(Some(summary.oncpu)),
        seconds(Some(summary.runqueue)),
    )
}

/// Waits for the end of the time, of the process, or of the operator's patience.
async fn wait(args: &AttachArgs, running: &mut run::Running, unread: &AtomicBool) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut poll = tokio::time::interval(std::time::Duration::from_millis(200));
    let (mut seen, mut absent) = (false, 0);
    let process = std::path::PathBuf::from(format!("/proc/{}", args.pid));
    let end = tokio::time::sleep(args.duration);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = running.pipeline_ended() => return Ok(()),
            _ = poll.tick() => {
                if unread.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let watched = !running.sources.services.table().is_empty();
                seen |= watched;
                absent = if watched { 0 } else { absent + 1 };
                // It may also have ended before it was watched at all.
                if absent > 0 && seen || absent > 5 && !process.exists() {
                    eprintln!("process {} has ended", args.pid);
                    return Ok(());
                }
            }
        }
    }
}

/// `inferscope attach`. Errors: no such process, no kernel programs, an output that cannot be written.
pub fn attach(args: &AttachArgs, log: &LogArgs) -> Result<()> {
    let mut config = args.config(log);
    config.nvml.enabled = false;
    let summary = Arc::new(Mutex::new(Summary::default()));
    // Set when nobody reads standard output any more.
    let unread = Arc::new(AtomicBool::new(false));
    let (json, seen, closed) = (args.json, Arc::clone(&summary), Arc::clone(&unread));
    let each = move |request: &Request| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).add(request);
        if (if json { print_json(request) } else { print_request(request) }).is_err() {
            closed.store(true, Ordering::Relaxed);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut running = run::start(&config, Some(Box::new(each)))?;
    if !json {
        eprintln!("watching process {} for {}; Ctrl-C ends", args.pid, humantime::format_duration(args.duration));
    }
    runtime.block_on(wait(args, &mut running, &unread))?;
    running.finish()?;
    print_summary(&mut summary.lock().unwrap_or_else(PoisonError::into_inner), json)?;
    Ok(())
}
