//! Finds and initialises libnvidia-ml: the configured file and no other, or the linker's search and then where containers put it.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::PathBuf;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

const NAME: &str = "libnvidia-ml.so.1";

/// Where driver containers, GKE and device plug-ins mount the library.
const CONTAINER_FOLDERS: [&str; 7] = [
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
    "/run/nvidia/driver/usr/lib/aarch64-linux-gnu",
    "/run/nvidia/driver/usr/lib64",
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/home/kubernetes/bin/nvidia/lib64",
    "/home/kubernetes/bin/nvidia",
];

/// Loads and initialises the library; also says which file it was. Errors: in words for the user, naming every place tried.
pub(super) fn open(configured: Option<&PathBuf>) -> Result<(Nvml, PathBuf), String> {
    let candidates = match configured {
        Some(path) => vec![path.clone()],
        None => {
            let mounted = CONTAINER_FOLDERS.iter().map(|folder| PathBuf::from(folder).join(NAME));
            std::iter::once(PathBuf::from(NAME)).chain(mounted.filter(|path| path.exists())).collect()
        }
    };
    let mut reasons = Vec::new();
    for path in candidates {
        match Nvml::builder().lib_path(path.as_os_str()).init() {
            Ok(nvml) => return Ok((nvml, path)),
            Err(error) => reasons.push(explain(path.as_os_str(), &error)),
        }
    }
    Err(reasons.join("; "))
}

fn explain(path: &OsStr, error: &NvmlError) -> String {
    let path = path.to_string_lossy();
    match error {
        NvmlError::LibloadingError(error) => format!("{path} cannot be loaded: {error}"),
        NvmlError::DriverNotLoaded => format!("{path}: the NVIDIA kernel driver is not loaded"),
        NvmlError::LibRmVersionMismatch => {
            format!("{path}: its version differs from the loaded kernel driver's; reboot or reload the driver")
        }
        NvmlError::NoPermission => format!("{path}: no permission to open /dev/nvidiactl; run as root"),
        error => format!("{path} does not initialise: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named() {
        let path = PathBuf::from("/nonexistent/libnvidia-ml.so.1");
        let reason = open(Some(&path)).expect_err("nothing there");
        assert!(reason.contains("/nonexistent/libnvidia-ml.so.1 cannot be loaded"), "{reason}");
    }
}
