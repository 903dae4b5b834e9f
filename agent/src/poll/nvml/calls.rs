//! One round's calls: says what a failure means, remembers per device what is not supported, stops a round that ran too long.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nvml_wrapper::error::NvmlError;
use rustc_hash::FxHashMap;

use super::cell::Cell;

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// The driver has nothing to say at present; for process utilisation that is zero.
    Nothing,
    /// This device or driver cannot, or could not lately.
    Unsupported,
    /// The device is lost.
    Lost,
    /// Failed this time.
    Failed,
    /// Not asked: the round ran past its deadline, or the session is over.
    Skipped,
}

/// What a device's calls have taught.
#[derive(Debug, Default)]
pub(super) struct CallMemory {
    unsupported: FxHashMap<&'static str, Instant>,
    /// The error by which the device was lost.
    pub lost: Option<String>,
}

impl CallMemory {
    /// Does not ask this again for a while.
    pub fn forget(&mut self, call: &'static str) {
        self.unsupported.insert(call, Instant::now());
    }
}

/// A count per call and error.
pub(super) type CallErrors = BTreeMap<(&'static str, &'static str), u64>;

/// The calls of one round.
pub(super) struct Calls<'c> {
    cell: &'c Cell,
    ends: Instant,
    retry_unsupported: Duration,
    pub errors: CallErrors,
    /// The round's first failure.
    pub failure: Option<(&'static str, String)>,
    /// Why the library must be initialised anew.
    pub session_over: Option<String>,
}

impl<'c> Calls<'c> {
    /// A round that ends by `ends`; `errors` are the counts so far.
    pub fn new(cell: &'c Cell, ends: Instant, retry_unsupported: Duration, errors: CallErrors) -> Calls<'c> {
        Calls { cell, ends, retry_unsupported, errors, failure: None, session_over: None }
    }

    /// Whether the round shall make no more calls.
    pub fn spent(&self) -> bool {
        self.session_over.is_some() || Instant::now() >= self.ends || self.cell.stopping()
    }

    /// Makes the call unless it is known to be of no use.
    pub fn ask<T>(
        &mut self,
        memory: &mut CallMemory,
        call: &'static str,
        body: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Result<T, Miss> {
        if memory.lost.is_some() {
            return Err(Miss::Lost);
        }
        if memory.unsupported.get(call).is_some_and(|since| since.elapsed() < self.retry_unsupported) {
            return Err(Miss::Unsupported);
        }
        if self.spent() {
            return Err(Miss::Skipped);
        }
        let error = match self.cell.calling(call, body) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let miss = meaning(&error);
        match miss {
            Miss::Nothing | Miss::Skipped => {}
            Miss::Unsupported => memory.forget(call),
            Miss::Lost => {
                memory.lost = Some(error.to_string());
                self.count(call, &error);
            }
            Miss::Failed => {
                if ends_session(&error) {
                    self.session_over = Some(error.to_string());
                }
                self.count(call, &error);
            }
        }
        Err(miss)
    }

    /// Counts a failure that did not come from a call, such as a round out of time.
    pub fn fail(&mut self, call: &'static str, error: &'static str) {
        *self.errors.entry((call, error)).or_default() += 1;
        self.failure.get_or_insert((call, error.into()));
    }

    fn count(&mut self, call: &'static str, error: &NvmlError) {
        *self.errors.entry((call, label(error))).or_default() += 1;
        self.failure.get_or_insert((call, error.to_string()));
    }
}

fn meaning(error: &NvmlError) -> Miss {
    match error {
        NvmlError::NotFound | NvmlError::NoData | NvmlError::Timeout => Miss::Nothing,
        // MIG handles answer InvalidArg to questions that only whole GPUs understand.
        NvmlError::NotSupported
        | NvmlError::FailedToLoadSymbol(_)
        | NvmlError::FunctionNotFound
        | NvmlError::NoPermission
        | NvmlError::InvalidArg
        | NvmlError::VgpuEccNotSupported => Miss::Unsupported,
        NvmlError::GpuLost | NvmlError::ResetRequired => Miss::Lost,
        _ => Miss::Failed,
    }
}

fn ends_session(error: &NvmlError) -> bool {
    matches!(error, NvmlError::Uninitialized | NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch)
}

/// An error as a label value: few, fixed words.
fn label(error: &NvmlError) -> &'static str {
    match error {
        NvmlError::Uninitialized => "uninitialized",
        NvmlError::DriverNotLoaded => "driver_not_loaded",
        NvmlError::LibRmVersionMismatch => "version_mismatch",
        NvmlError::GpuLost => "gpu_lost",
        NvmlError::ResetRequired => "reset_required",
        NvmlError::InsufficientSize(_) => "insufficient_size",
        NvmlError::InsufficientMemory => "insufficient_memory",
        NvmlError::IrqIssue => "irq_issue",
        NvmlError::OperatingSystem => "operating_system",
        NvmlError::Utf8Error(_) => "bad_text",
        NvmlError::Unknown => "unknown",
        _ => "other",
    }
}
