//! Gives back the rights that only the start needed. Capabilities belong to threads, so this is called by every thread
//! that is there when the programs are loaded, and inherited by those that are started later. Takes nothing back up.
#![forbid(unsafe_code)]

use rustix::{
    io::{Errno, Result},
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};

/// What the kernel asks for of who hangs a probe into a program, however it is done with perf events; of the one thread that
/// does it while the agent runs.
pub const PROBES: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::PERFMON);

/// What a running agent still needs. `kernel`: major and minor number. `gpus`: figures of GPUs are read.
pub fn needed(kernel: (u32, u32), gpus: bool) -> CapabilitySet {
    // Other users' processes, and the files that tell an engine's version and model.
    let mut needed = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    if gpus {
        // NVIDIA's driver asks for it where profiling is the administrator's.
        needed |= CapabilitySet::PERFMON;
    }
    // Before 5.19, who may not load programs may not use maps either whose descriptors it holds.
    if kernel < (5, 19) {
        needed |= CapabilitySet::BPF;
    }
    if kernel < (5, 8) {
        needed |= CapabilitySet::SYS_ADMIN;
    }
    needed
}

/// Leaves the calling thread those of KEPT that it has: in effect, permitted and to be had by any program; none is
/// handed to a program that is started. The process gets no right from a file and cannot be looked into by its equals.
///
/// Errors: the kernel refuses; what was done by then stays done.
pub fn drop_to(kept: CapabilitySet) -> Result<()> {
    let has = capabilities(None)?;
    let kept = has.permitted & kept;
    // It takes a capability to do without others: without it they are out of reach too, once no file can give them.
    for (_, capability) in CapabilitySet::all().difference(kept).iter_names() {
        match capability_is_in_bounding_set(capability) {
            Ok(true) if has.effective.contains(CapabilitySet::SETPCAP) => {
                remove_capability_from_bounding_set(capability)?;
            }
            // A kernel that does not know it.
            Ok(_) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// The kernel's names of the capabilities in SET.
pub fn names(set: CapabilitySet) -> String {
    set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_agent_loads_nothing_more() {
        assert_eq!(names(needed((6, 1), false)), "CAP_DAC_READ_SEARCH CAP_SYS_PTRACE");
        assert_eq!(names(needed((6, 1), true)), "CAP_DAC_READ_SEARCH CAP_SYS_PTRACE CAP_PERFMON");
        assert!(needed((5, 10), false).contains(CapabilitySet::BPF));
        assert!(needed((5, 4), false).contains(CapabilitySet::SYS_ADMIN));
    }

    #[test]
    fn a_thread_has_no_more_than_it_keeps() {
        // In a thread of its own: rights do not come back.
        let thread = std::thread::spawn(|| {
            let before = capabilities(None).unwrap().permitted;
            drop_to(CapabilitySet::SYS_PTRACE | CapabilitySet::KILL).unwrap();
            let after = capabilities(None).unwrap();
            let wanted = before & (CapabilitySet::SYS_PTRACE | CapabilitySet::KILL);
            assert_eq!((after.effective, after.permitted), (wanted, wanted));
            assert!(after.inheritable.is_empty());
        });
        thread.join().unwrap();
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    }
}
