//! Snapshots made up here, and the text that a scrape shows of them.

use std::sync::Arc;

use super::*;
use crate::poll::nvml::{MemoryReading, NvmlHealth, ProcessKind, ProcessReading};
use crate::services::{ProcessView, ServiceView};

fn snapshot(devices: Vec<DeviceReading>) -> GpuSnapshot {
    GpuSnapshot {
        at_ns: 1,
        at: Some(Instant::now()),
        health: NvmlHealth::Ok,
        library: None,
        driver_version: Some("550.1".into()),
        nvml_version: None,
        cuda_version: Some("12.4".into()),
        devices: devices.into(),
        rounds: 1,
        call_errors: Arc::new(BTreeMap::from([(("nvmlDeviceGetPowerUsage", "unknown"), 3)])),
    }
}

fn services() -> ServiceTable {
    Arc::new(vec![Arc::new(ServiceView {
        name: "svc".into(),
        engine: "vllm".into(),
        pid: 7,
        processes: vec![ProcessView { pid: 7, comm: "engine".into() }],
        ..ServiceView::default()
    })])
}

fn process(pid: u32, bytes: Option<u64>, sm: Option<f64>) -> ProcessReading {
    let utilization = sm.map(|sm| ProcessUtilization { sm, ..ProcessUtilization::default() });
    ProcessReading { pid, kind: ProcessKind::Compute, used_memory_bytes: bytes, gi: None, ci: None, utilization }
}

fn bare(index: u32) -> DeviceReading {
    DeviceReading { index, uuid: format!("GPU-{index}"), name: "H".into(), ..DeviceReading::default() }
}

fn memory(used_bytes: u64) -> Option<MemoryReading> {
    Some(MemoryReading { total_bytes: 1000, used_bytes, free_bytes: 990 - used_bytes, reserved_bytes: 10 })
}

fn lines(snapshot: &GpuSnapshot) -> Vec<String> {
    let families: Vec<_> = families(snapshot).into_iter().chain(processes(snapshot, &services())).collect();
    let text = ::prometheus::TextEncoder::new().encode_to_string(&families).expect("encodable");
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[track_caller]
fn has(lines: &[String], wanted: &[&str]) {
    for line in wanted {
        assert!(lines.iter().any(|got| got == line), "no {line} in\n{}", lines.join("\n"));
    }
}

fn busy() -> DeviceReading {
    DeviceReading {
        utilization_gpu: Some(0.5),
        utilization_memory: Some(0.25),
        memory: memory(400),
        power_watts: Some(300.0),
        power_limit_watts: Some(700.0),
        energy_joules: Some(1e6),
        temperature_celsius: Some(61.0),
        sm_clock_hertz: Some(1.98e9),
        memory_clock_hertz: Some(2.6e9),
        throttle_reasons: Some(0x4),
        pcie_tx_bytes_per_second: Some(1.0),
        pcie_rx_bytes_per_second: Some(2.0),
        ecc_corrected: Some(4),
        ecc_uncorrected: Some(0),
        xid_last: Some(79),
        xid_count: Some(2),
        mig_enabled: Some(false),
        gpm: Some(GpmReading { sm_activity: Some(0.75), nvlink_rx_bytes_per_second: Some(9.0), ..Default::default() }),
        processes: Some(vec![process(7, Some(128), Some(0.5)), process(8, Some(64), Some(0.1))]),
        ..bare(0)
    }
}

#[test]
fn every_figure_of_a_gpu_has_its_series() {
    let lines = lines(&snapshot(vec![busy()]));
    let device = "gpu=\"0\",uuid=\"GPU-0\",name=\"H\"";
    for (name, more, value) in [
        ("hw_gpu_info", ",pci_bus_id=\"\"", "1"),
        ("hw_gpu_up", "", "1"),
        ("hw_gpu_utilization_ratio", ",task=\"general\"", "0.5"),
        ("hw_gpu_utilization_ratio", ",task=\"memory\"", "0.25"),
        ("hw_gpu_memory_usage_bytes", "", "400"),
        ("hw_gpu_memory_limit_bytes", "", "1000"),
        ("hw_gpu_memory_reserved_bytes", "", "10"),
        ("hw_gpu_power_watts", "", "300"),
        ("hw_gpu_power_limit_watts", "", "700"),
        ("hw_gpu_energy_joules_total", "", "1000000"),
        ("hw_gpu_temperature_celsius", "", "61"),
        ("hw_gpu_clock_hertz", ",domain=\"sm\"", "1980000000"),
        ("hw_gpu_clock_hertz", ",domain=\"memory\"", "2600000000"),
        ("hw_gpu_throttle_active", ",reason=\"sw_power_cap\"", "1"),
        ("hw_gpu_throttle_active", ",reason=\"hw_slowdown\"", "0"),
        ("hw_gpu_io_bytes_per_second", ",direction=\"transmit\"", "1"),
        ("hw_gpu_io_bytes_per_second", ",direction=\"receive\"", "2"),
        ("hw_gpu_nvlink_bytes_per_second", ",direction=\"receive\"", "9"),
        ("hw_errors_total", ",error_type=\"ecc_corrected\"", "4"),
        ("hw_errors_total", ",error_type=\"ecc_uncorrected\"", "0"),
        ("hw_errors_total", ",error_type=\"xid\"", "2"),
        ("hw_gpu_last_xid", "", "79"),
        ("hw_gpu_mig_enabled", "", "0"),
        ("hw_gpu_activity_ratio", ",unit=\"sm\"", "0.75"),
    ] {
        has(&lines, &[&format!("{name}{{{device}{more}}} {value}")]);
    }
}

#[test]
fn only_watched_processes_have_series() {
    let lines = lines(&snapshot(vec![busy()]));
    let uses: Vec<_> = lines.iter().filter(|line| line.starts_with("inferscope_process_gpu")).collect();
    let who = "service=\"svc\",pid=\"7\",comm=\"engine\",gpu=\"0\",uuid=\"GPU-0\"";
    has(&lines, &[&format!("inferscope_process_gpu_memory_bytes{{{who}}} 128")]);
    has(&lines, &[&format!("inferscope_process_gpu_utilization_ratio{{{who},unit=\"sm\"}} 0.5")]);
    has(&lines, &[&format!("inferscope_process_gpu_utilization_ratio{{{who},unit=\"decoder\"}} 0")]);
    assert_eq!(uses.len(), 5, "{uses:?}");
}

#[test]
fn what_is_not_told_has_no_series() {
    let lost = DeviceReading { state: DeviceState::Lost { error: "fell off the bus".into() }, ..bare(1) };
    let silent = DeviceReading { processes: Some(vec![process(7, None, None)]), ..bare(0) };
    let lines = lines(&snapshot(vec![silent, lost]));
    let told: Vec<_> = lines.iter().filter(|line| !line.starts_with("inferscope_nvml")).map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "hw_gpu_info{gpu=\"0\",uuid=\"GPU-0\",name=\"H\",pci_bus_id=\"\"} 1",
            "hw_gpu_info{gpu=\"1\",uuid=\"GPU-1\",name=\"H\",pci_bus_id=\"\"} 1",
            "hw_gpu_up{gpu=\"0\",uuid=\"GPU-0\",name=\"H\"} 1",
            "hw_gpu_up{gpu=\"1\",uuid=\"GPU-1\",name=\"H\"} 0",
        ]
    );
}

#[test]
fn under_mig_there_is_memory_per_instance_and_no_utilisation() {
    let instance = |index: u32, gi: Option<u32>| MigReading {
        index,
        uuid: gi.map(|gi| format!("MIG-{gi}")).unwrap_or_default(),
        gi,
        ci: Some(0),
        memory: memory(100),
        gpm: Some(GpmReading { tensor: Some(0.5), ..GpmReading::default() }),
    };
    let device = DeviceReading {
        mig_enabled: Some(true),
        mig: vec![instance(0, Some(3)), instance(1, Some(4)), instance(2, None)],
        utilization_gpu: Some(0.9),
        // The same process on two instances, and a sample that cannot be true here.
        processes: Some(vec![process(7, Some(10), Some(0.5)), process(7, Some(5), None)]),
        ..bare(0)
    };
    let lines = lines(&snapshot(vec![device]));
    has(
        &lines,
        &[
            "hw_gpu_mig_enabled{gpu=\"0\",uuid=\"GPU-0\",name=\"H\"} 1",
            "hw_gpu_mig_memory_usage_bytes{gpu=\"0\",uuid=\"MIG-3\",name=\"H\",gi=\"3\",ci=\"0\"} 100",
            "hw_gpu_mig_memory_limit_bytes{gpu=\"0\",uuid=\"MIG-4\",name=\"H\",gi=\"4\",ci=\"0\"} 1000",
            "hw_gpu_mig_memory_usage_bytes{gpu=\"0\",uuid=\"GPU-0/2\",name=\"H\",gi=\"\",ci=\"0\"} 100",
            "hw_gpu_mig_activity_ratio{gpu=\"0\",uuid=\"MIG-3\",name=\"H\",gi=\"3\",ci=\"0\",unit=\"tensor\"} 0.5",
            "inferscope_process_gpu_memory_bytes{service=\"svc\",pid=\"7\",comm=\"engine\",gpu=\"0\",uuid=\"GPU-0\"} 15",
        ],
    );
    assert!(!lines.iter().any(|line| line.contains("utilization")), "{}", lines.join("\n"));
}

#[test]
fn the_source_tells_its_state_age_and_errors() {
    let mut snapshot = snapshot(Vec::new());
    snapshot.health = NvmlHealth::Hung { call: "nvmlInit_v2", since: Instant::now() };
    let lines = lines(&snapshot);
    has(
        &lines,
        &[
            "inferscope_nvml_up{state=\"hung\"} 1",
            "inferscope_nvml_up{state=\"ok\"} 0",
            "inferscope_nvml_call_errors_total{call=\"nvmlDeviceGetPowerUsage\",error=\"unknown\"} 3",
            "inferscope_nvml_info{driver_version=\"550.1\",nvml_version=\"\",cuda_version=\"12.4\"} 1",
        ],
    );
    assert_eq!(lines.iter().filter(|line| line.starts_with("inferscope_nvml_up")).count(), HEALTH_WORDS.len());
    assert!(lines.iter().any(|line| line.starts_with("inferscope_nvml_age_seconds ")), "{lines:?}");
}
