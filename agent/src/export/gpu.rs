//! GPU families at a scrape.
use ::prometheus::proto::MetricFamily;
pub fn families(_: &crate::poll::nvml::GpuSnapshot, _: &crate::services::ServiceTable) -> Vec<MetricFamily> {
    Vec::new()
}
