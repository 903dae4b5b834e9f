//! The NVML poller against the fake library: figures equal the script, and every fault is reported while the rest goes on.
//! Each test copies the library into a folder of its own, so that it has its own timeline, script and faults.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use agent::poll::nvml::{self, DeviceState, GpuSnapshot, NvmlHandle, NvmlHealth, NvmlOptions, ProcessKind};
use tempfile::TempDir;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// The fake library of this build, built on first use.
fn fake_library() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        // This program is target/<profile>/deps/nvml-<hash>.
        let exe = std::env::current_exe().expect("own path");
        let profile = exe.ancestors().nth(2).expect("target/<profile>/deps").to_path_buf();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "-p", "fake-nvml"]);
        build.arg("--target-dir").arg(profile.parent().expect("target"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let library = profile.join("libfake_nvml.so");
        // Where there is no cargo, as on a test machine that was handed the programs, the library came with them.
        let fresh = build.status().is_ok_and(|status| status.success());
        assert!(fresh || library.exists(), "cargo build -p fake-nvml failed");
        library
    })
}

/// A copy of the fake with a script, and a poller on it.
struct Bench {
    folder: TempDir,
    poller: NvmlHandle,
}

impl Bench {
    fn new(script: &str, faults: &str) -> Bench {
        Bench::with(script, faults, |_| {})
    }

    fn with(script: &str, faults: &str, change: impl FnOnce(&mut NvmlOptions)) -> Bench {
        let folder = tempfile::tempdir().expect("temporary folder");
        let library = folder.path().join("libnvidia-ml.so.1");
        std::fs::copy(fake_library(), &library).expect("copy");
        std::fs::write(folder.path().join("fake-nvml.jsonl"), script).expect("script");
        std::fs::write(folder.path().join("fake-nvml.control"), faults).expect("control");
        let mut options = NvmlOptions {
            lib_path: Some(library),
            interval: MS(120),
            deadline: MS(400),
            slow_interval: MS(300),
            retry_interval: MS(400),
            unsupported_interval: Duration::from_secs(60),
        };
        change(&mut options);
        Bench { poller: nvml::spawn(options), folder }
    }

    fn faults(&self, text: &str) {
        // Replaced in one step: the library reads the file at every call.
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).expect("control");
        std::fs::rename(&new, self.folder.path().join("fake-nvml.control")).expect("rename");
    }

    /// The first snapshot that `wanted` accepts.
    fn until(&self, what: &str, wanted: impl Fn(&GpuSnapshot) -> bool) -> Arc<GpuSnapshot> {
        let start = Instant::now();
        loop {
            let snapshot = self.poller.snapshot();
            if wanted(&snapshot) {
                return snapshot;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "no snapshot with {what}; last: {snapshot:#?}");
            std::thread::sleep(MS(10));
        }
    }
}

fn close(got: Option<f64>, want: f64) {
    let got = got.expect("a value");
    assert!((got - want).abs() <= 1e-9 * want.abs(), "got {got}, want {want}");
}

fn absent_reason(snapshot: &GpuSnapshot) -> Option<&str> {
    match &snapshot.health {
        NvmlHealth::Absent { reason } => Some(reason),
        _ => None,
    }
}

const ONE_GPU: &str = r#"
{"gpu":0,"name":"Test GPU","uuid":"GPU-1","bus_id":"00000000:3B:00.0","memory_total":1000000,"memory_reserved":1000}
{"t":0,"gpu":0,"util":80,"mem_util":30,"mW":350000,"temp":61,"sm_clock":1980,"mem_clock":2619,"throttle":4}
{"t":0,"gpu":0,"pcie_tx":100,"pcie_rx":200,"ecc_corrected":3,"ecc_uncorrected":1}
{"t":0,"gpu":0,"gpm":{"2":55.5,"3":20,"5":12.5,"10":40,"20":2,"21":3}}
{"t":0,"gpu":0,"pid":"self","sm":70,"mem":25,"enc":5,"dec":1,"memory":500000}
{"t":0,"gpu":0,"pid":4242,"sm":0,"memory":1234,"kind":"graphics"}
"#;

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
fn utilization_falls_to_zero_when_the_driver_has_no_samples() {
    let script = "{\"t\":0,\"gpu\":0,\"pid\":7,\"sm\":60,\"memory\":1}\n{\"t\":0.5,\"gpu\":0,\"pid\":7,\"sm\":0}";
    let bench = Bench::new(script, "");
    let sm = |s: &GpuSnapshot| s.uses_of(7).next().and_then(|(_, p)| p.utilization).map(|u| u.sm);
    bench.until("work", |s| sm(s).is_some_and(|sm| sm > 0.5));
    bench.until("idleness", |s| sm(s) == Some(0.0));
}

#[test]
fn a_process_that_ends_leaves() {
    let script = "{\"t\":0,\"gpu\":0,\"pid\":7,\"sm\":60,\"memory\":5}\n{\"t\":0.6,\"gpu\":0,\"pid\":7,\"gone\":true}";
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
    assert!((got - want).abs() < 0.05 * want, "got {got} J, want {want} J");
    assert!(joules(&one) > 200.0, "0.5 s at 400 W come first, got {}", joules(&one));
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
    let snapshot = bench.until("absence", |s| absent_reason(s).is_some());
    let reason = absent_reason(&snapshot).expect("just seen");
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
{"t":0.8,"gpu":0,"lost":true}
{"t":2.5,"gpu":0,"lost":false}
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
fn xid_events_are_counted() {
    let script = "{\"t\":0.7,\"gpu\":0,\"xid\":31}\n{\"t\":0.8,\"gpu\":0,\"xid\":79}";
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
    std::thread::sleep(MS(700));
    bench.faults("");
    let snapshot = bench.until("the late round", |s| s.call_errors.contains_key(&("round", "deadline")));
    assert!(snapshot.rounds > before.rounds);
    close(snapshot.devices[0].utilization_gpu, 0.1);
    bench.until("recovery", |s| s.health == NvmlHealth::Ok);
}
