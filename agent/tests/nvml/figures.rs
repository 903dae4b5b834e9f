//! What the script says is what the snapshot says, in our units.

use std::time::Duration;

use agent::poll::nvml::{self, DeviceState, GpuSnapshot, NvmlHealth, ProcessKind};

use crate::bench::{Bench, ONE_GPU, close, lack};

#[test]
fn figures_equal_the_script() {
    let bench = Bench::new(ONE_GPU, "");
    let snapshot = bench.until("GPM", |s| s.devices.first().is_some_and(|d| d.gpm.is_some()));
    assert_eq!(snapshot.health, NvmlHealth::Ok);
    assert_eq!(snapshot.cuda_version.as_deref(), Some("12.4"));
    let gpu = &snapshot.devices[0];
    assert_eq!((gpu.index, gpu.uuid.as_str(), gpu.name.as_str()), (0, "GPU-1", "Test GPU"));
    assert_eq!((gpu.pci_bus_id.as_str(), &gpu.state), ("00000000:3B:00.0", &DeviceState::Ok));
    close(gpu.utilization_gpu, 0.8);
    close(gpu.utilization_memory, 0.3);
    close(gpu.power_watts, 350.0);
    close(gpu.power_limit_watts, 700.0);
    close(gpu.temperature_celsius, 61.0);
    close(gpu.sm_clock_hertz, 1.98e9);
    close(gpu.memory_clock_hertz, 2.619e9);
    let memory = gpu.memory.expect("memory");
    assert_eq!((memory.total_bytes, memory.used_bytes, memory.reserved_bytes), (1_000_000, 501_234, 1_000));
    assert_eq!(nvml::throttle_reason_names(gpu.throttle_reasons.expect("mask")).collect::<Vec<_>>(), ["sw_power_cap"]);
    assert_eq!((gpu.ecc_corrected, gpu.ecc_uncorrected), (Some(3), Some(1)));
    assert_eq!((gpu.xid_last, gpu.xid_count, gpu.mig_enabled), (None, Some(0), Some(false)));
    let gpm = gpu.gpm.expect("gpm");
    close(gpm.sm_activity, 0.555);
    close(gpm.tensor, 0.125);
    close(gpm.dram, 0.4);
    // GPM answers in MiB/s, and goes before the sampled figure.
    close(gpu.pcie_tx_bytes_per_second, 2.0 * 1048576.0);
    close(gpu.pcie_rx_bytes_per_second, 3.0 * 1048576.0);
    assert_eq!(gpm.nvlink_tx_bytes_per_second, None);
}

#[test]
fn processes_have_memory_and_utilization() {
    let bench = Bench::new(ONE_GPU, "");
    let own = std::process::id();
    let busy = |s: &GpuSnapshot| s.uses_of(own).any(|(_, p)| p.utilization.is_some_and(|u| u.sm > 0.0));
    let snapshot = bench.until("our utilisation", busy);
    let (_, process) = snapshot.uses_of(own).next().expect("we are on the GPU");
    assert_eq!((process.kind, process.used_memory_bytes), (ProcessKind::Compute, Some(500_000)));
    let shares = process.utilization.expect("told");
    for (got, want) in [(shares.sm, 0.7), (shares.memory, 0.25), (shares.encoder, 0.05), (shares.decoder, 0.01)] {
        assert!((got - want).abs() < 1e-9, "got {got}, want {want}");
    }
    let (_, other) = snapshot.uses_of(4242).next().expect("the graphics process");
    assert_eq!((other.kind, other.utilization.map(|u| u.sm)), (ProcessKind::Graphics, Some(0.0)));
}

#[test]
fn a_first_round_does_not_call_a_process_idle() {
    let bench = Bench::with(ONE_GPU, "", |options| options.interval = Duration::from_secs(3600));
    let snapshot = bench.until("a round", |s| s.rounds == 1);
    let (_, process) = snapshot.uses_of(std::process::id()).next().expect("we are on the GPU");
    assert_eq!((process.used_memory_bytes, process.utilization), (Some(500_000), None));
}

/// What drivers have from 510 on.
const NEWER_LISTS: [&str; 3] = [
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
];

#[test]
fn an_older_driver_lists_processes_of_every_kind() {
    let client = r#"{"t":0,"gpu":0,"pid":4343,"memory":77,"kind":"mps"}"#;
    let bench = Bench::with(&format!("{ONE_GPU}{client}"), "", |options| {
        lack(options.lib_path.as_ref().expect("set"), &NEWER_LISTS);
    });
    let own = std::process::id();
    let busy = |s: &GpuSnapshot| s.uses_of(own).any(|(_, p)| p.utilization.is_some_and(|u| u.sm > 0.0));
    let snapshot = bench.until("our utilisation", busy);
    assert_eq!(snapshot.health, NvmlHealth::Ok, "{:?}", snapshot.call_errors);
    let mut listed: Vec<_> =
        snapshot.devices[0].processes.iter().flatten().map(|p| (p.pid, p.kind, p.used_memory_bytes)).collect();
    listed.sort_by_key(|process| process.2);
    let want = [
        (4343, ProcessKind::Mps, Some(77)),
        (4242, ProcessKind::Graphics, Some(1234)),
        (own, ProcessKind::Compute, Some(500_000)),
    ];
    assert_eq!(listed, want);
}

#[test]
fn without_a_list_of_processes_the_rest_is_read() {
    let bench = Bench::with(ONE_GPU, "", |options| {
        let library = options.lib_path.as_ref().expect("set");
        lack(library, &["nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"]);
    });
    let snapshot = bench.until("rounds", |s| s.rounds >= 2);
    assert_eq!(snapshot.health, NvmlHealth::Ok, "{:?}", snapshot.call_errors);
    assert!(snapshot.devices[0].processes.is_none());
    close(snapshot.devices[0].power_watts, 350.0);
}

#[test]
fn utilization_falls_to_zero_when_the_driver_has_no_samples() {
    let script = "{\"t\":0,\"gpu\":0,\"pid\":7,\"sm\":60,\"memory\":1}\n{\"t\":1.0,\"gpu\":0,\"pid\":7,\"sm\":0}";
    let bench = Bench::new(script, "");
    let sm = |s: &GpuSnapshot| s.uses_of(7).next().and_then(|(_, p)| p.utilization).map(|u| u.sm);
    bench.until("work", |s| sm(s).is_some_and(|sm| sm > 0.5));
    bench.until("idleness", |s| sm(s) == Some(0.0));
}

#[test]
fn a_process_that_ends_leaves() {
    let script = "{\"t\":0,\"gpu\":0,\"pid\":7,\"sm\":60,\"memory\":5}\n{\"t\":1.2,\"gpu\":0,\"pid\":7,\"gone\":true}";
    let bench = Bench::new(script, "");
    bench.until("the process", |s| s.uses_of(7).next().is_some());
    let snapshot = bench.until("no process", |s| s.rounds > 3 && s.uses_of(7).next().is_none());
    assert_eq!(snapshot.health, NvmlHealth::Ok);
    assert_eq!(snapshot.devices[0].memory.expect("memory").used_bytes, 0);
    assert!(snapshot.call_errors.is_empty(), "{:?}", snapshot.call_errors);
}

#[test]
fn energy_is_the_integral_of_power() {
    let script = "{\"t\":0,\"gpu\":0,\"mW\":400000}\n{\"t\":0.5,\"gpu\":0,\"mW\":100000}";
    let bench = Bench::new(script, "");
    let start = bench.until("a round", |s| s.rounds >= 1);
    // From 0.5 s on the power is constant: the energy between two rounds is power times time.
    let one = bench.until("later", |s| s.at_ns > start.at_ns + 800_000_000);
    let two = bench.until("later still", |s| s.at_ns > one.at_ns + 1_000_000_000);
    let joules = |s: &GpuSnapshot| s.devices[0].energy_joules.expect("a counter");
    let seconds = (two.devices[0].at_ns - one.devices[0].at_ns) as f64 / 1e9;
    let (got, want) = (joules(&two) - joules(&one), 100.0 * seconds);
    assert!((got - want).abs() < 0.1 * want, "got {got} J, want {want} J");
    assert!(joules(&one) > 200.0, "0.5 s at 400 W come first, got {}", joules(&one));
}

#[test]
fn xid_events_are_counted() {
    let script = "{\"t\":1.5,\"gpu\":0,\"xid\":31}\n{\"t\":1.6,\"gpu\":0,\"xid\":79}";
    let bench = Bench::new(script, "");
    let snapshot = bench.until("two events", |s| s.devices.first().is_some_and(|d| d.xid_count == Some(2)));
    assert_eq!(snapshot.devices[0].xid_last, Some(79));
}

#[test]
fn mig_devices_have_ids_and_memory_and_no_process_utilization() {
    let script = r#"
{"gpu":0,"uuid":"GPU-fa4e0000-0","mig":[{"gi":1,"ci":0,"memory_total":1000},{"gi":5,"ci":0,"memory_total":2000}]}
{"gpu":0,"unsupported":["nvmlDeviceGetUtilizationRates"]}
{"t":0,"gpu":0,"mW":1000,"gpm":{"2":50}}
{"t":0,"gpu":0,"pid":7,"memory":600,"gi":5,"ci":0,"sm":50}
"#;
    let bench = Bench::new(script, "");
    let told = |s: &GpuSnapshot| s.devices.first().is_some_and(|d| d.mig.len() == 2 && d.mig[1].gpm.is_some());
    let snapshot = bench.until("MIG with GPM", told);
    assert_eq!(snapshot.health, NvmlHealth::Ok, "{:?}", snapshot.call_errors);
    let gpu = &snapshot.devices[0];
    assert_eq!((gpu.mig_enabled, gpu.utilization_gpu, gpu.gpm), (Some(true), None, None));
    let ids: Vec<_> = gpu.mig.iter().map(|mig| (mig.gi, mig.ci, mig.uuid.as_str())).collect();
    assert_eq!(ids, [(Some(1), Some(0), "MIG-fa4e0000-0"), (Some(5), Some(0), "MIG-fa4e0001-0")]);
    assert_eq!(gpu.mig[1].memory.expect("memory").used_bytes, 600);
    close(gpu.mig[1].gpm.expect("gpm").sm_activity, 0.5);
    let (_, process) = snapshot.uses_of(7).next().expect("the process");
    assert_eq!((process.gi, process.ci, process.utilization), (Some(5), Some(0), None));
}
