//! A timeline in Perfetto's trace format: what every thread of the watched tree did when, and the requests above it.
//! Events come from the pipeline, counters from whoever polls; all times are CLOCK_MONOTONIC.
#![forbid(unsafe_code)]

pub mod proto;
pub mod samples;
mod sink;
mod threads;
mod tracks;

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use inferscope_abi::SchedEvent;

use crate::{correlate::Request, tasks::Guard};
use proto::{Annotation, Event, INSTANT, SLICE_BEGIN, SLICE_END};
use sink::Sink;
use threads::Threads;
use tracks::Tracks;

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub bytes: u64,
    pub threads: u64,
    pub slices: u64,
    pub requests: u64,
    /// Slices for which the disk was too slow.
    pub left_out: u64,
}

/// A value at an instant.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Process it is of; None for the host's.
    pub pid: Option<u32>,
    pub name: &'a str,
    pub unit: &'static str,
    pub at_ns: u64,
    pub value: f64,
}

struct Recorder {
    sink: Sink,
    tracks: Tracks,
    threads: Threads,
    recorded: Recorded,
    /// Events that were lost before they came here, as last told.
    lost: u64,
}

/// A timeline that is being recorded.
pub struct Timeline(Mutex<Recorder>);

impl Timeline {
    /// Makes the file. Errors: it cannot be made.
    pub fn create(path: &Path, guard: Guard) -> io::Result<Self> {
        let mut sink = Sink::create(path, guard)?;
        tracks::begin(&mut sink);
        let (tracks, threads) = (Tracks::default(), Threads::default());
        Ok(Self(Mutex::new(Recorder { sink, tracks, threads, recorded: Recorded::default(), lost: 0 })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Recorder) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A thread changed its state.
    pub fn sched(&self, event: &SchedEvent) {
        self.with(|recorder| recorder.threads.change(event, &mut recorder.tracks, &mut recorder.sink));
    }

    /// A request ended: one slice with its phases, on a track of its own.
    pub fn request(&self, request: &Request) {
        self.with(|recorder| recorder.request(request));
    }

    /// A counter's value.
    pub fn sample(&self, sample: &Sample<'_>) {
        self.with(|Recorder { sink, tracks, .. }| {
            let track = tracks.counter(sink, sample.pid, sample.name, sample.unit);
            tracks::put(sink, sample.at_ns, tracks::value(track, sample.value));
        });
    }

    /// So many events were lost until now: a mark where that is more than before.
    pub fn lost(&self, total: u64, at_ns: u64) {
        self.with(|Recorder { sink, tracks, lost, .. }| {
            if total > *lost {
                let track = tracks.named(sink, "inferscope");
                let name = format!("{} events lost", total - *lost);
                tracks::put(sink, at_ns, Event { name: Some(name), ..tracks::on(track, INSTANT) });
                *lost = total;
            }
        });
    }

    /// Whether the disk refused what was to be written: what is recorded from then on is lost.
    pub fn has_failed(&self) -> bool {
        self.with(|recorder| recorder.sink.has_failed())
    }

    /// Ends every slice that is open and writes what is left. Errors: the disk's.
    pub fn finish(&self, at_ns: u64) -> io::Result<Recorded> {
        self.with(|recorder| {
            recorder.threads.end_all(at_ns, &mut recorder.sink);
            let Threads { slices, left_out, .. } = recorder.threads;
            let bytes = recorder.sink.finish()?;
            Ok(Recorded { bytes, slices, left_out, threads: recorder.threads.seen, ..recorder.recorded })
        })
    }
}

impl Recorder {
    fn request(&mut self, request: &Request) {
        let Self { sink, tracks, recorded, .. } = self;
        recorded.requests += 1;
        let track = tracks.request(sink, request.pid);
        let at = |seconds: f64| request.start_ns + (seconds * 1e9) as u64;
        let (operation, model) = (request.operation.unwrap_or("http"), request.model.as_deref().unwrap_or("-"));
        let begin =
            |name: String, annotations| Event { name: Some(name), annotations, ..tracks::on(track, SLICE_BEGIN) };
        let end = || tracks::on(track, SLICE_END);
        tracks::put(sink, at(0.0), begin(format!("{operation} {model}"), annotations(request)));
        if let Some(ttft) = request.ttft_s {
            tracks::put(sink, at(0.0), begin("prefill".to_owned(), Vec::new()));
            tracks::put(sink, at(ttft), end());
            tracks::put(sink, at(ttft), begin("decode".to_owned(), Vec::new()));
            tracks::put(sink, at(request.duration_s), end());
        }
        tracks::put(sink, at(request.duration_s), end());
    }
}

fn annotations(request: &Request) -> Vec<Annotation> {
    let mut all = vec![Annotation::of_count("status", u64::from(request.status))];
    let texts = [("id", &request.id), ("error_type", &request.error_type), ("finish_reason", &request.finish_reason)];
    all.extend(texts.into_iter().filter_map(|(name, text)| Some(Annotation::of_text(name, text.as_deref()?))));
    let counts = [("input_tokens", request.input_tokens), ("output_tokens", request.output_tokens)];
    all.extend(counts.into_iter().filter_map(|(name, count)| Some(Annotation::of_count(name, count?))));
    all.push(Annotation::of_count("chunks", request.chunks));
    let times = [("ttfb_s", request.ttfb_s), ("ttft_s", request.ttft_s), ("tpot_s", request.tpot_s)];
    all.extend(times.into_iter().filter_map(|(name, time)| Some(Annotation::of_number(name, time?))));
    all
}

#[cfg(test)]
mod tests;
