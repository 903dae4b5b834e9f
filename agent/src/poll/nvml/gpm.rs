//! GPU performance monitoring (Hopper and later): the difference between this round's sample and the last one's.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::gpm::{GpmSample, gpm_metrics_get};
use nvml_wrapper::struct_wrappers::gpm::GpmMetricResult;
use nvml_wrapper::{Device, Nvml};

use super::calls::{CallMemory, Calls, Miss};
use super::snapshot::GpmReading;

/// NVML gives no meaning to samples closer than this.
const APART: Duration = Duration::from_millis(100);

const METRICS: [GpmMetricId; 8] = [
    GpmMetricId::SmUtil,
    GpmMetricId::SmOccupancy,
    GpmMetricId::AnyTensorUtil,
    GpmMetricId::DramBwUtil,
    GpmMetricId::PcieTxPerSec,
    GpmMetricId::PcieRxPerSec,
    GpmMetricId::NvlinkTotalTxPerSec,
    GpmMetricId::NvlinkTotalRxPerSec,
];

/// The metrics of a GPU, or of one GPU instance of it.
#[derive(Default)]
pub(super) struct Gpm<'n> {
    previous: Option<(Instant, GpmSample<'n>)>,
    last: Option<GpmReading>,
}

impl<'n> Gpm<'n> {
    /// Whether the last reading had the PCIe traffic in it.
    pub fn tells_pcie(&self) -> bool {
        self.last.is_some_and(|last| last.pcie_tx_bytes_per_second.is_some())
    }

    /// Takes a sample and reads against the previous one; `None` at first, and where there is no GPM.
    /// `instance` is the GPU instance id under MIG, where `device` is still the whole GPU.
    pub fn read(
        &mut self,
        calls: &mut Calls<'_>,
        memory: &mut CallMemory,
        nvml: &'n Nvml,
        device: &Device<'n>,
        instance: Option<u32>,
    ) -> Option<GpmReading> {
        if self.previous.is_none() && !supported(calls, memory, device) {
            return None;
        }
        if self.previous.as_ref().is_some_and(|(taken, _)| taken.elapsed() <= APART) {
            return self.last;
        }
        let sample = match instance {
            None => calls.ask(memory, "nvmlGpmSampleGet", || device.gpm_sample()),
            Some(gi) => calls.ask(memory, "nvmlGpmMigSampleGet", || device.gpm_mig_sample(gi)),
        };
        let previous = self.previous.take();
        let Ok(sample) = sample else {
            self.last = None;
            return None;
        };
        self.last = previous
            .and_then(|(_, previous)| {
                calls.ask(memory, "nvmlGpmMetricsGet", || gpm_metrics_get(nvml, &previous, &sample, &METRICS)).ok()
            })
            .map(|answers| reading(&answers.into_iter().map(Result::ok).collect::<Vec<_>>()));
        self.previous = Some((Instant::now(), sample));
        self.last
    }
}

fn supported(calls: &mut Calls<'_>, memory: &mut CallMemory, device: &Device<'_>) -> bool {
    const QUERY: &str = "nvmlGpmQueryDeviceSupport";
    match calls.ask(memory, QUERY, || device.gpm_support()) {
        Ok(true) => true,
        Ok(false) => {
            memory.forget(QUERY);
            false
        }
        Err(Miss::Unsupported | Miss::Nothing | Miss::Lost | Miss::Failed | Miss::Skipped) => false,
    }
}

/// `answers` are in the order of `METRICS`; NVML counts shares in percent and traffic in the unit that it names.
fn reading(answers: &[Option<GpmMetricResult>]) -> GpmReading {
    let answer = |wanted: GpmMetricId| answers.iter().flatten().find(|answer| answer.metric_id == wanted);
    let ratio = |wanted| answer(wanted).map(|answer| (answer.value / 100.0).clamp(0.0, 1.0));
    let rate = |wanted| answer(wanted).map(|answer| answer.value.max(0.0) * unit_bytes(&answer.metric_info.unit));
    GpmReading {
        sm_activity: ratio(GpmMetricId::SmUtil),
        sm_occupancy: ratio(GpmMetricId::SmOccupancy),
        tensor: ratio(GpmMetricId::AnyTensorUtil),
        dram: ratio(GpmMetricId::DramBwUtil),
        pcie_tx_bytes_per_second: rate(GpmMetricId::PcieTxPerSec),
        pcie_rx_bytes_per_second: rate(GpmMetricId::PcieRxPerSec),
        nvlink_tx_bytes_per_second: rate(GpmMetricId::NvlinkTotalTxPerSec),
        nvlink_rx_bytes_per_second: rate(GpmMetricId::NvlinkTotalRxPerSec),
    }
}

/// nvml.h: PCIe and NVLink traffic is in MiB per second.
fn unit_bytes(unit: &str) -> f64 {
    match unit.trim_end_matches("/s").trim_end_matches("/sec").trim() {
        "B" | "Bytes" | "bytes" => 1.0,
        "KiB" | "KB" => 1024.0,
        "GiB" | "GB" => f64::from(1 << 30),
        _ => f64::from(1 << 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_bytes() {
        for (unit, want) in [("MiB/s", 1048576.0), ("", 1048576.0), ("B/s", 1.0), ("KiB/sec", 1024.0)] {
            assert!((unit_bytes(unit) - want).abs() < f64::EPSILON, "{unit}");
        }
    }
}
