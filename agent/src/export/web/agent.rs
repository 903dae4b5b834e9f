//! The agent itself as the API tells it: health, cost, probes and losses.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    answers::{Agent, Figure, History, Loss, Probe, known},
    sampler::Pulse,
    source::Source,
};
use crate::probe::ProbeReport;

/// The agent now.
pub fn now(source: &dyn Source, pulse: &Pulse) -> Agent {
    let (live, rates) = (source.live(), pulse.rates());
    let (snapshot, held) = (live.snapshot(), source.history().held());
    let started = source.started();
    let losses: Vec<Loss> = source.losses().into_iter().map(|(place, count)| Loss { place, count }).collect();
    let hooked = |report: &ProbeReport| !report.required || report.hook.is_some();
    Agent {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        version: env!("CARGO_PKG_VERSION"),
        healthy: source.healthy(),
        ready: source.healthy() && source.probes().iter().all(hooked),
        started_unix_s: Figure(started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()),
        uptime_s: Figure(SystemTime::now().duration_since(started).unwrap_or_default().as_secs_f64()),
        services: source.services().len(),
        connections: snapshot.connections,
        in_flight: snapshot.in_flight.values().sum(),
        events: live.events().map(|(_, count)| count).sum(),
        events_per_s: known(rates.events_per_s),
        cpu_cores: known(rates.cpu_cores),
        memory_bytes: source.own().map(|own| own.resident_bytes),
        lost: losses.iter().map(|loss| loss.count).sum(),
        losses,
        probes: source.probes().iter().map(probe).collect(),
        history: History {
            services: held.services,
            recent_requests: held.recent,
            slow_requests: held.slow,
            bytes: held.bytes,
            refused: source.history().refused(),
        },
    }
}

fn probe(report: &ProbeReport) -> Probe {
    Probe {
        probe: report.probe,
        program: report.program,
        required: report.required,
        hook: report.hook.clone(),
        error: report.error.clone(),
        gives: report.gives,
    }
}
