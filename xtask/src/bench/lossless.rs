//! A rate that must pass without loss, and exact books beyond the rate that can: every read and every write of the
//! server is one payload record, so its own counts equal what was seen and what was counted as lost.

use std::time::{Duration, Instant};

use anyhow::Result;
use support::agent::Agent;
use support::metrics::Metrics;
use support::server::{Server, ServerStats};

use super::table::Row;
use super::{Context, load};
use crate::process;

const CONNECTIONS: usize = 64;
const RATE: f64 = 20_000.0;
/// The smallest ring that the configuration takes.
const SMALL_RING: &str = "[discover]\nenabled = false\n[nvml]\nenabled = false\n[capture]\nring_bytes = 262144\n";
const QUIET: Duration = Duration::from_millis(700);

pub fn run(context: &Context) -> Result<Vec<Row>> {
    Ok(vec![at_rate(context)?, beyond(context)?])
}

fn at_rate(context: &Context) -> Result<Row> {
    let seconds = if context.quick { 5.0 } else { 30.0 };
    let server = Server::start(&[])?;
    let delay = delay_us(&server)?;
    let before = server.stats()?;
    let agent = Agent::watch(&[server.pid()])?;
    let tokens = (RATE * 1.08 * seconds / CONNECTIONS as f64) as u64;
    let drained = load::drain(&url(&server), CONNECTIONS, tokens, &[format!("x-test-delay-us: {delay}")])?;
    let books = Books::settled(&agent)?;
    let sent = records(before, server.stats()?);
    let records = agent.wait_records(CONNECTIONS, |record| record.operation.is_some())?;
    let chunks: u64 = records.iter().map(|record| record.chunks).sum();
    let all_lost = agent.lost()?;
    let measured = format!(
        "{:.0} chunks/s for {:.0} s, {all_lost} lost; {} payload records of {sent}, {chunks} chunks recorded of {}",
        drained.rate(),
        drained.seconds,
        books.seen,
        drained.chunks
    );
    let exact = books.seen == sent && chunks as f64 == drained.chunks;
    let holds = all_lost == 0.0 && exact && drained.rate() >= RATE;
    Ok(Row::held("20,000 chunks/s", measured, "0 lost", holds))
}

/// The pause between writes that gives a little more than the rate; how long a pause really takes differs by host.
fn delay_us(server: &Server) -> Result<u64> {
    let mut delay = CONNECTIONS as f64 / RATE * 1e6;
    for _ in 0..3 {
        let header = [format!("x-test-delay-us: {}", delay as u64)];
        let rate = load::drain(&url(server), CONNECTIONS, 400, &header)?.rate();
        let (period, wanted) = (CONNECTIONS as f64 / rate * 1e6, CONNECTIONS as f64 / (RATE * 1.06) * 1e6);
        delay = (delay + wanted - period).max(100.0);
    }
    Ok(delay as u64)
}

fn beyond(context: &Context) -> Result<Row> {
    let tokens = if context.quick { 3_000 } else { 10_000 };
    let server = Server::start(&[])?;
    let before = server.stats()?;
    let agent = Agent::configured(&[server.pid()], SMALL_RING)?;
    let drained = load::drain(&url(&server), CONNECTIONS, tokens, &[])?;
    let books = Books::settled(&agent)?;
    let sent = records(before, server.stats()?);
    let measured = format!(
        "{sent} records sent = {} seen + {} lost ({:+}), {:.0} chunks/s through a ring of 256 KiB; lost elsewhere: {}",
        books.seen,
        books.lost,
        books.seen + books.lost - sent,
        drained.rate(),
        books.elsewhere
    );
    let holds = books.seen + books.lost == sent && books.lost > 0.0;
    Ok(Row::held("driven past its limit", measured, "sent = seen + counted as lost, exactly", holds))
}

fn url(server: &Server) -> String {
    format!("http://{}", server.target.host())
}

/// Payload records that the server's calls make: one for each write and each read, none longer than a record holds.
/// The read that asks for the second figures is in them, and the agent's books were closed before it.
fn records(before: ServerStats, after: ServerStats) -> f64 {
    (after.writes - before.writes + after.reads - before.reads - 1) as f64
}

/// What the agent says of payload records.
struct Books {
    seen: f64,
    lost: f64,
    elsewhere: String,
}

impl Books {
    /// Once nothing moves any more.
    fn settled(agent: &Agent) -> Result<Self> {
        let mut books = Self::of(&agent.scrape()?);
        let (mut since, began) = (Instant::now(), Instant::now());
        while since.elapsed() < QUIET && began.elapsed() < Duration::from_secs(60) {
            process::pause(Duration::from_millis(50))?;
            let now = Self::of(&agent.scrape()?);
            if (now.seen, now.lost) != (books.seen, books.lost) {
                since = Instant::now();
            }
            books = now;
        }
        Ok(books)
    }

    fn of(metrics: &Metrics) -> Self {
        let lost = "inferscope_events_lost_total";
        let places = metrics.label_values(lost, "where").into_iter().filter(|place| place != "ring_payload");
        let counts = places.map(|place| (metrics.count(lost, &[("where", &place)]), place));
        let counts: Vec<String> =
            counts.filter(|(count, _)| *count > 0.0).map(|(count, place)| format!("{place} {count}")).collect();
        Self {
            seen: metrics.count("inferscope_events_total", &[("kind", "payload")]),
            lost: metrics.count(lost, &[("where", "ring_payload")]),
            elsewhere: if counts.is_empty() { "nothing".into() } else { counts.join(", ") },
        }
    }
}
