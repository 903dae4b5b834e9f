//! `inferscope attach`: processes and their children, each request printed as it ends, a summary at the end.
//! Standard output may stand still, as under a pager: it is written to by threads of its own, waited for only so long.
#![forbid(unsafe_code)]

mod line;
mod profiling;
mod progress;
mod recording;
mod summary;
mod unseen;
mod words;

use std::{
    io::{self, IsTerminal as _},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use line::{request_line, request_line_on_terminal};
use profiling::Profiling;
use progress::Progress;
use recording::Recording;
use summary::{Beside, Summary, summary_text};
use unseen::Counters;

use crate::{
    cli::{AttachArgs, AttachFormat, LogArgs},
    commands,
    correlate::Request,
    discover,
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
/// How often counters are read; ten times as often until there are any.
const LOOK: Duration = Duration::from_millis(200);

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
    let (mut seen, began) = (false, Instant::now());
    let mut progress = Progress::new();
    let who = whom(&args.pids);
    let is_there = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    let end = tokio::time::sleep(args.duration);
    tokio::pin!(end);
    loop {
        // What there is to record begins when the process is there.
        let pause = if seen { LOOK } else { LOOK / 10 };
        tokio::select! {
            () = &mut end => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            failure = ended.first() => return Err(failure),
            () = tokio::time::sleep(pause) => {
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
                // It may also have ended before it was watched at all.
                let never = || began.elapsed() > 5 * LOOK && !args.pids.iter().any(is_there);
                if !watched && (seen || never()) {
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

/// Hears nothing: an output that fails ends the command, and the summary says why.
fn untold(_: Result<(), &io::Error>) {}

/// What is recorded to a file, and how. Chrome's trace events have no place for stacks.
fn outputs(args: &AttachArgs, tasks: &Tasks) -> Result<(Option<Recording>, Option<Profiling>)> {
    let Some((path, format)) = args.output() else { return Ok((None, None)) };
    let (timeline, stacks) = match format {
        AttachFormat::Perfetto => (Some(Format::Perfetto), !args.no_stacks),
        AttachFormat::Json => (Some(Format::Json), false),
        AttachFormat::Pprof | AttachFormat::Flamegraph if args.no_stacks => bail!(
            "--no-stacks leaves nothing to write to {}: a profile is made of stacks; leave it out, or choose another format",
            path.display()
        ),
        AttachFormat::Pprof | AttachFormat::Flamegraph => (None, true),
    };
    let recording = timeline.map(|form| Recording::start(path, form, args.syscalls, tasks)).transpose()?;
    let profiling = stacks.then(|| Profiling::start(path, format, args.frequency, tasks)).transpose()?;
    Ok((recording, profiling))
}

/// `inferscope attach`. Errors: no such process, no kernel programs, an output that cannot be written or is not read.
pub fn attach(args: &AttachArgs, log: &LogArgs) -> Result<()> {
    // Before there is a file: a mistyped id must not empty the one that is there.
    discover::check_given(&args.pids)?;
    let config = args.config(log);
    let summary = Arc::new(Mutex::new(Summary::default()));
    let (tasks, mut ended) = supervised();
    let terminals = io::stdout().is_terminal() && io::stderr().is_terminal();
    let format = match (args.json, terminals && args.out.is_some()) {
        (true, _) => jsonl::record,
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
        lost: unseen::losses(&running.sources),
        in_flight: running.sources.live.snapshot().llm_in_flight,
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
    use crate::cli::{Cli, Command};
    use clap::Parser as _;
    use std::path::Path;

    fn args(pids: &str, out: &Path, more: &[&str]) -> AttachArgs {
        let line = ["inferscope", "attach", "--pid", pids, "--out", out.to_str().unwrap()];
        match Cli::try_parse_from(line.iter().chain(more)).unwrap().command {
            Command::Attach(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_process_that_is_not_there_empties_no_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "of yesterday").unwrap();
        // Above the greatest id that a process can have, and beside one that is there.
        let pids = format!("{},4194304", std::process::id());
        let error = attach(&args(&pids, file.path(), &[]), &LogArgs::default()).unwrap_err().to_string();
        assert!(error.contains("no process 4194304"), "{error}");
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "of yesterday");
    }

    #[test]
    fn a_profile_without_stacks_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (tasks, _ended) = supervised();
        let output = |name: &str, more: &[&str]| {
            let out = folder.path().join(name);
            let args = args("1", &out, &[&["--no-stacks"], more].concat());
            (outputs(&args, &tasks).map(|(recording, profiling)| (recording.is_some(), profiling.is_some())), out)
        };
        let named: [(&str, &[&str]); 4] =
            [("p.pb.gz", &[]), ("f.svg", &[]), ("p", &["--format", "pprof"]), ("f", &["--format", "flamegraph"])];
        for (name, more) in named {
            let (refused, out) = output(name, more);
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("--no-stacks") && error.contains(name) && !out.exists(), "{error}");
        }
        for name in ["t.pftrace", "t.json"] {
            let (made, out) = output(name, &[]);
            assert_eq!((made.unwrap(), out.exists()), ((true, false), true), "{name}");
        }
    }
}
