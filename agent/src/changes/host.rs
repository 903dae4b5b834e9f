//! What all servers of the host share: the GPU driver and the GPUs that there are.

use std::{collections::BTreeSet, sync::Arc};

use super::ledger::change;
use crate::{
    events::{Event, Severity},
    poll::nvml::{GpuSnapshot, NvmlHandle},
};

/// Driver and GPUs as they were last.
#[derive(Debug, Default)]
pub struct Host {
    nvml: Option<Arc<NvmlHandle>>,
    driver: Option<String>,
    gpus: BTreeSet<String>,
}

impl Host {
    /// With this source, if there is one.
    pub fn new(nvml: Option<Arc<NvmlHandle>>) -> Self {
        Self { nvml, ..Self::default() }
    }

    /// What is not as it was.
    pub fn look(&mut self) -> Vec<Event> {
        let Some(snapshot) = self.nvml.as_ref().map(|nvml| nvml.snapshot()) else { return Vec::new() };
        self.compare(&snapshot)
    }

    /// A source that says nothing of it says nothing of a change.
    fn compare(&mut self, now: &GpuSnapshot) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(driver) = &now.driver_version {
            let old = self.driver.replace(driver.clone()).filter(|old| old != driver);
            events.extend(old.map(|old| change("driver", Severity::Warn).with("old", &old).with("new", driver)));
        }
        let gpus: BTreeSet<String> = now.devices.iter().map(|device| device.uuid.clone()).collect();
        if !gpus.is_empty() {
            let old = std::mem::replace(&mut self.gpus, gpus);
            let list = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
                let only: Vec<&str> = one.difference(other).map(String::as_str).collect();
                Some(only.join(" ")).filter(|list| !list.is_empty())
            };
            let (added, removed) = (list(&self.gpus, &old), list(&old, &self.gpus));
            if !old.is_empty() && (added.is_some() || removed.is_some()) {
                let event = change("gpus", Severity::Warn).with_some("added", added.as_ref());
                events.push(event.with_some("removed", removed.as_ref()));
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::nvml::DeviceReading;

    #[test]
    fn another_driver_and_other_gpus() {
        let snapshot = |driver: Option<&str>, gpus: &[&str]| {
            let device = |uuid: &&str| DeviceReading { uuid: (*uuid).to_owned(), ..DeviceReading::default() };
            let devices = gpus.iter().map(device).collect::<Vec<_>>().into();
            GpuSnapshot { driver_version: driver.map(str::to_owned), devices, ..GpuSnapshot::empty() }
        };
        let mut host = Host::default();
        let mut look = |driver, gpus: &[&str]| -> Vec<(&str, String)> {
            let events = host.compare(&snapshot(driver, gpus));
            events.iter().map(|event| (event.name, serde_json::to_string(&event.attributes).unwrap())).collect()
        };
        assert_eq!(look(Some("550.1"), &["GPU-a", "GPU-b"]), []);
        assert_eq!(look(None, &[]), [], "it says nothing now");
        assert_eq!(
            look(Some("560.2"), &["GPU-b", "GPU-c"]),
            [
                ("driver", r#"{"old":"550.1","new":"560.2"}"#.to_owned()),
                ("gpus", r#"{"added":"GPU-c","removed":"GPU-a"}"#.to_owned()),
            ]
        );
    }
}
