//! XID errors of one GPU: an event set of its own, asked without waiting at every round.
//! One set per GPU, because NVML frees a set when any registration in it fails.

#![forbid(unsafe_code)]

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::event::EventSet;
use nvml_wrapper::{Device, Nvml};

use super::calls::{CallMemory, Calls};

/// Events taken per round, so that a storm of them cannot hold the thread.
const PER_ROUND: usize = 64;

/// What was seen of a GPU's XIDs since the agent started.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct XidCount {
    pub last: Option<u64>,
    pub count: u64,
}

/// The watch on one GPU.
pub(super) struct XidWatch<'n> {
    set: Option<EventSet<'n>>,
}

impl<'n> XidWatch<'n> {
    /// Registers where the GPU supports it.
    pub fn new(calls: &mut Calls<'_>, memory: &mut CallMemory, nvml: &'n Nvml, device: &Device<'n>) -> XidWatch<'n> {
        let wanted = EventTypes::CRITICAL_XID_ERROR;
        let supported = calls.ask(memory, "nvmlDeviceGetSupportedEventTypes", || device.supported_event_types());
        if !supported.is_ok_and(|types| types.contains(wanted)) {
            return XidWatch { set: None };
        }
        let set = calls.ask(memory, "nvmlEventSetCreate", || nvml.create_event_set());
        let set = set.and_then(|set| {
            calls.ask(memory, "nvmlDeviceRegisterEvents", || {
                device.register_events(wanted, set).map_err(|failed| failed.error)
            })
        });
        XidWatch { set: set.ok() }
    }

    /// Adds what has come; false where the GPU tells nothing.
    pub fn read(&self, calls: &mut Calls<'_>, memory: &mut CallMemory, seen: &mut XidCount) -> bool {
        let Some(set) = &self.set else {
            return false;
        };
        for _ in 0..PER_ROUND {
            let Ok(event) = calls.ask(memory, "nvmlEventSetWait_v2", || set.wait(0)) else {
                break;
            };
            if let Some(xid) = event.event_data {
                seen.count += 1;
                seen.last = Some(match xid {
                    XidError::Value(number) => number,
                    XidError::Unknown => 999,
                });
            }
        }
        true
    }
}
