//! The last scrapes, for rates and for quantiles of what happened lately. Bounded in time and number.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::row::{Quantile, Row};
use super::sample::{Buckets, Service, Snapshot};

/// How far quantiles look back.
const QUANTILES: Duration = Duration::from_secs(30);
/// How far rates look back.
const RATES: Duration = Duration::from_secs(10);
/// More scrapes than a short interval makes in that time.
const MAX_SCRAPES: usize = 1024;

/// Scrapes, oldest first.
#[derive(Debug, Default)]
pub struct History {
    scrapes: VecDeque<(Instant, Snapshot)>,
}

impl History {
    /// Adds a scrape. One whose counters went back is another agent's: what was before it is forgotten.
    pub fn add(&mut self, at: Instant, snapshot: Snapshot) {
        if self.scrapes.back().is_some_and(|(_, last)| went_back(last, &snapshot)) {
            self.scrapes.clear();
        }
        self.scrapes.push_back((at, snapshot));
        // One scrape older than the window stays: the window begins at it.
        while self.scrapes.len() > MAX_SCRAPES
            || self.scrapes.get(1).is_some_and(|(second, _)| at - *second >= QUANTILES)
        {
            self.scrapes.pop_front();
        }
    }

    /// One row per service of the last scrape, by name.
    pub fn rows(&self) -> Vec<Row> {
        let Some((now, last)) = self.scrapes.back() else { return Vec::new() };
        let none = Service::default();
        let (rates_at, rates) = self.before(*now, RATES);
        let (_, quantiles) = self.before(*now, QUANTILES);
        let seconds = now.saturating_duration_since(rates_at).as_secs_f64();
        let row_of = |(name, service): (&String, &Service)| {
            let (rates, quantiles) = (rates.services.get(name), quantiles.services.get(name));
            row(name, service, rates.unwrap_or(&none), quantiles.unwrap_or(&none), seconds)
        };
        last.services.iter().map(row_of).collect()
    }

    /// The youngest scrape that is at least `age` old, else the oldest.
    fn before(&self, now: Instant, age: Duration) -> (Instant, &Snapshot) {
        let old_enough = self.scrapes.iter().rev().find(|(at, _)| now.saturating_duration_since(*at) >= age);
        let (at, snapshot) = old_enough.or(self.scrapes.front()).expect("there is a last scrape");
        (*at, snapshot)
    }
}

fn went_back(before: &Snapshot, now: &Snapshot) -> bool {
    before.services.iter().any(|(name, old)| {
        now.services.get(name).is_some_and(|new| new.requests < old.requests || new.output_tokens < old.output_tokens)
    })
}

fn row(name: &str, now: &Service, rates: &Service, quantiles: &Service, seconds: f64) -> Row {
    let per_second = |delta: f64| (seconds > 0.0).then(|| delta.max(0.0) / seconds);
    let on_cpu = grown(rates.on_cpu, now.on_cpu);
    let run_queue = grown(rates.run_queue, now.run_queue);
    Row {
        service: name.to_owned(),
        requests: now.requests,
        requests_per_s: per_second(now.requests - rates.requests),
        in_flight: now.in_flight,
        ttft_p50: lately(&now.ttft, &quantiles.ttft, 0.5),
        ttft_p95: lately(&now.ttft, &quantiles.ttft, 0.95),
        tpot_p50: lately(&now.tpot, &quantiles.tpot, 0.5),
        input_tokens_per_s: per_second(now.input_tokens - rates.input_tokens),
        output_tokens_per_s: per_second(now.output_tokens - rates.output_tokens),
        errors: now.errors,
        cpu_cores: per_second(on_cpu).filter(|_| now.on_cpu.is_some()),
        run_queue_ratio: run_queue_ratio(on_cpu, run_queue),
        gpu_utilization: now.gpu_utilization,
        gpu_memory_bytes: now.gpu_memory,
    }
}

/// Share of the time that threads wanted a CPU and waited for one; None if none wanted any.
pub fn run_queue_ratio(on_cpu: f64, run_queue: f64) -> Option<f64> {
    let wanted = on_cpu + run_queue;
    (wanted > 0.0).then(|| run_queue / wanted)
}

/// The growth of a counter; one that is new counts in full.
fn grown(before: Option<f64>, now: Option<f64>) -> f64 {
    (now.unwrap_or(0.0) - before.unwrap_or(0.0)).max(0.0)
}

/// The quantile of the window, or since the agent's start if nothing happened in it.
fn lately(now: &Buckets, before: &Buckets, q: f64) -> Option<Quantile> {
    let window = now.since(before).quantile(q).map(|seconds| Quantile { seconds, lately: true });
    window.or_else(|| now.quantile(q).map(|seconds| Quantile { seconds, lately: false }))
}

#[cfg(test)]
mod tests {
    use super::super::text::parse;
    use super::*;

    fn snapshot(requests: u32, fast: u32, cpu: f64) -> Snapshot {
        Snapshot::of(&parse(&format!(
            "gen_ai_server_request_duration_seconds_count{{service=\"a\"}} {requests}\n\
             gen_ai_server_time_to_first_token_seconds_bucket{{service=\"a\",le=\"0.1\"}} {fast}\n\
             gen_ai_server_time_to_first_token_seconds_bucket{{service=\"a\",le=\"0.2\"}} {requests}\n\
             gen_ai_server_time_to_first_token_seconds_bucket{{service=\"a\",le=\"+Inf\"}} {requests}\n\
             inferscope_service_oncpu_seconds_total{{service=\"a\"}} {cpu}\n\
             inferscope_service_runqueue_seconds_total{{service=\"a\"}} {}\n",
            cpu / 3.0
        )))
    }

    #[test]
    fn rates_and_quantiles_of_the_window() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut history = History::default();
        assert!(history.rows().is_empty());
        history.add(at(0), snapshot(100, 100, 1.0));
        let first = &history.rows()[0];
        assert_eq!((first.requests, first.requests_per_s, first.cpu_cores), (100.0, None, None));
        assert_eq!(first.ttft_p50.map(|q| q.lately), Some(false));
        // Ten slow ones in ten seconds: the window shows them, the start does not.
        history.add(at(10), snapshot(110, 100, 21.0));
        let second = &history.rows()[0];
        assert_eq!((second.requests_per_s, second.cpu_cores), (Some(1.0), Some(2.0)));
        assert!(second.ttft_p50.is_some_and(|q| q.lately && (q.seconds - 0.15).abs() < 1e-9));
        assert!(second.run_queue_ratio.is_some_and(|ratio| (ratio - 0.25).abs() < 1e-9));
        // Nothing for a minute: since the start again.
        history.add(at(50), snapshot(110, 100, 21.0));
        history.add(at(80), snapshot(110, 100, 21.0));
        let third = &history.rows()[0];
        assert_eq!((third.requests_per_s, third.ttft_p50.map(|q| q.lately)), (Some(0.0), Some(false)));
        assert!(history.scrapes.len() <= 3);
    }

    #[test]
    fn another_agent_starts_anew() {
        let start = Instant::now();
        let mut history = History::default();
        history.add(start, snapshot(100, 100, 50.0));
        history.add(start + Duration::from_secs(1), snapshot(3, 3, 1.0));
        assert_eq!(history.rows()[0].requests_per_s, None);
    }

    #[test]
    fn memory_is_bounded() {
        let start = Instant::now();
        let mut history = History::default();
        for n in 0..5000 {
            history.add(start + Duration::from_millis(n), snapshot(1, 1, 1.0));
        }
        assert!(history.scrapes.len() <= MAX_SCRAPES);
    }
}
