//! Where the library lies on disk: its script and control file may lie beside it, so that a copy has its own.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The file `name` in the folder of this shared object, if the folder can be told.
pub fn beside(name: &str) -> Option<PathBuf> {
    static ANCHOR: u8 = 0;
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr only compares the address with the loaded objects and fills `info` when it returns non-zero.
    let found = unsafe { libc::dladdr((&raw const ANCHOR).cast(), info.as_mut_ptr()) };
    if found == 0 {
        return None;
    }
    // SAFETY: dladdr succeeded; dli_fname is a NUL-terminated string that lives as long as this object is loaded.
    let path = unsafe { CStr::from_ptr(info.assume_init().dli_fname) };
    let folder = PathBuf::from(OsStr::from_bytes(path.to_bytes())).parent()?.to_path_buf();
    Some(folder.join(name))
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to fill.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
