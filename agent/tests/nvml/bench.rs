//! A copy of the fake library with a script, and a poller on it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use agent::poll::nvml::{self, GpuSnapshot, NvmlHandle, NvmlOptions};
use memchr::memmem;
use tempfile::TempDir;

pub const MS: fn(u64) -> Duration = Duration::from_millis;

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
pub struct Bench {
    pub folder: TempDir,
    pub poller: NvmlHandle,
}

impl Bench {
    pub fn new(script: &str, faults: &str) -> Bench {
        Bench::with(script, faults, |_| {})
    }

    pub fn with(script: &str, faults: &str, change: impl FnOnce(&mut NvmlOptions)) -> Bench {
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

    pub fn faults(&self, text: &str) {
        // Replaced in one step: the library reads the file at every call.
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).expect("control");
        std::fs::rename(&new, self.folder.path().join("fake-nvml.control")).expect("rename");
    }

    /// The first snapshot that `wanted` accepts.
    pub fn until(&self, what: &str, wanted: impl Fn(&GpuSnapshot) -> bool) -> Arc<GpuSnapshot> {
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

/// Takes calls out of a library, as of a driver that is older than they are: in its tables each has another name.
pub fn lack(library: &Path, calls: &[&str]) {
    let mut bytes = std::fs::read(library).expect("library");
    for call in calls {
        let name = format!("\0{call}\0");
        let places: Vec<usize> = memmem::find_iter(&bytes, &name).collect();
        assert!(!places.is_empty(), "{call} is not in the library's tables");
        for place in places {
            bytes[place + call.len()] = b'?';
        }
    }
    std::fs::write(library, bytes).expect("library");
}

pub fn close(got: Option<f64>, want: f64) {
    let got = got.expect("a value");
    assert!((got - want).abs() <= 1e-9 * want.abs(), "got {got}, want {want}");
}

pub const ONE_GPU: &str = r#"
{"gpu":0,"name":"Test GPU","uuid":"GPU-1","bus_id":"00000000:3B:00.0","memory_total":1000000,"memory_reserved":1000}
{"t":0,"gpu":0,"util":80,"mem_util":30,"mW":350000,"temp":61,"sm_clock":1980,"mem_clock":2619,"throttle":4}
{"t":0,"gpu":0,"pcie_tx":100,"pcie_rx":200,"ecc_corrected":3,"ecc_uncorrected":1}
{"t":0,"gpu":0,"gpm":{"2":55.5,"3":20,"5":12.5,"10":40,"20":2,"21":3}}
{"t":0,"gpu":0,"pid":"self","sm":70,"mem":25,"enc":5,"dec":1,"memory":500000}
{"t":0,"gpu":0,"pid":4242,"sm":0,"memory":1234,"kind":"graphics"}
"#;
