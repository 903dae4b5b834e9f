//! Fault injection: which call fails or hangs now. Reads the environment and the control file at every call.

use std::path::PathBuf;
use std::time::Duration;

use nvml_wrapper_sys::bindings::*;

use crate::place;

/// What is injected at present.
#[derive(Debug, Default, Clone)]
pub struct Faults {
    fail: Vec<(String, nvmlReturn_t, Option<usize>)>,
    hang: Vec<(String, f64)>,
    pub epoch_ns: Option<u64>,
}

impl Faults {
    /// The faults in force: the control file's where it names a kind, the environment's otherwise.
    pub fn now() -> Faults {
        let control = control_path().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let from_file = |key: &str| {
            control.lines().rev().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
        };
        let either = |key: &str, variable: &str| from_file(key).or_else(|| std::env::var(variable).ok());
        Faults::parse(
            &either("fail", "FAKE_NVML_FAIL").unwrap_or_default(),
            &either("hang", "FAKE_NVML_HANG").unwrap_or_default(),
            from_file("epoch_ns").and_then(|text| text.trim().parse().ok()),
        )
    }

    fn parse(fail: &str, hang: &str, epoch_ns: Option<u64>) -> Faults {
        let words = |text: &str| text.split(',').map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect();
        let fail: Vec<String> = words(fail);
        let hang: Vec<String> = words(hang);
        Faults {
            fail: fail.iter().filter_map(|word| parse_failure(word)).collect(),
            hang: hang
                .iter()
                .map(|word| match word.split_once(':') {
                    Some((call, after)) => (call.to_owned(), after.parse().unwrap_or(0.0)),
                    None => (word.clone(), 0.0),
                })
                .collect(),
            epoch_ns,
        }
    }

    /// The error that `call` on `gpu` shall answer, if any.
    pub fn failure(&self, call: &str, gpu: Option<usize>) -> Option<nvmlReturn_t> {
        let hit = |on: &Option<usize>| on.is_none() || *on == gpu;
        self.fail.iter().find(|(name, _, on)| name == call && hit(on)).map(|(_, code, _)| *code)
    }

    fn hangs(&self, call: &str, t: f64) -> bool {
        self.hang.iter().any(|(name, after)| name == call && t >= *after)
    }
}

/// Blocks for as long as `call` is to hang. `seconds` says how far the timeline is.
pub fn wait_out_hang(call: &str, seconds: impl Fn() -> f64) {
    while Faults::now().hangs(call, seconds()) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn control_path() -> Option<PathBuf> {
    std::env::var_os("FAKE_NVML_CONTROL").map(PathBuf::from).or_else(|| place::beside("fake-nvml.control"))
}

fn parse_failure(word: &str) -> Option<(String, nvmlReturn_t, Option<usize>)> {
    let (call, error) = word.split_once('=')?;
    let (error, gpu) = match error.split_once('@') {
        Some((error, gpu)) => (error, Some(gpu.parse().ok()?)),
        None => (error, None),
    };
    let code = error.parse().ok().or_else(|| code_of(error));
    if code.is_none() {
        eprintln!("fake-nvml: {word}: no such NVML error");
    }
    Some((call.to_owned(), code?, gpu))
}

fn code_of(name: &str) -> Option<nvmlReturn_t> {
    Some(match name.to_ascii_uppercase().as_str() {
        "UNINITIALIZED" => nvmlReturn_enum_NVML_ERROR_UNINITIALIZED,
        "INVALID_ARGUMENT" => nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT,
        "NOT_SUPPORTED" => nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED,
        "NO_PERMISSION" => nvmlReturn_enum_NVML_ERROR_NO_PERMISSION,
        "NOT_FOUND" => nvmlReturn_enum_NVML_ERROR_NOT_FOUND,
        "INSUFFICIENT_SIZE" => nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE,
        "DRIVER_NOT_LOADED" => nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED,
        "TIMEOUT" => nvmlReturn_enum_NVML_ERROR_TIMEOUT,
        "FUNCTION_NOT_FOUND" => nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND,
        "GPU_IS_LOST" => nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST,
        "RESET_REQUIRED" => nvmlReturn_enum_NVML_ERROR_RESET_REQUIRED,
        "LIB_RM_VERSION_MISMATCH" => nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH,
        "NO_DATA" => nvmlReturn_enum_NVML_ERROR_NO_DATA,
        "UNKNOWN" => nvmlReturn_enum_NVML_ERROR_UNKNOWN,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_call_error_and_gpu() {
        let faults = Faults::parse("a=GPU_IS_LOST@1, b=999,c=nonsense", "d:2.5,e", None);
        assert_eq!(faults.failure("a", Some(1)), Some(15));
        assert_eq!(faults.failure("a", Some(0)), None);
        assert_eq!(faults.failure("b", None), Some(999));
        assert_eq!(faults.failure("c", None), None);
        assert!(!faults.hangs("d", 2.0) && faults.hangs("d", 3.0) && faults.hangs("e", 0.0));
    }
}
