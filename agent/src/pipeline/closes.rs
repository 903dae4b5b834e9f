//! Closes that no call told of: close_range(2), a close while another thread was inside a call on the same file, a lost
//! record. Requests in flight there would count as active for as long as connections are kept.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use super::{Pipeline, finish};
use crate::discover::open_sockets;

/// A request in flight on a connection that has been still for so long is worth a look at its process.
const STILL_NS: u64 = 10_000_000_000;

impl Pipeline {
    /// Ends what is in flight on connections that none of their service's processes has open. Reads /proc only for
    /// services that have a request in flight on a still connection.
    pub(super) fn end_unseen_closes(&mut self, now: u64) {
        let mut open: BTreeMap<u32, Option<HashSet<u64>>> = BTreeMap::new();
        for (socket, service) in self.sessions.still(now, STILL_NS) {
            let processes = self.registry.processes(service);
            let open = open.entry(service).or_insert_with(|| all_open(&processes));
            if open.as_ref().is_some_and(|open| !open.contains(&socket)) {
                let Self { sessions, registry, judging, sinks, live, .. } = self;
                sessions.closed_unseen(socket, &mut |exchange| finish(registry, judging, sinks, live, exchange));
            }
        }
    }
}

/// Sockets that any of the processes has open; None if that is not known of all of them.
fn all_open(processes: &[u32]) -> Option<HashSet<u64>> {
    let mut all = HashSet::new();
    for pid in processes {
        all.extend(open_sockets(Path::new("/proc"), *pid)?);
    }
    (!processes.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_of_no_process_and_of_one_that_is_not_there() {
        let me = std::process::id();
        assert!(all_open(&[me]).is_some());
        assert_eq!(all_open(&[]), None);
        assert_eq!(all_open(&[me, u32::MAX - 7]), None);
    }
}
