//! Series of why requests took as long as they did: seconds by phase and cause, and verdicts, by service.

use ::prometheus::proto::MetricFamily;
use rustc_hash::FxHashMap;

use super::{OTHER, label};
use crate::{
    correlate::{CAUSE_NAMES, Causes, Request, VERDICT_NAMES, VERDICTS, Window},
    export::{family::Family, metrics},
};

/// A response that is not streamed does not show where prefill ends: it is `whole`.
const PHASES: [&str; 3] = ["prefill", "decode", "whole"];

#[derive(Debug, Default)]
struct Series {
    phases: [Causes; PHASES.len()],
    verdicts: [u64; VERDICTS],
    window: Window,
}

/// Findings by service.
#[derive(Debug, Default)]
pub struct Verdicts {
    series: FxHashMap<String, Series>,
    /// Requests of services that are not told apart.
    pub overflow: u64,
}

impl Verdicts {
    /// Adds a finished request; `cap`: services.
    pub fn observe(&mut self, request: &Request, cap: usize) {
        let Some(verdict) = request.finding.verdict else { return };
        let mut service = label(&request.service);
        if self.series.len() >= cap && !self.series.contains_key(&service) {
            service = OTHER.to_owned();
            self.overflow += 1;
        }
        let series = self.series.entry(service).or_default();
        series.verdicts[verdict as usize] += 1;
        series.window.add(request.start_ns + (request.duration_s * 1e9) as u64, verdict, request.duration_s);
        let found = &request.finding.causes;
        let phases = match (found.prefill, found.decode) {
            (None, None) => [None, None, found.total],
            (prefill, decode) => [prefill, decode, None],
        };
        for (sum, causes) in series.phases.iter_mut().zip(phases) {
            *sum = sum.plus(&causes.unwrap_or_default());
        }
    }

    /// Drops the series of a service.
    pub fn forget(&mut self, service: &str) {
        self.series.remove(service);
    }

    /// All families, as of `now_ns`.
    pub fn families(&self, now_ns: u64) -> Vec<MetricFamily> {
        let mut seconds = Family::new(&metrics::PHASE_SECONDS);
        let mut counts = Family::new(&metrics::VERDICT);
        let mut shares = Family::new(&metrics::SERVICE_VERDICT);
        for (service, series) in &self.series {
            for (phase, causes) in PHASES.iter().zip(&series.phases) {
                if causes.sum() > 0.0 {
                    for (cause, value) in CAUSE_NAMES.iter().zip(causes.0) {
                        seconds.add(&[service, phase, cause], value);
                    }
                }
            }
            for (verdict, count) in VERDICT_NAMES.iter().zip(series.verdicts) {
                counts.add(&[service, verdict], count as f64);
            }
            let now = series.window.shares(now_ns);
            for (verdict, share) in VERDICT_NAMES.iter().zip(now.into_iter().flatten()) {
                shares.add(&[service, verdict], share);
            }
        }
        [seconds, counts, shares].into_iter().filter_map(Family::finish).collect()
    }
}
