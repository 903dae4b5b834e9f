//! Keeps what passes through the agent's memory out of core dumps: nobody gets one, whichever way it would be written.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump of this process, and no look into its memory without the right to trace any process. A dump that goes
/// to a program (systemd-coredump) does not heed the limit, but heeds this.
pub fn forbid_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps of the agent cannot be turned off: one can hold what was in flight");
    }
    // Cannot fail: anyone may lower it.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}
