//! Whose telemetry it is: one resource per watched service, and the scope that says who saw it.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource};

use super::attributes::Attributes;

const AGENT: &str = env!("CARGO_PKG_VERSION");
/// The name of the agent's own service, of its scope, and in place of an SDK's.
pub const NAME: &str = "inferscope";

/// The host that all of it comes from.
#[derive(Debug, Clone)]
pub struct Host(String);

impl Host {
    /// This host, by the name that its kernel has for it; empty if it tells none.
    pub fn this() -> Self {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self(name.trim().to_owned())
    }

    #[cfg(test)]
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The resource of a service. Its instance is the service on this host; the process is told with each request.
    pub fn resource(&self, service: &str) -> Resource {
        let mut attributes = Attributes::default();
        attributes.text("service.name", Some(service));
        attributes.text("service.instance.id", Some(&format!("{}/{service}", self.0)));
        attributes.text("host.name", Some(&self.0));
        attributes.text("telemetry.sdk.name", Some(NAME));
        attributes.text("telemetry.sdk.language", Some("rust"));
        attributes.text("telemetry.sdk.version", Some(AGENT));
        Resource { attributes: attributes.0, ..Resource::default() }
    }
}

/// inferscope and its version.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope { name: NAME.to_owned(), version: AGENT.to_owned(), ..InstrumentationScope::default() }
}

/// Puts what belongs to one service together, in the order of the services' names.
pub fn by_service<'a, T>(all: impl IntoIterator<Item = (&'a str, T)>) -> BTreeMap<&'a str, Vec<T>> {
    let mut services: BTreeMap<&str, Vec<T>> = BTreeMap::new();
    for (service, one) in all {
        services.entry(service).or_default().push(one);
    }
    services
}
