//! The families made of finished requests. Series are added up here as requests end and read at a scrape; their
//! number is capped, and what goes over the cap is counted under `_other`.

use std::sync::{Mutex, PoisonError};

use ::prometheus::proto::MetricFamily;
use rustc_hash::FxHashMap;

use super::{
    family::Family,
    metrics::{self, Metric},
    routes::Routes,
};
use crate::correlate::Request;

/// The label value of what went over a cap.
pub const OTHER: &str = "_other";
/// Kinds of error that one series tells apart.
const ERRORS_PER_SERIES: usize = 24;
/// Longest label value, in characters.
const LABEL_CHARS: usize = 128;

/// A histogram that is being filled; the last count is what lies over the last edge.
#[derive(Debug, Clone)]
struct Buckets {
    counts: Box<[u64]>,
    sum: f64,
}

impl Buckets {
    fn new(metric: &Metric) -> Self {
        Self { counts: vec![0; metric.buckets.len() + 1].into(), sum: 0.0 }
    }

    fn observe(&mut self, metric: &Metric, value: f64) {
        let at = metric.buckets.partition_point(|edge| *edge < value);
        self.counts[at] += 1;
        self.sum += value;
    }

    fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    fn write(&self, family: &mut Family, metric: &Metric, labels: &[&str]) {
        if self.counts.iter().any(|count| *count != 0) {
            family.add_histogram(labels, metric.buckets, &self.counts, self.sum);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LlmKey {
    service: String,
    operation: String,
    provider: String,
    request_model: String,
    response_model: String,
    port: String,
    client: bool,
}

#[derive(Debug)]
struct LlmSeries {
    duration: FxHashMap<String, Buckets>,
    ttft: Buckets,
    tpot: Buckets,
    gaps: Buckets,
    input: Buckets,
    output: Buckets,
    estimated: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct HttpKey {
    service: String,
    method: String,
    route: String,
    status: String,
    port: String,
}

#[derive(Debug, Default)]
struct State {
    llm: FxHashMap<LlmKey, LlmSeries>,
    http: FxHashMap<HttpKey, Buckets>,
    bytes: FxHashMap<String, [u64; 2]>,
    overflow_llm: u64,
    overflow_http: u64,
}

/// Written by the pipeline once per request, read by scrapes.
#[derive(Debug)]
pub struct RequestMetrics {
    series_cap: usize,
    state: Mutex<State>,
    routes: Mutex<Routes>,
}

fn label(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LABEL_CHARS).collect()
}

fn method_label(method: &str) -> &str {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => method,
        _ => OTHER,
    }
}

impl LlmKey {
    fn of(request: &Request) -> Self {
        Self {
            service: request.service.clone(),
            operation: request.operation.unwrap_or_default().to_owned(),
            provider: request.engine.clone(),
            request_model: label(request.request_model.as_deref().unwrap_or_default()),
            response_model: label(request.response_model.as_deref().unwrap_or_default()),
            port: request.port.to_string(),
            client: request.role == "client",
        }
    }

    fn other(client: bool) -> Self {
        let other = || OTHER.to_owned();
        Self {
            service: other(),
            operation: other(),
            provider: other(),
            request_model: other(),
            response_model: other(),
            port: other(),
            client,
        }
    }

    fn labels(&self) -> [&str; 6] {
        [&self.service, &self.operation, &self.provider, &self.request_model, &self.response_model, &self.port]
    }
}

impl LlmSeries {
    fn new() -> Self {
        Self {
            duration: FxHashMap::default(),
            ttft: Buckets::new(&metrics::REQUEST_TTFT),
            tpot: Buckets::new(&metrics::REQUEST_TPOT),
            gaps: Buckets::new(&metrics::INTER_CHUNK),
            input: Buckets::new(&metrics::TOKEN_USAGE),
            output: Buckets::new(&metrics::TOKEN_USAGE),
            estimated: 0,
        }
    }

    fn observe(&mut self, request: &Request) {
        let error = label(request.error_type.as_deref().unwrap_or_default());
        let known = self.duration.contains_key(&error) || self.duration.len() < ERRORS_PER_SERIES;
        let error = if known { error } else { OTHER.to_owned() };
        let duration = self.duration.entry(error).or_insert_with(|| Buckets::new(&metrics::REQUEST_DURATION));
        duration.observe(&metrics::REQUEST_DURATION, request.duration_s);
        if let Some(ttft) = request.ttft_s {
            self.ttft.observe(&metrics::REQUEST_TTFT, ttft);
        }
        if let Some(tpot) = request.tpot_s {
            self.tpot.observe(&metrics::REQUEST_TPOT, tpot);
        }
        for (count, gaps) in self.gaps.counts.iter_mut().zip(request.chunk_gaps.buckets) {
            *count += u64::from(gaps);
        }
        self.gaps.sum += request.chunk_gaps.sum_ns as f64 / 1e9;
        if let Some(tokens) = request.input_tokens {
            self.input.observe(&metrics::TOKEN_USAGE, tokens as f64);
        }
        if let Some(tokens) = request.output_tokens {
            self.output.observe(&metrics::TOKEN_USAGE, tokens as f64);
        }
        self.estimated += u64::from(request.tokens_estimated);
    }
}

impl RequestMetrics {
    /// `series_cap`: label sets per family; what is over it is counted under `_other`.
    pub fn new(series_cap: usize, routes: Routes) -> Self {
        Self { series_cap, state: Mutex::default(), routes: Mutex::new(routes) }
    }

    /// Replaces the route templates, after a reload.
    pub fn set_routes(&self, routes: Routes) {
        *self.routes.lock().unwrap_or_else(PoisonError::into_inner) = routes;
    }

    /// Adds a finished request.
    pub fn observe(&self, request: &Request) {
        let route = self.routes.lock().unwrap_or_else(PoisonError::into_inner).route(&request.path);
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        if request.operation.is_some() {
            let mut key = LlmKey::of(request);
            if state.llm.len() >= self.series_cap && !state.llm.contains_key(&key) {
                key = LlmKey::other(key.client);
                state.overflow_llm += 1;
            }
            state.llm.entry(key).or_insert_with(LlmSeries::new).observe(request);
        }
        if request.role == "client" {
            return;
        }
        let bytes = state.bytes.entry(request.service.clone()).or_default();
        bytes[0] += request.request_bytes;
        bytes[1] += request.response_bytes;
        let mut key = HttpKey {
            service: request.service.clone(),
            method: method_label(&request.method).to_owned(),
            route,
            status: request.status.to_string(),
            port: request.port.to_string(),
        };
        if state.http.len() >= self.series_cap && !state.http.contains_key(&key) {
            let other = || OTHER.to_owned();
            key = HttpKey { service: other(), method: other(), route: other(), status: other(), port: other() };
            state.overflow_http += 1;
        }
        let duration = state.http.entry(key).or_insert_with(|| Buckets::new(&metrics::HTTP_DURATION));
        duration.observe(&metrics::HTTP_DURATION, request.duration_s);
    }

    /// Drops the series of a service that has ended.
    pub fn forget(&self, service: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.llm.retain(|key, _| key.service != service);
        state.http.retain(|key, _| key.service != service);
        state.bytes.remove(service);
    }

    /// All families of finished requests.
    pub fn families(&self) -> Vec<MetricFamily> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families = llm_families(&state);
        let mut http = Family::new(&metrics::HTTP_DURATION);
        for (key, buckets) in &state.http {
            let labels: [&str; 5] = [&key.service, &key.method, &key.route, &key.status, &key.port];
            buckets.write(&mut http, &metrics::HTTP_DURATION, &labels);
        }
        let mut bytes = Family::new(&metrics::SOCKET_BYTES);
        for (service, [received, transmitted]) in &state.bytes {
            bytes.add(&[service, "receive"], *received as f64);
            bytes.add(&[service, "transmit"], *transmitted as f64);
        }
        let mut overflow = Family::new(&metrics::SERIES_OVERFLOW);
        overflow.add(&["gen_ai"], state.overflow_llm as f64);
        overflow.add(&["http"], state.overflow_http as f64);
        families.extend([http, bytes, overflow].into_iter().filter_map(Family::finish));
        families
    }
}

fn llm_families(state: &State) -> Vec<MetricFamily> {
    let mut duration = Family::new(&metrics::REQUEST_DURATION);
    let mut client = Family::new(&metrics::CLIENT_DURATION);
    let mut ttft = Family::new(&metrics::REQUEST_TTFT);
    let mut tpot = Family::new(&metrics::REQUEST_TPOT);
    let mut gaps = Family::new(&metrics::INTER_CHUNK);
    let mut tokens = Family::new(&metrics::TOKEN_USAGE);
    let mut estimated = Family::new(&metrics::TOKENS_ESTIMATED);
    // A proxy that calls a model on its own port number has both roles under the same labels.
    let mut usage: FxHashMap<[&str; 7], Buckets> = FxHashMap::default();
    for (key, series) in &state.llm {
        let labels = key.labels();
        let [service, operation, provider, request_model, response_model, port] = labels;
        let with = |last| [service, operation, provider, request_model, response_model, port, last];
        for (error, buckets) in &series.duration {
            let family = if key.client { &mut client } else { &mut duration };
            buckets.write(family, &metrics::REQUEST_DURATION, &with(error));
        }
        if !key.client {
            series.ttft.write(&mut ttft, &metrics::REQUEST_TTFT, &labels);
            series.tpot.write(&mut tpot, &metrics::REQUEST_TPOT, &labels);
            series.gaps.write(&mut gaps, &metrics::INTER_CHUNK, &labels);
            estimated.add(&labels, series.estimated as f64);
        }
        for (kind, buckets) in [("input", &series.input), ("output", &series.output)] {
            usage.entry(with(kind)).or_insert_with(|| Buckets::new(&metrics::TOKEN_USAGE)).merge(buckets);
        }
    }
    for (labels, buckets) in &usage {
        buckets.write(&mut tokens, &metrics::TOKEN_USAGE, labels);
    }
    [duration, client, ttft, tpot, gaps, tokens, estimated].into_iter().filter_map(Family::finish).collect()
}
