//! Serves the page and the API over made-up services under made-up load, for the page's tests and for looking at it:
//! `cargo run --example web_load -- --services 200 --per-minute 2000`. Needs neither root nor kernel programs.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use agent::{
    clock::monotonic_ns,
    events::{Event, Severity, Topic},
    export::{
        http,
        web::{Source, Web},
    },
};
use anyhow::{Context, Result, bail};
use axum::Router;

#[path = "../tests/web/made_up.rs"]
mod made_up;

use made_up::MadeUp;

const TICK: Duration = Duration::from_millis(50);
const BEHIND_S: u64 = 900;

struct Options {
    services: usize,
    per_minute: f64,
    gpus: usize,
    hostile: bool,
    listen: SocketAddr,
}

fn options() -> Result<Options> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut options = Options { services: 200, per_minute: 2000.0, gpus: 4, hostile: false, listen };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value"));
        match word.as_str() {
            "--services" => options.services = value()?.parse()?,
            "--per-minute" => options.per_minute = value()?.parse()?,
            "--gpus" => options.gpus = value()?.parse()?,
            "--listen" => options.listen = value()?.parse()?,
            "--hostile" => options.hostile = true,
            _ => bail!("{word} is none of --services, --per-minute, --gpus, --listen, --hostile"),
        }
    }
    Ok(options)
}

/// Few services have most of the requests, as is usual.
fn any_service(services: usize) -> usize {
    ((fastrand::f64().powi(2)) * services as f64) as usize
}

/// A few changes, a minute ago.
fn changed(agent: &MadeUp) {
    let change = |name| {
        let event = Event::new(Topic::Change, name, Severity::Warn);
        Event { unix_ns: event.unix_ns - 60_000_000_000, ..event }
    };
    let services = agent.services();
    let Some(service) = services.first() else { return };
    let hostile = "<img src=x onerror=\"window.injected=1\">";
    agent.journal.tell(change("driver").with("old", "550").with("new", "560"));
    agent.journal.tell(change("argv").of(&service.name, service.pid).with("added", hostile));
    let restart = change("restart").of(&service.name, service.pid);
    agent.journal.tell(restart.with("port", 8000_u64).with("down_s", 1.5).with("previous_exit", "SIGKILL (OOM)"));
}

/// Fifteen minutes of requests at once, and what they take.
fn fill(agent: &MadeUp, options: &Options) {
    let resident = || agent.own().map_or(0, |own| own.resident_bytes) / 1024;
    let (before, now_ns) = (resident(), monotonic_ns());
    let requests = (options.per_minute * BEHIND_S as f64 / 60.0) as u64;
    let span_ns = BEHIND_S * 1_000_000_000;
    for n in 0..requests {
        let end_ns = now_ns.saturating_sub(span_ns) + n * (span_ns / requests.max(1));
        agent.request(any_service(options.services), end_ns);
    }
    changed(agent);
    let held = agent.history.held();
    println!(
        "history: {requests} requests, {} services, {} recent and {} slow records, {} KiB of steps; \
         resident memory {before} to {} KiB",
        held.services,
        held.recent,
        held.slow,
        held.bytes / 1024,
        resident()
    );
}

/// Requests at the wanted rate until the process ends.
async fn load(agent: Arc<MadeUp>, services: usize, per_minute: f64) {
    let began = Instant::now();
    let (mut sent, mut turn) = (0.0, 0_u64);
    loop {
        let due = began.elapsed().as_secs_f64() * per_minute / 60.0;
        while services > 0 && sent < due {
            agent.request(any_service(services), monotonic_ns());
            sent += 1.0;
        }
        if turn.is_multiple_of(20) {
            agent.publish(|service| fastrand::u64(0..3 + 6 / (service as u64 + 1)));
        }
        turn += 1;
        tokio::time::sleep(TICK).await;
    }
}

fn main() -> Result<()> {
    let options = options()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let agent = Arc::new(MadeUp::new(options.services, options.hostile, options.gpus));
        agent.publish(|_| 0);
        if options.services > 0 {
            fill(&agent, &options);
        }
        let listener = http::bind(options.listen).await?;
        let address = listener.local_addr()?;
        println!("listening on http://{address}/");
        tokio::spawn(load(Arc::clone(&agent), options.services, options.per_minute));
        let web = Web::new(agent, address);
        http::serve_routes(listener, Router::new(), web, http::Door::open(), std::future::pending()).await
    })
}
