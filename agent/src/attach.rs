//! `inferscope attach`: processes and their children, each request printed as it ends, a summary at the end.
//! Standard output may stand still, as under a pager: it is written to by threads of its own, waited for only so long.
#![forbid(unsafe_code)]

mod profiling;
mod progress;
mod recording;
mod unseen;
mod words;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use profiling::Profiling;
use progress::Progress;
use recording::Recording;
use unseen::Counters;
use words::Findings;

use crate::{
    cli::{AttachArgs, AttachFormat, LogArgs},
    commands,
    correlate::{HostShare, Request, Verdict},
    export::{
        jsonl,
        lines::Lines,
        output::{Out, write_within},
        perfetto::Format,
        prometheus::RECORDS,
    },
    run::{self, Hears},
    tasks::{Ended, Tasks, supervised},
};

/// How long the end waits for standard output to take what there is, and then the summary.
const PATIENCE: Duration = Duration::from_secs(1);

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
    findings: Findings,
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
        self.findings.add(request);
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

fn request_line(request: &Request, out: &mut Vec<u8>) -> io::Result<()> {
    let tokens = |tokens: Option<u64>| tokens.map_or("-".to_owned(), |t| t.to_string());
    writeln!(
        out,
        "{:<16} {:>3} {:<24} in {:>6} out {:>6}{} ttft {:>9} tpot {:>9} total {:>9} cpu {:>9} runq {:>9} {:<10} {}",
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
        request.finding.verdict.map_or("-", Verdict::name),
    )
}

/// What stands beside the requests in a summary.
#[derive(Default)]
struct Beside {
    /// What was lost meanwhile, by place.
    lost: Vec<(&'static str, u64)>,
    /// What the threads did during the whole time.
    all: Option<HostShare>,
    unseen: Vec<String>,
}

fn summary_text(summary: &mut Summary, beside: &Beside, json: bool) -> String {
    let Beside { lost, all, unseen } = beside;
    let (ttft50, ttft95) = (quantile(&mut summary.ttft, 0.5), quantile(&mut summary.ttft, 0.95));
    let tpot50 = quantile(&mut summary.tpot, 0.5);
    let (d50, d95) = (quantile(&mut summary.duration, 0.5), quantile(&mut summary.duration, 0.95));
    if json {
        let value = serde_json::json!({ "summary": {
            "requests": summary.requests, "errors": summary.errors,
            "input_tokens": summary.input_tokens, "output_tokens": summary.output_tokens,
            "ttft_p50_s": ttft50, "ttft_p95_s": ttft95, "tpot_p50_s": tpot50,
            "duration_p50_s": d50, "duration_p95_s": d95,
            "lost": lost.iter().copied().collect::<BTreeMap<_, _>>(),
            "findings": summary.findings.json(all.as_ref(), unseen),
        }});
        return format!("{value}\n");
    }
    let mut text = format!(
        "\n{} requests, {} errors, {} tokens in, {} out\n\
         ttft p50 {} p95 {}, tpot p50 {}, duration p50 {} p95 {}\n\
         host during requests (thread time, overlapping requests each count it): on-CPU {}, run queue {}\n",
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
    );
    if !lost.is_empty() {
        let lost: Vec<String> = lost.iter().map(|(place, count)| format!("{place} {count}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "lost, so that figures may be too small: {}", lost.join(", "));
    }
    text.push_str(&summary.findings.text(all.as_ref(), unseen));
    text
}

/// Waits for the end of the time, of the process, or of the operator's patience.
async fn wait(
    args: &AttachArgs,
    running: &run::Running,
    printer: &Lines,
    (recording, profiling): (&mut Option<Recording>, &mut Option<Profiling>),
    counters: &mut Counters,
    ended: &mut Ended,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut poll = tokio::time::interval(Duration::from_millis(200));
    let (mut seen, mut absent) = (false, 0);
    let mut progress = Progress::new();
    let who = whom(&args.pids);
    let is_there = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    let end = tokio::time::sleep(args.duration);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            failure = ended.first() => return Err(failure),
            _ = poll.tick() => {
                if printer.failing() {
                    return Ok(());
                }
                if let Some(profiling) = profiling {
                    profiling.sample(&running.sources);
                }
                if let Some(recording) = recording {
                    recording.sample(&running.sources);
                    if recording.has_failed() {
                        return Ok(());
                    }
                    if seen {
                        progress.show(&recording.recorded(), recording.lost());
                    }
                }
                counters.sample(&running.sources);
                let watched = !running.sources.services.table().is_empty();
                if watched && !seen && !args.json {
                    let time = humantime::format_duration(args.duration);
                    commands::say(format!("watching {who} for {time}; Ctrl-C ends\n"));
                }
                seen |= watched;
                absent = if watched { 0 } else { absent + 1 };
                // It may also have ended before it was watched at all.
                if absent > 0 && seen || absent > 5 && !args.pids.iter().any(is_there) {
                    progress.clear();
                    let have = if args.pids.len() > 1 { "have ended" } else { "has ended" };
                    commands::say(format!("{who} {have}\n"));
                    return Ok(());
                }
            }
        }
    }
}

/// The processes in words.
fn whom(pids: &[u32]) -> String {
    let all: Vec<String> = pids.iter().map(ToString::to_string).collect();
    format!("process{} {}", if all.len() > 1 { "es" } else { "" }, all.join(", "))
}

/// Over whatever progress stands in the line.
fn request_line_on_terminal(request: &Request, out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(progress::CLEAR.as_bytes());
    request_line(request, out)
}

/// Hears nothing: an output that fails ends the command, and the summary says why.
fn untold(_: Result<(), &io::Error>) {}

/// What is recorded to a file, and how. Chrome's trace events have no place for stacks.
fn outputs(args: &AttachArgs, tasks: &Tasks) -> Result<(Option<Recording>, Option<Profiling>)> {
    let Some((path, format)) = args.output() else { return Ok((None, None)) };
    let (timeline, stacks) = match format {
        AttachFormat::Perfetto => (Some(Format::Perfetto), !args.no_stacks),
        AttachFormat::Json => (Some(Format::Json), false),
        AttachFormat::Pprof | AttachFormat::Flamegraph => (None, true),
    };
    let recording = timeline.map(|form| Recording::start(path, form, args.syscalls, tasks)).transpose()?;
    let profiling = stacks.then(|| Profiling::start(path, format, args.frequency, tasks)).transpose()?;
    Ok((recording, profiling))
}

/// `inferscope attach`. Errors: no such process, no kernel programs, an output that cannot be written or is not read.
pub fn attach(args: &AttachArgs, log: &LogArgs) -> Result<()> {
    let config = args.config(log);
    let summary = Arc::new(Mutex::new(Summary::default()));
    let (tasks, mut ended) = supervised();
    let terminals = io::stdout().is_terminal() && io::stderr().is_terminal();
    let format = match (args.json, terminals && args.out.is_some()) {
        (true, _) => jsonl::line,
        (false, true) => request_line_on_terminal,
        (false, false) => request_line,
    };
    let printer = Lines::start("printer", Out::stdout()?, format, untold, tasks.guard("printer"))?;
    let (mut recording, mut profiling) = outputs(args, &tasks)?;
    let profile = profiling.as_ref().map(Profiling::feed);
    let timeline = recording.as_ref().map(Recording::timeline);
    let (seen, printed, drawn) = (Arc::clone(&summary), printer.queue(), timeline.clone());
    let fed = profile.clone();
    let each = move |request: &Arc<Request>| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).add(request);
        printed.send(request);
        if let Some(timeline) = &drawn {
            timeline.request(request);
        }
        if let Some(feed) = &fed {
            feed.request(request);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut running = run::start(&config, &tasks, Hears { each: Some(Box::new(each)), timeline, profile })?;
    let mut counters = Counters::default();
    let outputs = (&mut recording, &mut profiling);
    let outcome = runtime.block_on(wait(args, &running, &printer, outputs, &mut counters, &mut ended));
    let finished = running.finish();
    let beside = Beside {
        lost: running.sources.losses(),
        all: counters.during(&running.sources),
        unseen: unseen::all(&running.sources),
    };
    let drawn = recording.map(|recording| recording.end(&running.sources)).transpose();
    let profiled = profiling.map(Profiling::end).transpose();
    drop(running);
    let printed = end(&mut summary.lock().unwrap_or_else(PoisonError::into_inner), beside, printer, args.json);
    let drawn = drawn.map(|words| words.into_iter().for_each(commands::say));
    let profiled = profiled.map(|words| words.into_iter().for_each(commands::say));
    outcome.and(finished).and(printed).and(drawn).and(profiled)
}

/// What is still to be printed, as long as standard output takes it.
fn end(summary: &mut Summary, mut beside: Beside, printer: Lines, json: bool) -> Result<()> {
    let unprinted = printer.lost();
    let left = printer.end(PATIENCE);
    let unprinted = unprinted.load(Ordering::Relaxed);
    beside.lost.retain(|(place, _)| *place != RECORDS);
    beside.lost.push((RECORDS, unprinted));
    beside.lost.retain(|(_, count)| *count != 0);
    // What does not take a line does not take the summary.
    let written = left == 0
        && write_within(Out::stdout(), summary_text(summary, &beside, json), PATIENCE)
            .context("cannot write to standard output")?;
    if !written {
        bail!(
            "nobody reads standard output: the summary and {unprinted} of {} requests are not printed; \
             write to a file to have all of them",
            summary.requests
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_stand_in_both_summaries() {
        let beside = Beside { lost: vec![("ring_payload", 7), (RECORDS, 2)], ..Beside::default() };
        let mut summary = Summary { requests: 3, ..Summary::default() };
        let text = summary_text(&mut summary, &beside, false);
        assert!(text.ends_with("too small: ring_payload 7, records 2\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&summary_text(&mut summary, &beside, true)).unwrap();
        assert_eq!(json["summary"]["lost"], serde_json::json!({ "ring_payload": 7, "records": 2 }));
    }

    #[test]
    fn without_losses_there_is_no_word_of_them() {
        let text = summary_text(&mut Summary::default(), &Beside::default(), false);
        assert!(!text.contains("lost") && text.ends_with("run queue 0.0 ms\n"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&summary_text(&mut Summary::default(), &Beside::default(), true)).unwrap();
        assert_eq!(json["summary"]["lost"], serde_json::json!({}));
    }
}
