//! The way of samples into the profile: never waited for, and what does not fit is counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc::SyncSender,
};

use super::{phases::Times, python::Tick};
use crate::{correlate::Request, decode::Sample, services::ServiceTable};

/// Messages that may wait: what 256 CPUs give at the highest frequency between two looks of the collector.
pub(super) const ROOM: usize = 65_536;

/// A thread that was on a CPU.
#[derive(Debug)]
pub(super) struct Native {
    pub at_ns: u64,
    pub pid: u32,
    pub tid: u32,
    pub service: u32,
    pub cpu: u32,
    /// Innermost first: the kernel's, then the user's.
    pub addresses: Box<[u64]>,
    pub kernel_frames: usize,
}

#[derive(Debug)]
pub(super) enum Message {
    Native(Native),
    Python(Tick),
    /// By the service's name, or for one in flight by its index.
    Request(String, Times),
    InFlight(u32, Times),
    Services(ServiceTable),
    /// A process runs another program from now on.
    Exec(u32),
    End,
}

/// What samples are given to.
#[derive(Clone, Debug)]
pub struct Feed {
    pub(super) to: SyncSender<Message>,
    pub(super) lost: Arc<AtomicU64>,
    /// Samples per second and CPU that are wanted.
    pub frequency_hz: u32,
}

impl Feed {
    pub(super) fn send(&self, message: Message) {
        if self.to.try_send(message).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A stack of the kernel side.
    pub fn sample(&self, sample: &Sample<'_>) {
        let head = &sample.head;
        self.send(Message::Native(Native {
            at_ns: head.header.at_ns,
            pid: head.header.tgid,
            tid: head.header.tid,
            service: head.service,
            cpu: head.cpu,
            addresses: sample.kernel().chain(sample.user()).collect(),
            kernel_frames: head.kernel_frames as usize,
        }));
    }

    pub(super) fn python(&self, tick: Tick) {
        self.send(Message::Python(tick));
    }

    /// A request that has ended.
    pub fn request(&self, request: &Request) {
        let after = |seconds: f64| request.start_ns + (seconds * 1e9) as u64;
        let times = Times {
            start_ns: request.start_ns,
            first_content_ns: request.ttft_s.map(after),
            streams: request.stream,
            end_ns: Some(after(request.duration_s)),
        };
        self.send(Message::Request(request.service.clone(), times));
    }

    /// A request that is in work when the recording ends, of the service with this index.
    pub fn in_flight(&self, service: u32, times: Times) {
        self.send(Message::InFlight(service, times));
    }

    /// A process runs another program from now on.
    pub fn exec(&self, pid: u32) {
        self.send(Message::Exec(pid));
    }
}
