//! `inferscope top`: the services of a running agent as a live table, read from its /metrics. Watches nothing itself.
//! One thread scrapes; this one draws. Both end with the other.
#![forbid(unsafe_code)]

mod access;
mod history;
mod live;
mod plain;
mod row;
mod sample;
mod scrape;
mod text;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::TopArgs;
use crate::export::metrics;

pub use access::Access;
pub use history::{History, run_queue_ratio};
pub use plain::write_table;
pub use row::Row;
pub use sample::Snapshot;
pub use scrape::{ScrapeError, Target};
pub use text::parse;

/// What a scrape gave, and when.
type Scraped = (Instant, Result<Snapshot, ScrapeError>);

/// Shows the table until the user ends it, or once. Errors: an address that is none, an agent that does not answer
/// (with `--once`), a terminal that fails.
pub fn run(args: &TopArgs) -> Result<()> {
    let mut target = Target::parse(&args.url)?;
    target.access = Access::new(&args.access, target.is_secure())?;
    if args.once {
        return once(&target, args.interval);
    }
    let ended = ended_by_signal()?;
    let scrapes = scrape_on_thread(target.clone(), args.interval)?;
    if args.plain || !io::stdout().is_terminal() {
        return stream(&target, &scrapes, &ended);
    }
    live::run(&target, &scrapes, &ended)
}

/// Asks the agent once.
fn scrape(target: &Target) -> Result<Snapshot, ScrapeError> {
    let text = target.get("/metrics")?;
    let samples = parse(&text);
    if !samples.iter().any(|sample| sample.name == metrics::PROBE_UP.name) {
        return Err(ScrapeError::Stranger);
    }
    Ok(Snapshot::of(&samples))
}

/// Two scrapes, for rates, and one table.
fn once(target: &Target, interval: Duration) -> Result<()> {
    let mut history = History::default();
    history.add(Instant::now(), scrape(target)?);
    thread::sleep(interval);
    history.add(Instant::now(), scrape(target)?);
    Ok(write_table(&history.rows(), &mut io::stdout().lock())?)
}

/// A plain table at every scrape, for pipes and logs.
fn stream(target: &Target, scrapes: &Receiver<Scraped>, ended: &AtomicBool) -> Result<()> {
    let mut history = History::default();
    while !ended.load(Ordering::Relaxed) {
        let Ok((at, scraped)) = scrapes.recv_timeout(Duration::from_millis(200)) else { continue };
        match scraped {
            Ok(snapshot) => {
                history.add(at, snapshot);
                match print(&history) {
                    // The reader has seen enough, as `head` does.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                    printed => printed?,
                }
            }
            Err(error) => eprintln!("{target}: {error}"),
        }
    }
    Ok(())
}

fn print(history: &History) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write_table(&history.rows(), &mut out)?;
    writeln!(out)?;
    out.flush()
}

/// Scrapes at every interval until the receiver is gone. A result that nobody has taken yet is not queued twice.
fn scrape_on_thread(target: Target, interval: Duration) -> Result<Receiver<Scraped>> {
    let (sender, receiver) = sync_channel(1);
    let scraper = move || {
        let mut next = Instant::now();
        loop {
            let scraped = scrape(&target);
            if let Err(TrySendError::Disconnected(_)) = sender.try_send((Instant::now(), scraped)) {
                return;
            }
            next = (next + interval).max(Instant::now());
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    };
    thread::Builder::new().name("top-scrape".to_owned()).spawn(scraper).context("cannot start a thread")?;
    Ok(receiver)
}

/// Becomes true at SIGINT, SIGTERM or SIGHUP, so that the terminal is put back in order.
fn ended_by_signal() -> Result<Arc<AtomicBool>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot wait for signals")?;
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    let (mut interrupt, mut terminate, mut hangup) = runtime.block_on(async {
        anyhow::Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?))
    })?;
    let wait = move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} _ = hangup.recv() => {} }
        });
        flag.store(true, Ordering::Relaxed);
    };
    thread::Builder::new().name("top-signal".to_owned()).spawn(wait).context("cannot start a thread")?;
    Ok(ended)
}
