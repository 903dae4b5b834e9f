//! The LLM requests in flight of each service, and how they get on.

use ::prometheus::proto::MetricFamily;

use super::{family::Family, metrics};
use crate::{services::ServiceTable, shared::Snapshot};

/// One series per watched service and family; zeros where nothing is in flight.
pub fn families(services: &ServiceTable, snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut requests = Family::new(&metrics::REQUESTS_IN_FLIGHT);
    let mut oldest = Family::new(&metrics::REQUEST_OLDEST);
    let mut idle = Family::new(&metrics::REQUEST_IDLE);
    for service in services.iter() {
        let flight = snapshot.flights.get(&service.name).copied().unwrap_or_default();
        requests.add(&[&service.name], flight.requests as f64);
        oldest.add(&[&service.name], flight.oldest_ns as f64 / 1e9);
        idle.add(&[&service.name], flight.idle_ns as f64 / 1e9);
    }
    [requests, oldest, idle].into_iter().filter_map(Family::finish).collect()
}
