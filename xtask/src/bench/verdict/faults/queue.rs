//! Eight times as many requests as the server works on at once.

use super::{InTheLoad, Kind, anywhere, same};
use crate::bench::verdict::load::Load;

const TIMES: usize = 8;

pub const QUEUE: Kind = Kind {
    name: "8 times too many requests",
    expected: "queueing",
    missing: anywhere,
    fault: || Box::new(InTheLoad),
    quiet: same,
    faulty: |rig, load| Load { at_a_time: rig.engine.takes() * TIMES, ..load },
};
