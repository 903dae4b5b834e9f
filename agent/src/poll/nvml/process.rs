//! Processes on one GPU: NVML's three lists merged, and each one's utilisation from the driver's samples.
//! A process that ends between two calls is in one answer and not in the other; both are taken as they are.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use nvml_wrapper::Device;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::{ProcessInfo, ProcessUtilizationSample};
use rustc_hash::FxHashMap;

use super::calls::{CallMemory, Calls, Miss};
use super::raw;
use super::snapshot::{ProcessKind, ProcessReading, ProcessUtilization};

/// How long a mean stands when no newer sample comes. Drivers sample each process for itself, up to once a second.
const HOLD: Duration = Duration::from_millis(1500);
/// After so long without a new sample, ask for all that the driver has: its clock may have been set back.
const RESYNC: Duration = Duration::from_secs(10);
/// But not before so many rounds, of which one alone may be longer than that.
const RESYNC_ROUNDS: u32 = 3;
/// A stamp further ahead of the last one than the time gone by and this is garbage, and would blind us to all later ones.
const AHEAD_US: u64 = 60_000_000;

/// What the next round needs to know. Stamps are microseconds of a clock that differs between drivers (Unix time, or since
/// boot), so they are compared with each other only.
#[derive(Debug, Default)]
pub(super) struct Processes {
    last_seen_us: u64,
    /// When stamps were last taken over; `None` before the first answer.
    heard: Option<Instant>,
    held: FxHashMap<u32, (Instant, ProcessUtilization)>,
}

impl Processes {
    /// Reads the processes; `None` when the list of compute processes cannot be had. Rounds are `interval` apart.
    pub fn read(
        &mut self,
        calls: &mut Calls<'_>,
        memory: &mut CallMemory,
        device: &Device<'_>,
        interval: Duration,
    ) -> Option<Vec<ProcessReading>> {
        let mut processes = Vec::new();
        let compute = listed(
            calls,
            memory,
            ("nvmlDeviceGetComputeRunningProcesses_v3", || device.running_compute_processes()),
            ("nvmlDeviceGetComputeRunningProcesses_v2", || device.running_compute_processes_v2()),
        );
        let told = compute.is_ok();
        let clients = listed(
            calls,
            memory,
            ("nvmlDeviceGetMPSComputeRunningProcesses_v3", || device.mps_running_compute_processes()),
            ("nvmlDeviceGetMPSComputeRunningProcesses_v2", || raw::mps_processes_v2(device)),
        );
        let graphics = listed(
            calls,
            memory,
            ("nvmlDeviceGetGraphicsRunningProcesses_v3", || device.running_graphics_processes()),
            ("nvmlDeviceGetGraphicsRunningProcesses_v2", || device.running_graphics_processes_v2()),
        );
        for (kind, infos) in
            [(ProcessKind::Compute, compute), (ProcessKind::Mps, clients), (ProcessKind::Graphics, graphics)]
        {
            merge(&mut processes, kind, infos.unwrap_or_default());
        }
        self.add_utilization(&mut processes, calls, memory, device, interval);
        told.then_some(processes)
    }

    fn add_utilization(
        &mut self,
        processes: &mut [ProcessReading],
        calls: &mut Calls<'_>,
        memory: &mut CallMemory,
        device: &Device<'_>,
        interval: Duration,
    ) {
        let resync = self.out_of_step(interval);
        let since = if resync { 0 } else { self.last_seen_us };
        let samples =
            list(calls, memory, "nvmlDeviceGetProcessUtilization", || device.process_utilization_stats(since));
        let all_heard = match samples {
            Ok(samples) if resync => self.synchronise(&samples),
            Ok(samples) => {
                self.take(&samples);
                true
            }
            Err(Miss::Nothing) => {
                self.heard = if resync { Some(Instant::now()) } else { self.heard };
                true
            }
            Err(_) => return,
        };
        self.held.retain(|_, (at, _)| at.elapsed() < HOLD);
        // Of whom there is no mean is idle, unless there were samples that could not be used.
        let others = all_heard.then(ProcessUtilization::default);
        for process in processes {
            process.utilization = self.held.get(&process.pid).map(|(_, held)| *held).or(others);
        }
    }

    /// Whether there was no new sample for so long that the driver's clock may be another one by now.
    fn out_of_step(&self, interval: Duration) -> bool {
        let patience = RESYNC.max(interval.saturating_mul(RESYNC_ROUNDS));
        self.heard.is_none_or(|heard| heard.elapsed() > patience)
    }

    /// Takes over the newest stamp and no values: an answer to "everything" averages over long ago. Whether nothing was
    /// left unheard by that: the newest sample is the one that was known.
    fn synchronise(&mut self, samples: &[ProcessUtilizationSample]) -> bool {
        let stamps = samples.iter().filter(|sample| credible(sample)).map(|sample| sample.timestamp);
        let newest = stamps.max().unwrap_or(self.last_seen_us);
        let known = newest == self.last_seen_us;
        self.last_seen_us = newest;
        self.heard = Some(Instant::now());
        known
    }

    /// Takes over the means of new samples. Samples that cannot be true are left out.
    fn take(&mut self, samples: &[ProcessUtilizationSample]) {
        let gone_by = self.heard.map_or(0, |heard| heard.elapsed().as_micros() as u64);
        let latest = match self.last_seen_us {
            0 => u64::MAX,
            last => last.saturating_add(gone_by + AHEAD_US),
        };
        let fresh = self.last_seen_us + 1..=latest;
        let mut sums: FxHashMap<u32, (f64, ProcessUtilization)> = FxHashMap::default();
        let now = Instant::now();
        for sample in samples.iter().filter(|sample| credible(sample) && fresh.contains(&sample.timestamp)) {
            let (count, sum) = sums.entry(sample.pid).or_default();
            *count += 1.0;
            sum.sm += f64::from(sample.sm_util) / 100.0;
            sum.memory += f64::from(sample.mem_util) / 100.0;
            sum.encoder += f64::from(sample.enc_util) / 100.0;
            sum.decoder += f64::from(sample.dec_util) / 100.0;
            self.last_seen_us = self.last_seen_us.max(sample.timestamp);
            self.heard = Some(now);
        }
        self.held.extend(sums.into_iter().map(|(pid, (count, sum))| {
            let mean = ProcessUtilization {
                sm: sum.sm / count,
                memory: sum.memory / count,
                encoder: sum.encoder / count,
                decoder: sum.decoder / count,
            };
            (pid, (now, mean))
        }));
    }
}

/// Some drivers fill their answer up with uninitialised samples.
fn credible(sample: &ProcessUtilizationSample) -> bool {
    let shares = [sample.sm_util, sample.mem_util, sample.enc_util, sample.dec_util];
    sample.pid != 0 && sample.timestamp != 0 && shares.iter().all(|share| *share <= 100)
}

/// A list of processes by the newer call, which drivers have from 510 on, else by the older one.
fn listed(
    calls: &mut Calls<'_>,
    memory: &mut CallMemory,
    newer: (&'static str, impl Fn() -> Result<Vec<ProcessInfo>, NvmlError>),
    older: (&'static str, impl Fn() -> Result<Vec<ProcessInfo>, NvmlError>),
) -> Result<Vec<ProcessInfo>, Miss> {
    match list(calls, memory, newer.0, newer.1) {
        Err(Miss::Unsupported) => list(calls, memory, older.0, older.1),
        answer => answer,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pid: u32, timestamp: u64, sm_util: u32) -> ProcessUtilizationSample {
        ProcessUtilizationSample { pid, timestamp, sm_util, mem_util: 0, enc_util: 0, dec_util: 0 }
    }

    fn listening_since(last_seen_us: u64) -> Processes {
        Processes { last_seen_us, heard: Some(Instant::now()), ..Processes::default() }
    }

    #[test]
    fn several_samples_are_averaged_and_garbage_is_left_out() {
        let mut processes = listening_since(100);
        let far = 101 + 2 * AHEAD_US;
        let garbage =
            [sample(7, 104, 4_000_000), sample(0, 105, 9), sample(8, far, 5), sample(9, 50, 5), sample(9, 0, 5)];
        processes.take(&[&[sample(7, 101, 20), sample(7, 102, 40)], &garbage[..]].concat());
        assert!((processes.held[&7].1.sm - 0.3).abs() < 1e-12);
        assert_eq!((processes.held.len(), processes.last_seen_us), (1, 102));
    }

    #[test]
    fn a_process_missing_from_one_answer_keeps_its_mean() {
        let mut processes = listening_since(100);
        processes.take(&[sample(7, 101, 20), sample(8, 101, 30)]);
        processes.take(&[sample(8, 201, 40)]);
        assert!((processes.held[&7].1.sm - 0.2).abs() < 1e-12 && (processes.held[&8].1.sm - 0.4).abs() < 1e-12);
    }

    #[test]
    fn the_first_answer_gives_the_clock_only() {
        let mut processes = Processes::default();
        assert!(!processes.synchronise(&[sample(7, 500, 90), sample(8, 400, 10), sample(0, 900, 1)]));
        assert_eq!((processes.last_seen_us, processes.held.len()), (500, 0));
        assert!(processes.synchronise(&[sample(7, 500, 90)]), "nothing since");
        assert!(!processes.synchronise(&[sample(7, 600, 90)]), "work that is not told");
        // A clock that was set back is followed.
        assert!(!processes.synchronise(&[sample(7, 300, 90)]));
        assert_eq!(processes.last_seen_us, 300);
        assert!(processes.synchronise(&[]));
        assert_eq!(processes.last_seen_us, 300);
    }

    #[test]
    fn long_rounds_stay_in_step() {
        let heard = |seconds| Processes {
            heard: Instant::now().checked_sub(Duration::from_secs(seconds)),
            ..Processes::default()
        };
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert!(!heard(9).out_of_step(second) && heard(11).out_of_step(second));
        assert!(!heard(170).out_of_step(minute) && heard(190).out_of_step(minute));
        assert!(Processes::default().out_of_step(minute), "the first round");
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
