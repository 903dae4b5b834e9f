//! Finished exchanges to [`Request`]s: the one place that computes TTFT, TPOT, the host's share and the verdict. Pure: no
//! I/O, and time comes from events alone.
#![forbid(unsafe_code)]

mod baseline;
mod causes;
mod engine;
mod gpu;
mod host;
mod lesson;
mod request;
mod seen;
mod verdict;
mod window;

pub use causes::{CAUSE_NAMES, CAUSES, Cause, Causes};
pub use engine::EngineTimes;
pub use gpu::{GpuHistory, GpuWindow};
pub use host::{HostPhases, HostShare, take_on};
pub use request::{Labels, NetworkShare, Request, request};
pub use verdict::{Finding, Judge, PhaseCauses, VERDICT_NAMES, VERDICTS, Verdict};
pub use window::{WINDOW_NS, Window};
