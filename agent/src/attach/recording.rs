//! The timeline of an `attach`: counters read while it records, marks where events were lost, and words at the end.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};

use super::unseen;
use crate::{
    clock::monotonic_ns,
    export::{
        perfetto::{Format, Recorded, Sample, Timeline},
        prometheus::Sources,
    },
    poll::{
        cgroup::{CgroupPaths, Cgroups, CpuReading},
        nvml::DeviceReading,
    },
    services::ServiceTable,
    tasks::Tasks,
};

/// A timeline that is being recorded to a file.
pub struct Recording {
    timeline: Arc<Timeline>,
    path: PathBuf,
    /// CLOCK_MONOTONIC of the GPU reading that was recorded last.
    gpu_at_ns: u64,
    /// Events lost so far.
    lost: u64,
    throttling: Throttling,
}

/// The CPU controllers of the services' groups, as they were read last.
struct Throttling {
    cgroups: Cgroups,
    paths: HashMap<u32, Option<CgroupPaths>>,
    last: HashMap<String, CpuReading>,
}

/// Groups that are remembered.
const GROUPS: usize = 4096;

impl Throttling {
    /// Draws how much of the time since the last reading each limited group was throttled, and a mark where it began.
    fn sample(&mut self, timeline: &Timeline, services: &ServiceTable, now_ns: u64) {
        if self.paths.len() > GROUPS || self.last.len() > GROUPS {
            self.paths.clear();
            self.last.clear();
        }
        for service in services.iter() {
            let Self { cgroups, paths, last } = self;
            let group = paths.entry(service.pid).or_insert_with(|| cgroups.of(service.pid).ok().flatten());
            let Some((group, cpu)) = group.as_ref().and_then(|group| Some((group, cgroups.read(group).cpu?))) else {
                continue;
            };
            let before = last.insert(service.name.clone(), cpu);
            if cpu.cpus().is_none() && cpu.throttled_periods == 0 {
                continue;
            }
            let Some(before) = before else { continue };
            let value = (cpu.throttled_seconds - before.throttled_seconds).max(0.0);
            let name = &format!("CPU throttled, {}", service.name);
            timeline.sample(&Sample { pid: Some(service.pid), name, unit: "s", at_ns: now_ns, value });
            let periods = cpu.throttled_periods.saturating_sub(before.throttled_periods);
            if periods > 0 {
                let text = format!("{periods} periods of {} throttled, {:.0} ms", group.name, value * 1e3);
                timeline.mark("cgroup throttling", &text, now_ns);
            }
        }
    }
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
    /// Makes the file. Errors: it cannot be made, or there is no room for it.
    pub fn start(path: &Path, format: Format, syscalls: Duration, tasks: &Tasks) -> Result<Self> {
        let timeline = Timeline::create(path, format, syscalls, tasks.guard("timeline"))
            .with_context(|| format!("cannot make {}: choose a file that can be written", path.display()))?;
        let cgroups = Cgroups::new(None);
        Ok(Self {
            timeline: Arc::new(timeline),
            path: path.to_owned(),
            gpu_at_ns: 0,
            lost: 0,
            throttling: Throttling { cgroups, paths: HashMap::new(), last: HashMap::new() },
        })
    }

    /// What is recorded so far.
    pub fn recorded(&self) -> Recorded {
        self.timeline.recorded()
    }

    /// Events lost so far.
    pub fn lost(&self) -> u64 {
        self.lost
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
        self.lost = unseen::losses(sources).iter().map(|(_, count)| count).sum();
        self.timeline.lost(self.lost, now);
        let services = sources.services.table();
        self.throttling.sample(&self.timeline, &services, now);
        for service in services.iter() {
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
            .finish()
            .with_context(|| format!("{} is not whole: it holds what was written before", self.path.display()))?;
        Ok(words(&self.path, &recorded))
    }
}

fn words(path: &Path, recorded: &Recorded) -> String {
    let Recorded { bytes, threads, runs, calls, requests, left_out } = recorded;
    let left_out = match left_out {
        0 => String::new(),
        more => format!(", {more} left out because the disk was too slow"),
    };
    format!(
        "timeline: {} ({:.1} MB: {runs} runs of {threads} threads, {calls} long system calls, {requests} \
         requests{left_out}); open it in https://ui.perfetto.dev\n",
        path.display(),
        *bytes as f64 / 1e6,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_what_is_missing() {
        let recorded = Recorded { bytes: 2_500_000, threads: 3, runs: 40, calls: 5, requests: 2, left_out: 0 };
        let text = words(Path::new("/tmp/t"), &recorded);
        assert!(text.contains("/tmp/t (2.5 MB: 40 runs of 3 threads, 5 long system calls, 2 requests);"), "{text}");
        assert!(words(Path::new("t"), &Recorded { left_out: 7, ..recorded }).contains(", 7 left out because"));
    }
}
