//! How a program stands in the scheduler's eyes, and that it ends with who started it.

use anyhow::{Result, bail};
use std::io::Error;

/// This thread, and those that it starts from here on, go before all ordinary ones: SCHED_FIFO, or where the kernel gives
/// it no real-time, the least nice value. Says which.
pub fn first_in_line() -> Result<&'static str> {
    let parameter = libc::sched_param { sched_priority: 1 };
    // SAFETY: one valid parameter block.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) } == 0 {
        return Ok("fifo");
    }
    // SAFETY: integers only.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) } == 0 {
        return Ok("nice -20");
    }
    bail!("neither real-time nor nice -20 for this program: {}", Error::last_os_error());
}

/// This thread, and those that it starts from here on, are as important as any, even where they were started as less.
pub fn ordinary() -> Result<&'static str> {
    // SAFETY: integers only.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) } != 0 {
        bail!("no nice value of 0 for this program: {}", Error::last_os_error());
    }
    Ok("ordinary")
}

/// The kernel kills this process when the thread that started it ends.
pub fn die_with_parent() -> Result<()> {
    // SAFETY: integers only.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } != 0 {
        bail!("prctl: {}", Error::last_os_error());
    }
    Ok(())
}
