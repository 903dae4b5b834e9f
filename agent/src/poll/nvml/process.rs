//! Processes on one GPU: NVML's three lists merged, and each one's utilisation from the driver's samples.
//! A process that ends between two calls is in one answer and not in the other; both are taken as they are.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant, SystemTime};

use nvml_wrapper::Device;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::{ProcessInfo, ProcessUtilizationSample};
use rustc_hash::FxHashMap;

use super::calls::{CallMemory, Calls, Miss};
use super::snapshot::{ProcessKind, ProcessReading, ProcessUtilization};

/// How long a mean stands when no newer sample comes; drivers sample up to once a second.
const HOLD: Duration = Duration::from_millis(1500);
/// A sample stamped further ahead than this is garbage, and would blind us to all later ones.
const AHEAD_US: u64 = 60_000_000;

/// What the next round needs to know.
#[derive(Debug, Default)]
pub(super) struct Processes {
    last_seen_us: u64,
    held: FxHashMap<u32, (Instant, ProcessUtilization)>,
}

impl Processes {
    /// Reads the processes; `None` when the list of compute processes cannot be had.
    pub fn read(
        &mut self,
        calls: &mut Calls<'_>,
        memory: &mut CallMemory,
        device: &Device<'_>,
    ) -> Option<Vec<ProcessReading>> {
        let mut processes = Vec::new();
        merge(
            &mut processes,
            ProcessKind::Compute,
            list(calls, memory, "nvmlDeviceGetComputeRunningProcesses_v3", || device.running_compute_processes())
                .ok()?,
        );
        for (kind, answer) in [
            (
                ProcessKind::Mps,
                list(calls, memory, "nvmlDeviceGetMPSComputeRunningProcesses_v3", || {
                    device.mps_running_compute_processes()
                }),
            ),
            (
                ProcessKind::Graphics,
                list(calls, memory, "nvmlDeviceGetGraphicsRunningProcesses_v3", || device.running_graphics_processes()),
            ),
        ] {
            merge(&mut processes, kind, answer.unwrap_or_default());
        }
        self.add_utilization(&mut processes, calls, memory, device);
        Some(processes)
    }

    fn add_utilization(
        &mut self,
        processes: &mut [ProcessReading],
        calls: &mut Calls<'_>,
        memory: &mut CallMemory,
        device: &Device<'_>,
    ) {
        let now_us = unix_us();
        if self.last_seen_us == 0 || self.last_seen_us > now_us + AHEAD_US {
            // At first, and after the wall clock was set back: only what is recent.
            self.last_seen_us = now_us.saturating_sub(1_000_000);
        }
        let since = self.last_seen_us;
        let samples =
            list(calls, memory, "nvmlDeviceGetProcessUtilization", || device.process_utilization_stats(since));
        match samples {
            Ok(samples) => self.take(&samples, now_us),
            Err(Miss::Nothing) => {}
            Err(_) => return,
        }
        self.held.retain(|_, (at, _)| at.elapsed() < HOLD);
        for process in processes {
            process.utilization = Some(self.held.get(&process.pid).map_or_else(Default::default, |(_, held)| *held));
        }
    }

    /// Replaces what is held by the means of new samples. Samples that cannot be true are left out.
    fn take(&mut self, samples: &[ProcessUtilizationSample], now_us: u64) {
        let mut sums: FxHashMap<u32, (f64, ProcessUtilization)> = FxHashMap::default();
        for sample in samples {
            let shares = [sample.sm_util, sample.mem_util, sample.enc_util, sample.dec_util];
            let late = sample.timestamp <= self.last_seen_us || sample.timestamp > now_us + AHEAD_US;
            if late || sample.pid == 0 || shares.iter().any(|share| *share > 100) {
                continue;
            }
            let (count, sum) = sums.entry(sample.pid).or_default();
            *count += 1.0;
            sum.sm += f64::from(sample.sm_util) / 100.0;
            sum.memory += f64::from(sample.mem_util) / 100.0;
            sum.encoder += f64::from(sample.enc_util) / 100.0;
            sum.decoder += f64::from(sample.dec_util) / 100.0;
        }
        let stamps = samples.iter().map(|sample| sample.timestamp).filter(|stamp| *stamp <= now_us + AHEAD_US);
        self.last_seen_us = stamps.max().unwrap_or(0).max(self.last_seen_us);
        if sums.is_empty() {
            return;
        }
        // The driver has sampled: who is not among the samples was idle.
        let now = Instant::now();
        self.held = sums
            .into_iter()
            .map(|(pid, (count, sum))| {
                let mean = ProcessUtilization {
                    sm: sum.sm / count,
                    memory: sum.memory / count,
                    encoder: sum.encoder / count,
                    decoder: sum.decoder / count,
                };
                (pid, (now, mean))
            })
            .collect();
    }
}

/// A list, asked a second time when it grew between the question for its size and the question for its content.
fn list<T>(
    calls: &mut Calls<'_>,
    memory: &mut CallMemory,
    call: &'static str,
    body: impl Fn() -> Result<Vec<T>, NvmlError>,
) -> Result<Vec<T>, Miss> {
    calls.ask(memory, call, || match body() {
        Err(NvmlError::InsufficientSize(_)) => body(),
        answer => answer,
    })
}

fn merge(processes: &mut Vec<ProcessReading>, kind: ProcessKind, infos: Vec<ProcessInfo>) {
    for info in infos {
        let used = match info.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        };
        let (gi, ci) = (info.gpu_instance_id, info.compute_instance_id);
        let known = processes.iter_mut().find(|known| (known.pid, known.gi, known.ci) == (info.pid, gi, ci));
        match known {
            Some(known) => known.used_memory_bytes = known.used_memory_bytes.max(used),
            None => {
                processes.push(ProcessReading {
                    pid: info.pid,
                    kind,
                    used_memory_bytes: used,
                    gi,
                    ci,
                    utilization: None,
                });
            }
        }
    }
}

fn unix_us() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pid: u32, timestamp: u64, sm_util: u32) -> ProcessUtilizationSample {
        ProcessUtilizationSample { pid, timestamp, sm_util, mem_util: 0, enc_util: 0, dec_util: 0 }
    }

    #[test]
    fn several_samples_are_averaged_and_garbage_is_left_out() {
        let mut processes = Processes { last_seen_us: 100, ..Processes::default() };
        let far = 1_000 + AHEAD_US + 1;
        processes.take(
            &[
                sample(7, 101, 20),
                sample(7, 102, 40),
                sample(7, 103, 4_000_000),
                sample(0, 104, 9),
                sample(8, far, 5),
                sample(9, 50, 5),
            ],
            1_000,
        );
        assert!((processes.held[&7].1.sm - 0.3).abs() < 1e-12);
        assert_eq!((processes.held.len(), processes.last_seen_us), (1, 104));
    }

    #[test]
    fn a_process_missing_from_new_samples_is_idle() {
        let mut processes = Processes::default();
        processes.take(&[sample(7, 101, 20), sample(8, 101, 30)], 1_000);
        processes.take(&[sample(8, 201, 30)], 1_000);
        assert!(!processes.held.contains_key(&7) && processes.held.contains_key(&8));
    }

    #[test]
    fn one_process_in_two_lists_is_one_reading() {
        let info = |pid, bytes| ProcessInfo {
            pid,
            used_gpu_memory: UsedGpuMemory::Used(bytes),
            gpu_instance_id: None,
            compute_instance_id: None,
        };
        let mut processes = Vec::new();
        merge(&mut processes, ProcessKind::Compute, vec![info(1, 10)]);
        merge(&mut processes, ProcessKind::Graphics, vec![info(1, 30), info(2, 5)]);
        assert_eq!(processes.len(), 2);
        assert_eq!((processes[0].kind, processes[0].used_memory_bytes), (ProcessKind::Compute, Some(30)));
    }
}
