//! Series of the HTTP requests to watched servers, LLM or not: durations by route and status, and bytes.

use ::prometheus::proto::MetricFamily;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{OTHER, buckets::Buckets};
use crate::{
    correlate::Request,
    export::{
        family::Family,
        metrics,
        routes::{Place, Routes},
    },
};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct HttpKey {
    service: String,
    method: String,
    route: String,
    /// Empty when no response line was seen.
    status: String,
    error: String,
    port: String,
}

/// HTTP requests by their labels.
#[derive(Debug, Default)]
pub struct HttpRequests {
    pub routes: Routes,
    series: FxHashMap<HttpKey, Buckets>,
    /// Received and transmitted, by service.
    bytes: FxHashMap<String, [u64; 2]>,
    /// Requests over the cap of label sets.
    pub overflow: u64,
    /// Requests whose path has no route of its own.
    pub overflow_routes: u64,
}

fn method_label(method: &str) -> &str {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => method,
        _ => OTHER,
    }
}

impl HttpKey {
    fn other() -> Self {
        let other = || OTHER.to_owned();
        Self { service: other(), method: other(), route: other(), status: other(), error: other(), port: other() }
    }

    fn labels(&self) -> [&str; 6] {
        [&self.service, &self.method, &self.route, &self.status, &self.port, &self.error]
    }
}

impl HttpRequests {
    /// None yet.
    pub fn new(routes: Routes) -> Self {
        Self { routes, ..Self::default() }
    }

    /// Adds a finished request; `cap`: label sets.
    pub fn observe(&mut self, request: &Request, cap: usize) {
        let bytes = self.bytes.entry(request.service.clone()).or_default();
        bytes[0] += request.request_bytes;
        bytes[1] += request.response_bytes;
        let mut key = HttpKey {
            service: request.service.clone(),
            method: method_label(&request.method).to_owned(),
            route: self.route(request),
            status: if request.status == 0 { String::new() } else { request.status.to_string() },
            error: request.http_error.clone().unwrap_or_default(),
            port: request.port.to_string(),
        };
        if self.series.len() >= cap && !self.series.contains_key(&key) {
            key = HttpKey::other();
            self.overflow += 1;
        }
        let duration = self.series.entry(key).or_insert_with(|| Buckets::new(&metrics::HTTP_DURATION));
        duration.observe(&metrics::HTTP_DURATION, request.duration_s);
    }

    fn route(&mut self, request: &Request) -> String {
        match self.routes.place(&request.path, request.status, request.start_ns) {
            Place::Route(route) => route,
            Place::Instead { route, gone } => {
                self.series.retain(|key, _| key.route != gone);
                route
            }
            Place::Nowhere => {
                self.overflow_routes += 1;
                OTHER.to_owned()
            }
        }
    }

    /// Drops the series of a service, and the routes that only it had.
    pub fn forget(&mut self, service: &str) {
        self.series.retain(|key, _| key.service != service);
        self.bytes.remove(service);
        let in_use: FxHashSet<&str> = self.series.keys().map(|key| key.route.as_str()).collect();
        self.routes.keep(&in_use);
    }

    /// Their families.
    pub fn families(&self) -> Vec<MetricFamily> {
        let mut http = Family::new(&metrics::HTTP_DURATION);
        for (key, buckets) in &self.series {
            buckets.write(&mut http, &metrics::HTTP_DURATION, &key.labels());
        }
        let mut bytes = Family::new(&metrics::SOCKET_BYTES);
        for (service, [received, transmitted]) in &self.bytes {
            bytes.add(&[service, "receive"], *received as f64);
            bytes.add(&[service, "transmit"], *transmitted as f64);
        }
        [http, bytes].into_iter().filter_map(Family::finish).collect()
    }
}
