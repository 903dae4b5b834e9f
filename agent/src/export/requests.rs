//! The families made of finished requests. Series are added up here as requests end and read at a scrape; their
//! number is capped, and what goes over the cap is counted under `_other`.

pub(crate) mod buckets;
mod http;
mod llm;
#[cfg(test)]
mod tests;
mod verdicts;

use std::sync::{Mutex, PoisonError};

use ::prometheus::proto::MetricFamily;

use super::routes::Routes;
use crate::{clock::monotonic_ns, correlate::Request, custom::CustomMetrics};
use http::HttpRequests;
use llm::LlmRequests;
use verdicts::Verdicts;

/// The label value of what went over a cap.
pub const OTHER: &str = "_other";
/// Longest label value, in characters.
const LABEL_CHARS: usize = 128;

#[derive(Debug)]
struct State {
    custom: CustomMetrics,
    llm: LlmRequests,
    http: HttpRequests,
    verdicts: Verdicts,
}

/// Written by the pipeline once per request, read by scrapes.
#[derive(Debug)]
pub struct RequestMetrics {
    series_cap: usize,
    state: Mutex<State>,
}

/// As the value of a label: no control characters, and not too long.
pub(crate) fn label(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LABEL_CHARS).collect()
}

impl RequestMetrics {
    /// `series_cap`: label sets per family; what is over it is counted under `_other`.
    pub fn new(series_cap: usize, routes: Routes) -> Self {
        Self::with(series_cap, routes, CustomMetrics::default())
    }

    /// The same with metrics of the operator's own.
    pub fn with(series_cap: usize, routes: Routes, custom: CustomMetrics) -> Self {
        let state = State {
            custom,
            llm: LlmRequests::default(),
            http: HttpRequests::new(routes),
            verdicts: Verdicts::default(),
        };
        Self { series_cap, state: Mutex::new(state) }
    }

    /// Replaces the route templates, after a reload.
    pub fn set_routes(&self, routes: Routes) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).http.routes.set_templates_of(routes);
    }

    /// Adds a finished request.
    pub fn observe(&self, request: &Request) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.custom.observe(request);
        if request.operation.is_some() {
            state.llm.observe(request, self.series_cap);
            state.verdicts.observe(request, self.series_cap);
        }
        if request.role != "client" {
            state.http.observe(request, self.series_cap);
        }
    }

    /// Drops the series of a service that has ended.
    pub fn forget(&self, service: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.custom.forget(service);
        state.llm.forget(service);
        state.http.forget(service);
        state.verdicts.forget(service);
    }

    /// All families of finished requests, as of now.
    pub fn families(&self) -> Vec<MetricFamily> {
        self.families_at(monotonic_ns())
    }

    /// The same as of an instant: some are of the last minute.
    pub fn families_at(&self, now_ns: u64) -> Vec<MetricFamily> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families = state.llm.families();
        families.extend(state.http.families());
        families.extend(state.verdicts.families(now_ns));
        families.extend(state.custom.families());
        families
    }

    /// Values of custom metrics that are no figure.
    pub fn unusable(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).custom.unusable
    }

    /// Requests counted under `_other`, by what was one too many.
    pub fn overflow(&self) -> [(&'static str, u64); 6] {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        [
            ("gen_ai", state.llm.overflow),
            ("error_type", state.llm.overflow_errors),
            ("http", state.http.overflow),
            ("http_route", state.http.overflow_routes),
            ("verdict", state.verdicts.overflow),
            ("custom", state.custom.overflow),
        ]
    }
}
