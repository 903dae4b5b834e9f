//! What every live test begins with: one at a time, as root, and a skip that says why where that cannot be.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Leave to run, or None after a line `SKIPPED name: reason` on standard error. Timing tests on few cores disturb
/// each other, so the guard must live as long as the test.
#[must_use]
pub fn begin(name: &str) -> Option<MutexGuard<'static, ()>> {
    if let Some(why) = missing() {
        skip(name, why);
        return None;
    }
    Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Says that a test did not run. Past the test harness' capture, so that a counting caller sees it.
pub fn skip(name: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}

fn missing() -> Option<&'static str> {
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Some("live tests need root");
    }
    None
}
