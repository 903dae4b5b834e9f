//! Major page faults, from the kernel's own software event; period 1, so it runs once per major fault and never else.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::perf_event, programs::PerfEventContext};

use crate::{state, watch};

// PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS_MAJ
#[perf_event]
pub fn fault_major(_ctx: PerfEventContext) -> u32 {
    let mark = watch::mark((bpf_get_current_pid_tgid() >> 32) as u32);
    if let Some(sums) = watch::sums(mark) {
        // SAFETY: map values.
        unsafe {
            state::add(&raw mut (*sums.process).counters.major_faults, 1);
            state::add(&raw mut (*sums.service).major_faults, 1);
        }
    }
    0
}
