//! Libraries that are missing, calls that hang or fail, GPUs that go: each is told, and costs no more than it must.

use std::time::{Duration, Instant};

use agent::poll::nvml::{DeviceState, GpuSnapshot, NvmlHealth};

use crate::bench::{Bench, MS, ONE_GPU, close};

fn absent_reason(snapshot: &GpuSnapshot) -> Option<&str> {
    match &snapshot.health {
        NvmlHealth::Absent { reason } => Some(reason),
        _ => None,
    }
}

#[test]
fn a_missing_library_is_absent_and_found_later() {
    let bench = Bench::with(ONE_GPU, "", |options| {
        let path = options.lib_path.as_mut().expect("set");
        std::fs::rename(&*path, path.with_extension("away")).expect("rename");
    });
    let snapshot = bench.until("absence", |s| absent_reason(s).is_some());
    let reason = absent_reason(&snapshot).expect("just seen");
    assert!(reason.contains("libnvidia-ml.so.1 cannot be loaded"), "{reason}");
    assert!(snapshot.devices.is_empty());
    let library = bench.folder.path().join("libnvidia-ml.so.1");
    std::fs::rename(library.with_extension("away"), library).expect("rename");
    bench.until("the library", |s| s.health == NvmlHealth::Ok);
}

#[test]
fn a_driver_that_is_not_loaded_is_absent() {
    let bench = Bench::new(ONE_GPU, "fail=nvmlInit_v2=DRIVER_NOT_LOADED");
    let snapshot = bench.poller.first(Duration::from_secs(10));
    let reason = absent_reason(&snapshot).expect("the first news is bad");
    assert!(reason.contains("kernel driver is not loaded"), "{reason}");
}

#[test]
fn a_hung_call_stalls_nobody_and_recovers() {
    let bench = Bench::new(ONE_GPU, "");
    bench.until("a round", |s| s.rounds >= 2);
    bench.faults("hang=nvmlDeviceGetPowerUsage");
    let hung = bench.until("a hang", |s| matches!(s.health, NvmlHealth::Hung { call: "nvmlDeviceGetPowerUsage", .. }));
    close(hung.devices[0].power_watts, 350.0);
    std::thread::sleep(MS(300));
    let start = Instant::now();
    let again = bench.poller.snapshot();
    assert!(start.elapsed() < MS(50), "a reader waited for the driver");
    assert_eq!((again.rounds, again.at_ns), (hung.rounds, hung.at_ns), "the values keep their time");
    assert!(again.age(Instant::now()).expect("an age") > MS(300));
    bench.faults("");
    bench.until("recovery", |s| s.health == NvmlHealth::Ok && s.rounds > hung.rounds);
}

#[test]
fn dropping_does_not_wait_for_a_hung_call() {
    let bench = Bench::new(ONE_GPU, "");
    bench.until("a round", |s| s.rounds >= 1);
    bench.faults("hang=nvmlDeviceGetUtilizationRates");
    bench.until("a hang", |s| matches!(s.health, NvmlHealth::Hung { .. }));
    let Bench { folder, poller } = bench;
    let start = Instant::now();
    drop(poller);
    assert!(start.elapsed() < Duration::from_secs(1));
    // Lets the thread go before its library's folder goes.
    std::fs::write(folder.path().join("fake-nvml.control"), "").expect("control");
    std::thread::sleep(MS(100));
}

#[test]
fn a_hang_while_loading_is_told() {
    let bench = Bench::with(ONE_GPU, "hang=nvmlInit_v2", |options| options.deadline = MS(30));
    bench.until("a hang", |s| matches!(s.health, NvmlHealth::Hung { call: "nvmlInit_v2", .. }));
    bench.faults("");
    bench.until("recovery", |s| s.rounds >= 1 && !matches!(s.health, NvmlHealth::Hung { .. }));
}

#[test]
fn a_call_that_fails_half_way_costs_only_its_own_value() {
    let bench = Bench::new(ONE_GPU, "");
    bench.until("a round", |s| s.rounds >= 2);
    bench.faults("fail=nvmlDeviceGetTemperature=UNKNOWN");
    let snapshot = bench.until("a failure", |s| matches!(s.health, NvmlHealth::Failing { .. }));
    assert!(matches!(snapshot.health, NvmlHealth::Failing { call: "nvmlDeviceGetTemperature", .. }));
    assert_eq!(snapshot.devices[0].temperature_celsius, None);
    close(snapshot.devices[0].power_watts, 350.0);
    close(snapshot.devices[0].sm_clock_hertz, 1.98e9);
    assert!(snapshot.call_errors[&("nvmlDeviceGetTemperature", "unknown")] >= 1);
    bench.faults("");
    bench.until("recovery", |s| s.health == NvmlHealth::Ok && s.devices[0].temperature_celsius.is_some());
}

#[test]
fn an_unsupported_call_is_not_a_failure() {
    let unsupported = r#"{"gpu":0,"gpm_support":false,"unsupported":["nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetProcessUtilization","nvmlDeviceGetMemoryInfo_v2"]}"#;
    let bench = Bench::new(&format!("{ONE_GPU}{}", unsupported.replace('\n', "")), "");
    let snapshot = bench.until("rounds", |s| s.rounds >= 3);
    assert_eq!(snapshot.health, NvmlHealth::Ok);
    let gpu = &snapshot.devices[0];
    assert_eq!((gpu.energy_joules, gpu.gpm), (None, None));
    assert!(gpu.processes.as_ref().expect("the list").iter().all(|process| process.utilization.is_none()));
    assert_eq!(gpu.memory.expect("by version 1").used_bytes, 502_234, "version 1 counts the reserve as used");
    close(gpu.pcie_tx_bytes_per_second, 100.0 * 1024.0);
    close(gpu.pcie_rx_bytes_per_second, 200.0 * 1024.0);
}

#[test]
fn a_lost_gpu_leaves_the_others_and_may_come_back() {
    let script = r#"
{"gpu":0,"uuid":"GPU-a"}
{"gpu":1,"uuid":"GPU-b"}
{"t":0,"gpu":0,"util":10}
{"t":0,"gpu":1,"util":20}
{"t":1.2,"gpu":0,"lost":true}
{"t":3.5,"gpu":0,"lost":false}
"#;
    let bench = Bench::new(script, "");
    let all_well = |s: &GpuSnapshot| s.devices.len() == 2 && s.devices.iter().all(|d| d.state == DeviceState::Ok);
    bench.until("both", all_well);
    let snapshot = bench.until("a loss", |s| s.devices.first().is_some_and(|d| d.state != DeviceState::Ok));
    assert_eq!((snapshot.devices[0].uuid.as_str(), snapshot.devices[0].utilization_gpu), ("GPU-a", None));
    let counted = snapshot.call_errors.keys().any(|(_, error)| *error == "gpu_lost");
    assert!(counted, "{:?}", snapshot.call_errors);
    let snapshot = bench.until("the other still read", |s| s.rounds > snapshot.rounds + 4);
    close(snapshot.devices[1].utilization_gpu, 0.2);
    assert_eq!(snapshot.devices[0].uuid, "GPU-a", "still known by name");
    let snapshot = bench.until("its return", all_well);
    close(snapshot.devices[0].utilization_gpu, 0.1);
}

#[test]
fn a_driver_reload_is_survived() {
    let bench = Bench::new(ONE_GPU, "");
    bench.until("a round", |s| s.rounds >= 1);
    bench.faults("fail=nvmlDeviceGetCount_v2=UNINITIALIZED");
    bench.until("absence", |s| absent_reason(s).is_some());
    bench.faults("");
    bench.until("recovery", |s| s.health == NvmlHealth::Ok && s.devices.len() == 1);
}

#[test]
fn a_round_out_of_time_keeps_the_readings_before() {
    let script = "{\"gpu\":0,\"gpm_support\":false}\n{\"t\":0,\"gpu\":0,\"util\":10}";
    let bench = Bench::new(script, "");
    let before = bench.until("a round", |s| s.rounds >= 1);
    bench.faults("hang=nvmlDeviceGetMemoryInfo_v2");
    // A call that counts as hung has taken all the time of its round.
    let hung = |s: &GpuSnapshot| matches!(s.health, NvmlHealth::Hung { call: "nvmlDeviceGetMemoryInfo_v2", .. });
    bench.until("a hang", hung);
    bench.faults("");
    let snapshot = bench.until("the late round", |s| s.call_errors.contains_key(&("round", "deadline")));
    assert!(snapshot.rounds > before.rounds);
    close(snapshot.devices[0].utilization_gpu, 0.1);
    bench.until("recovery", |s| s.health == NvmlHealth::Ok);
}

/// Every call that the poller makes in a round or at its start, for sweeps.
const CALLS: [&str; 29] = [
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetNVMLVersion",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetName",
    "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetMigMode",
    "nvmlGpmQueryDeviceSupport",
    "nvmlGpmSampleAlloc",
    "nvmlGpmSampleGet",
    "nvmlGpmMetricsGet",
    "nvmlDeviceGetSupportedEventTypes",
    "nvmlEventSetCreate",
    "nvmlDeviceRegisterEvents",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    "nvmlDeviceGetProcessUtilization",
];

/// With every call failing from the start with every kind of error, the poller says something, lives, and recovers.
#[test]
fn no_failure_of_any_call_ends_the_poller() {
    for error in ["UNKNOWN", "NOT_SUPPORTED", "NOT_FOUND", "INSUFFICIENT_SIZE", "GPU_IS_LOST", "UNINITIALIZED", "77"] {
        let benches = CALLS.map(|call| {
            (
                call,
                Bench::with(ONE_GPU, &format!("fail={call}={error}"), |options| {
                    options.interval = MS(30);
                    options.retry_interval = MS(200);
                    options.unsupported_interval = MS(200);
                    options.slow_interval = MS(200);
                }),
            )
        });
        for (call, bench) in &benches {
            let what = format!("news while {call} answers {error}");
            bench.until(&what, |s| s.rounds >= 2 || absent_reason(s).is_some());
            bench.faults("");
        }
        for (call, bench) in &benches {
            bench.until(&format!("recovery from {call}={error}"), |s| {
                s.health == NvmlHealth::Ok
                    && s.devices.len() == 1
                    && s.devices[0].uuid == "GPU-1"
                    && s.devices[0].utilization_gpu.is_some()
            });
        }
    }
}

/// Every call, hanging once: told by its name, and over when it is over.
#[test]
fn a_hang_of_any_call_is_told_by_name() {
    let benches = CALLS.map(|call| {
        (
            call,
            Bench::with(ONE_GPU, &format!("hang={call}"), |options| {
                options.interval = MS(30);
                options.deadline = MS(150);
            }),
        )
    });
    for (call, bench) in &benches {
        // These two are made inside of another call of the wrapper, and told by its name.
        let name = match *call {
            "nvmlSystemGetDriverVersion" => "nvmlInit_v2",
            "nvmlGpmSampleAlloc" => "nvmlGpmSampleGet",
            call => call,
        };
        let told = |s: &GpuSnapshot| matches!(s.health, NvmlHealth::Hung { call, .. } if call == name);
        bench.until(&format!("a hang in {call}"), told);
        bench.faults("");
    }
    for (call, bench) in &benches {
        bench.until(&format!("recovery from a hang in {call}"), |s| s.rounds >= 2 && s.health == NvmlHealth::Ok);
    }
}
