//! Clients that read a few bytes at a time of large streams, with little room in the kernel: the server has to wait.

use super::{InTheLoad, Kind, anywhere};
use crate::bench::verdict::load::Load;

pub const SLOW_CLIENT: Kind = Kind {
    name: "client that reads slowly",
    expected: "client_slow",
    missing: anywhere,
    fault: || Box::new(InTheLoad),
    quiet: |rig, load| Load { large: Some(rig.large()), at_a_time: load.at_a_time.min(2), ..load },
    faulty: |_, load| Load { slowly: true, ..load },
};
