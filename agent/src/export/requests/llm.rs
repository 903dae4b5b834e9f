//! Series of LLM requests, of both roles: durations by error, times, gaps and tokens.

use ::prometheus::proto::MetricFamily;
use rustc_hash::FxHashMap;

use super::{OTHER, buckets::Buckets, label};
use crate::{
    correlate::Request,
    export::{family::Family, metrics},
};

/// Kinds of error that one series tells apart.
const ERRORS_PER_SERIES: usize = 24;

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
    estimated: Estimates,
}

/// Requests whose response says no tokens, and the chunks that stand for theirs.
#[derive(Debug, Default)]
struct Estimates {
    requests: u64,
    tokens: u64,
}

/// LLM requests by their labels.
#[derive(Debug, Default)]
pub struct LlmRequests {
    series: FxHashMap<LlmKey, LlmSeries>,
    /// Requests over the cap of label sets.
    pub overflow: u64,
    /// Requests whose error is one too many to be told apart.
    pub overflow_errors: u64,
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
            estimated: Estimates::default(),
        }
    }

    /// False if the request's error is one too many to be told apart.
    fn observe(&mut self, request: &Request) -> bool {
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
        match request.output_tokens {
            Some(tokens) if request.tokens_estimated => {
                self.estimated.requests += 1;
                self.estimated.tokens += tokens;
            }
            Some(tokens) => self.output.observe(&metrics::TOKEN_USAGE, tokens as f64),
            None => {}
        }
        known
    }
}

impl LlmRequests {
    /// Adds a finished request; `cap`: label sets.
    pub fn observe(&mut self, request: &Request, cap: usize) {
        let mut key = LlmKey::of(request);
        if self.series.len() >= cap && !self.series.contains_key(&key) {
            key = LlmKey::other(key.client);
            self.overflow += 1;
        }
        let told_apart = self.series.entry(key).or_insert_with(LlmSeries::new).observe(request);
        self.overflow_errors += u64::from(!told_apart);
    }

    /// Drops the series of a service.
    pub fn forget(&mut self, service: &str) {
        self.series.retain(|key, _| key.service != service);
    }

    /// Their families.
    pub fn families(&self) -> Vec<MetricFamily> {
        let mut duration = Family::new(&metrics::REQUEST_DURATION);
        let mut client = Family::new(&metrics::CLIENT_DURATION);
        let mut ttft = Family::new(&metrics::REQUEST_TTFT);
        let mut tpot = Family::new(&metrics::REQUEST_TPOT);
        let mut gaps = Family::new(&metrics::INTER_CHUNK);
        let mut tokens = Family::new(&metrics::TOKEN_USAGE);
        let mut estimated = [&metrics::REQUESTS_ESTIMATED, &metrics::TOKENS_ESTIMATED].map(Family::new);
        // A proxy that calls a model on its own port number has both roles under the same labels.
        let mut usage: FxHashMap<[&str; 7], Buckets> = FxHashMap::default();
        let mut estimates: FxHashMap<[&str; 6], Estimates> = FxHashMap::default();
        for (key, series) in &self.series {
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
            }
            for (kind, buckets) in [("input", &series.input), ("output", &series.output)] {
                usage.entry(with(kind)).or_insert_with(|| Buckets::new(&metrics::TOKEN_USAGE)).merge(buckets);
            }
            let estimate = estimates.entry(labels).or_default();
            estimate.requests += series.estimated.requests;
            estimate.tokens += series.estimated.tokens;
        }
        for (labels, buckets) in &usage {
            buckets.write(&mut tokens, &metrics::TOKEN_USAGE, labels);
        }
        for (labels, estimate) in &estimates {
            estimated[0].add(labels, estimate.requests as f64);
            estimated[1].add(labels, estimate.tokens as f64);
        }
        let all = [duration, client, ttft, tpot, gaps, tokens].into_iter().chain(estimated);
        all.filter_map(Family::finish).collect()
    }
}
