//! What the pipeline tells a timeline, if one is recorded: events as they come, and what holds when it begins and ends.

use inferscope_abi::{ExecEvent, Kind};

use super::Pipeline;
use crate::{clock::monotonic_ns, decode::Event, export::perfetto::Timeline, profile::Feed, shared::Live};

/// An event that is only made for a timeline.
pub(super) fn draw(timeline: Option<&Timeline>, live: &Live, event: &Event<'_>) {
    let kind = match event {
        Event::Sched(_) => Kind::Sched,
        Event::Syscall(_) => Kind::Syscall,
        Event::Block(_) => Kind::Block,
        _ => Kind::Stall,
    };
    live.count(kind);
    let Some(timeline) = timeline else { return };
    match event {
        Event::Sched(sched) => timeline.sched(sched),
        Event::Syscall(syscall) => timeline.syscall(syscall),
        Event::Block(block) => timeline.block(block),
        Event::Stall(stall) => timeline.stall(stall),
        _ => {}
    }
}

/// A process runs another program.
pub(super) fn executed(timeline: Option<&Timeline>, profile: Option<&Feed>, exec: &ExecEvent) {
    let pid = exec.header.tgid;
    if let Some(timeline) = timeline {
        timeline.exec(pid, exec.header.at_ns);
    }
    if let Some(profile) = profile {
        profile.exec(pid);
    }
}

impl Pipeline {
    /// Nobody is watched yet.
    pub(super) fn begin_timeline(&self) {
        if let Some(timeline) = &self.timeline {
            timeline.begin(monotonic_ns());
        }
    }

    /// Threads whose watch began.
    pub(super) fn tell_found(&mut self) {
        if let Some(timeline) = &self.timeline {
            let found = self.watcher.take_found();
            if !found.is_empty() {
                timeline.found(&found, monotonic_ns());
            }
        }
    }

    /// What is open: asked of the kernel side before the events until then are taken out of the ring.
    pub(super) fn end_timeline(&mut self) {
        let Some(timeline) = self.timeline.clone() else { return };
        let now = monotonic_ns();
        let threads = self.watcher.threads();
        self.drain();
        timeline.end(&threads, self.sessions.in_flight(), now);
    }
}
