//! Eight times as many requests as the server works on at once.

use super::{InTheLoad, Kind, anywhere};
use crate::bench::verdict::load::Load;

const TIMES: usize = 8;
/// Tokens of each response: enough that the engine is what they wait for, and not whoever reads their requests.
const TOKENS: u64 = 48;

pub const QUEUE: Kind = Kind {
    name: "8 times too many requests",
    expected: "queueing",
    missing: anywhere,
    fault: || Box::new(InTheLoad),
    quiet: |_, load| Load { tokens: TOKENS, ..load },
    faulty: |rig, load| Load { at_a_time: rig.engine.takes() * TIMES, tokens: TOKENS, ..load },
};
