//! The timeline of an `attach`: counters read while it records, marks where events were lost, and words at the end.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};

use crate::{
    clock::monotonic_ns,
    export::{
        perfetto::{Recorded, Sample, Timeline},
        prometheus::Sources,
    },
    poll::nvml::DeviceReading,
    tasks::Tasks,
};

/// A timeline that is being recorded to a file.
pub struct Recording {
    timeline: Arc<Timeline>,
    path: PathBuf,
    /// Events lost before the recording began.
    lost_before: u64,
    /// CLOCK_MONOTONIC of the GPU reading that was recorded last.
    gpu_at_ns: u64,
}

fn lost(sources: &Sources) -> u64 {
    // What is left out on purpose is no loss.
    sources.losses().iter().filter(|(place, _)| *place != "capture_cap").map(|(_, count)| count).sum()
}

fn gpu_values(device: &DeviceReading) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
    [
        ("utilization", "1", device.utilization_gpu),
        ("memory used", "By", device.memory.map(|memory| memory.used_bytes as f64)),
        ("power", "W", device.power_watts),
        ("SM clock", "Hz", device.sm_clock_hertz),
        ("memory clock", "Hz", device.memory_clock_hertz),
        ("temperature", "Cel", device.temperature_celsius),
        ("throttle reasons (bits)", "1", device.throttle_reasons.map(|reasons| reasons as f64)),
    ]
    .into_iter()
    .filter_map(|(name, unit, value)| Some((name, unit, value?)))
}

impl Recording {
    /// Makes the file. Errors: it cannot be made.
    pub fn start(path: &Path, tasks: &Tasks) -> Result<Self> {
        let timeline = Timeline::create(path, tasks.guard("timeline"))
            .with_context(|| format!("cannot make {}: choose a file that can be written", path.display()))?;
        Ok(Self { timeline: Arc::new(timeline), path: path.to_owned(), lost_before: 0, gpu_at_ns: 0 })
    }

    /// Where events and requests go.
    pub fn timeline(&self) -> Arc<Timeline> {
        Arc::clone(&self.timeline)
    }

    /// Whether there is no use in going on.
    pub fn has_failed(&self) -> bool {
        self.timeline.has_failed()
    }

    /// Reads counters, and whether events were lost.
    pub fn sample(&mut self, sources: &Sources) {
        let now = monotonic_ns();
        self.timeline.lost(lost(sources) - self.lost_before, now);
        for service in sources.services.table().iter() {
            for process in &service.processes {
                if let Some(reading) = sources.procfs.snapshot().processes.get(&process.pid) {
                    let value = reading.resident_bytes as f64;
                    let pid = Some(process.pid);
                    self.timeline.sample(&Sample { pid, name: "resident memory", unit: "By", at_ns: now, value });
                }
            }
        }
        let Some(gpus) = sources.nvml.as_ref().map(|nvml| nvml.snapshot()) else { return };
        if gpus.at_ns <= self.gpu_at_ns {
            return;
        }
        self.gpu_at_ns = gpus.at_ns;
        for device in gpus.devices.iter() {
            for (what, unit, value) in gpu_values(device) {
                let name = &format!("GPU {} {what}", device.index);
                self.timeline.sample(&Sample { pid: None, name, unit, at_ns: device.at_ns, value });
            }
        }
    }

    /// Writes what is left; what to say of it. Errors: the disk's.
    pub fn end(mut self, sources: &Sources) -> Result<String> {
        self.sample(sources);
        let recorded = self
            .timeline
            .finish(monotonic_ns())
            .with_context(|| format!("{} is not whole: it holds what was written before", self.path.display()))?;
        Ok(words(&self.path, &recorded))
    }
}

fn words(path: &Path, recorded: &Recorded) -> String {
    let Recorded { bytes, threads, slices, requests, left_out } = recorded;
    let left_out = match left_out {
        0 => String::new(),
        more => format!(", {more} left out because the disk was too slow"),
    };
    format!(
        "timeline: {} ({:.1} MB: {slices} states of {threads} threads, {requests} requests{left_out}); open it in \
         https://ui.perfetto.dev\n",
        path.display(),
        *bytes as f64 / 1e6,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_what_is_missing() {
        let recorded = Recorded { bytes: 2_500_000, threads: 3, slices: 40, requests: 2, left_out: 0 };
        let text = words(Path::new("/tmp/t"), &recorded);
        assert!(text.contains("/tmp/t (2.5 MB: 40 states of 3 threads, 2 requests);"), "{text}");
        assert!(words(Path::new("t"), &Recorded { left_out: 7, ..recorded }).contains(", 7 left out because"));
    }
}
