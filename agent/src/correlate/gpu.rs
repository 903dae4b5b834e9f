//! What the GPUs of a service did during a request, from the last readings. Whoever polls hands them in.

use std::{collections::VecDeque, sync::Arc};

use crate::poll::nvml::GpuSnapshot;

/// Readings that are kept: of two minutes at the default interval.
const KEPT: usize = 128;
/// A reading that is so much older than a request says nothing of it.
const STALE_NS: u64 = 5_000_000_000;
/// Clocks held down by power, temperature or the board: nvmlClocksEventReason SwPowerCap, HwSlowdown, SwThermalSlowdown,
/// HwThermalSlowdown and HwPowerBrakeSlowdown.
const THROTTLES: u64 = 0x4 | 0x8 | 0x20 | 0x40 | 0x80;

/// The busiest GPU of a service in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GpuWindow {
    /// Time share with a kernel running.
    pub busy: f64,
    /// Its clocks were held down.
    pub throttled: bool,
}

/// The last readings of all GPUs.
#[derive(Default)]
pub struct GpuHistory(VecDeque<Arc<GpuSnapshot>>);

impl GpuHistory {
    /// Takes a reading, unless it is the last one again.
    pub fn push(&mut self, snapshot: Arc<GpuSnapshot>) {
        if snapshot.at_ns == 0 || self.0.back().is_some_and(|last| last.at_ns >= snapshot.at_ns) {
            return;
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(snapshot);
    }

    /// What the GPUs of these processes did between two instants; None if they use none, or no reading is of that time.
    pub fn window(&self, pids: impl FnOnce() -> Vec<u32>, from_ns: u64, to_ns: u64) -> Option<GpuWindow> {
        if self.0.back().is_none_or(|last| last.devices.is_empty()) {
            return None;
        }
        let pids = pids();
        // A reading is of the time before it. The first after the end is of the end; if it is not there yet, the last
        // before stands for it.
        let after = self.0.partition_point(|snapshot| snapshot.at_ns < to_ns);
        let first = self.0.partition_point(|snapshot| snapshot.at_ns < from_ns);
        let range = first.min(after.saturating_sub(1))..(after + 1).min(self.0.len());
        let recent = |snapshot: &&Arc<GpuSnapshot>| snapshot.at_ns + STALE_NS >= from_ns;
        let of = self.0.range(range).filter(recent).filter_map(|snapshot| of_processes(snapshot, &pids));
        let (count, busy, throttled) = of.fold((0, 0.0, false), |(count, busy, throttled), window| {
            (count + 1, busy + window.busy, throttled || window.throttled)
        });
        (count > 0).then(|| GpuWindow { busy: busy / f64::from(count), throttled })
    }
}

fn of_processes(snapshot: &GpuSnapshot, pids: &[u32]) -> Option<GpuWindow> {
    let uses = pids.iter().flat_map(|pid| snapshot.uses_of(*pid));
    let windows = uses.filter_map(|(device, _)| {
        let throttled = device.throttle_reasons.is_some_and(|reasons| reasons & THROTTLES != 0);
        Some(GpuWindow { busy: device.utilization_gpu?.clamp(0.0, 1.0), throttled })
    });
    windows.reduce(|a, b| GpuWindow { busy: a.busy.max(b.busy), throttled: a.throttled || b.throttled })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::nvml::{DeviceReading, ProcessKind, ProcessReading};

    fn at(seconds: u64, busy: f64, throttle: u64) -> Arc<GpuSnapshot> {
        let kind = ProcessKind::Compute;
        let process = ProcessReading { pid: 7, kind, used_memory_bytes: None, gi: None, ci: None, utilization: None };
        let device = DeviceReading {
            utilization_gpu: Some(busy),
            throttle_reasons: Some(throttle),
            processes: Some(vec![process]),
            ..DeviceReading::default()
        };
        Arc::new(GpuSnapshot { at_ns: seconds * 1_000_000_000, devices: Arc::new([device]), ..GpuSnapshot::empty() })
    }

    #[test]
    fn readings_of_the_time_of_the_request_count() {
        let mut history = GpuHistory::default();
        for (seconds, busy) in [(10, 0.1), (11, 0.9), (12, 0.7), (13, 0.2)] {
            history.push(at(seconds, busy, 0));
        }
        let window = |from: u64, to: u64| history.window(|| vec![7], from * 100_000_000, to * 100_000_000);
        let busy = |from, to| (window(from, to).expect("seen").busy * 100.0).round() as u32;
        assert_eq!(busy(105, 108), 50, "the readings before and after");
        assert_eq!(busy(105, 118), 80, "those within and the first after");
        assert_eq!(busy(135, 140), 20, "none after yet");
        assert_eq!(window(250, 260), None, "too old");
        assert_eq!(history.window(|| vec![8], 10_000_000_000, 12_000_000_000), None, "not its GPU");
    }

    #[test]
    fn clocks_that_are_held_down_are_told_from_idle_ones() {
        let mut history = GpuHistory::default();
        history.push(at(10, 1.0, 0x1));
        assert!(!history.window(|| vec![7], 1, 10_000_000_000).expect("seen").throttled);
        history.push(at(11, 1.0, 0x40));
        assert!(history.window(|| vec![7], 10_100_000_000, 11_000_000_000).expect("seen").throttled);
    }
}
