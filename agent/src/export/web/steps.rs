//! One service's last fifteen minutes in steps of five seconds, and its last minute's CPU. Bounded; a step in which
//! nothing happened takes no memory.

use std::collections::VecDeque;

use inferscope_abi::state_ns_between;

use super::histogram::{Histogram, Sum};
use crate::correlate::{Request, Window as Verdicts};

/// Length of a step.
pub const STEP_NS: u64 = 5_000_000_000;
/// Whole steps that are kept: fifteen minutes.
pub const STEPS: u64 = 180;
/// Readings of the counters that are kept: a minute at one in two seconds, with room.
const READINGS: usize = 40;

/// What ended within one step.
#[derive(Debug, Clone, Default)]
struct Step {
    number: u64,
    requests: u32,
    errors: u32,
    /// Most at any reading.
    in_flight: u32,
    input_tokens: u64,
    output_tokens: u64,
    ttft: Histogram,
    tpot: Histogram,
    duration: Histogram,
}

/// The service's counters at one instant: thread-nanoseconds on a CPU and waiting for one.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub at_ns: u64,
    pub oncpu_ns: u64,
    pub runqueue_ns: u64,
}

/// Sums over the steps of a window. Rates divide by `seconds`.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    pub seconds: f64,
    pub requests: u64,
    pub errors: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub ttft: Sum,
    pub tpot: Sum,
    pub duration: Sum,
    /// CPU seconds, run-queue seconds, and the seconds in which they were spent; None without two readings.
    pub cpu: Option<[f64; 3]>,
}

/// One step of a series.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    pub requests: u32,
    pub errors: u32,
    pub in_flight: u32,
    pub output_tokens: u64,
    pub ttft_p50_s: Option<f64>,
    pub ttft_p95_s: Option<f64>,
    pub tpot_p50_s: Option<f64>,
}

/// The steps of one service, oldest first.
#[derive(Debug)]
pub struct Steps {
    /// When it was first known: rates before it would be of nothing.
    first_ns: u64,
    steps: VecDeque<Step>,
    readings: VecDeque<Reading>,
    pub verdicts: Verdicts,
}

impl Steps {
    /// Of a service that is known from now on.
    pub fn new(first_ns: u64) -> Self {
        Self { first_ns, steps: VecDeque::new(), readings: VecDeque::new(), verdicts: Verdicts::default() }
    }

    /// Adds a request that ended at `end_ns`; one older than what is kept is left out.
    pub fn add(&mut self, request: &Request, end_ns: u64) {
        self.first_ns = self.first_ns.min(request.start_ns);
        if let Some(verdict) = request.finding.verdict {
            self.verdicts.add(end_ns, verdict, request.duration_s);
        }
        let Some(step) = self.step(end_ns / STEP_NS) else { return };
        step.requests += 1;
        step.errors += u32::from(request.error_type.is_some());
        step.input_tokens += request.input_tokens.unwrap_or(0);
        step.output_tokens += request.output_tokens.unwrap_or(0);
        step.duration.add(request.duration_s);
        request.ttft_s.into_iter().for_each(|seconds| step.ttft.add(seconds));
        request.tpot_s.into_iter().for_each(|seconds| step.tpot.add(seconds));
    }

    /// Takes a reading of what is in flight and of the counters. Counters that went back are another service's.
    pub fn read(&mut self, now_ns: u64, in_flight: u64, counters: Option<Reading>) {
        if in_flight > 0
            && let Some(step) = self.step(now_ns / STEP_NS)
        {
            step.in_flight = step.in_flight.max(u32::try_from(in_flight).unwrap_or(u32::MAX));
        }
        let Some(reading) = counters else { return };
        if self.readings.back().is_some_and(|last| state_ns_between(last.oncpu_ns, reading.oncpu_ns) < -1_000_000) {
            self.readings.clear();
        }
        if self.readings.len() == READINGS {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
    }

    /// The step of this number, made if it is missing; None if it is too old.
    fn step(&mut self, number: u64) -> Option<&mut Step> {
        let at = self.steps.partition_point(|step| step.number < number);
        if self.steps.get(at).is_none_or(|step| step.number != number) {
            if self.steps.back().is_some_and(|last| number + STEPS < last.number) {
                return None;
            }
            self.steps.insert(at, Step { number, ..Step::default() });
        }
        let newest = self.steps.back().map_or(number, |last| last.number);
        let old = self.steps.partition_point(|step| step.number + STEPS < newest);
        self.steps.drain(..old);
        self.steps.get_mut(at - old)
    }

    /// The last `window_s` seconds, and as much of the step before as its edge asks for.
    pub fn sums(&self, now_ns: u64, window_s: u64) -> Sums {
        let last = now_ns / STEP_NS;
        let first = last.saturating_sub(window_s * 1_000_000_000 / STEP_NS);
        let from_ns = (first * STEP_NS).max(self.first_ns);
        let mut sums = Sums { seconds: (now_ns.saturating_sub(from_ns) as f64 / 1e9).max(1.0), ..Sums::default() };
        for step in self.steps.iter().rev().take_while(|step| step.number >= first) {
            sums.requests += u64::from(step.requests);
            sums.errors += u64::from(step.errors);
            sums.input_tokens += step.input_tokens;
            sums.output_tokens += step.output_tokens;
            sums.ttft.add(&step.ttft);
            sums.tpot.add(&step.tpot);
            sums.duration.add(&step.duration);
        }
        sums.cpu = self.cpu(now_ns, window_s);
        sums
    }

    fn cpu(&self, now_ns: u64, window_s: u64) -> Option<[f64; 3]> {
        let last = self.readings.back()?;
        let first = self.readings.iter().find(|reading| reading.at_ns + window_s * 1_000_000_000 >= now_ns)?;
        let seconds = last.at_ns.saturating_sub(first.at_ns) as f64 / 1e9;
        let between = |from, to| state_ns_between(from, to).max(0) as f64 / 1e9;
        (seconds > 0.0)
            .then(|| [between(first.oncpu_ns, last.oncpu_ns), between(first.runqueue_ns, last.runqueue_ns), seconds])
    }

    /// The whole steps before `now_ns`, oldest first; None where the service was not known yet.
    pub fn points(&self, now_ns: u64) -> Vec<Option<Point>> {
        let end = now_ns / STEP_NS;
        let known = self.first_ns / STEP_NS;
        let mut steps = self.steps.iter().skip_while(|step| step.number + STEPS < end).peekable();
        let point = |number: u64| {
            let Some(step) = steps.next_if(|step| step.number == number) else {
                return (number >= known).then(Point::default);
            };
            Some(Point {
                requests: step.requests,
                errors: step.errors,
                in_flight: step.in_flight,
                output_tokens: step.output_tokens,
                ttft_p50_s: step.ttft.quantile(0.5),
                ttft_p95_s: step.ttft.quantile(0.95),
                tpot_p50_s: step.tpot.quantile(0.5),
            })
        };
        (end.saturating_sub(STEPS)..end).map(point).collect()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let heap = |step: &Step| step.ttft.heap_bytes() + step.tpot.heap_bytes() + step.duration.heap_bytes();
        size_of::<Self>()
            + self.steps.capacity() * size_of::<Step>()
            + self.readings.capacity() * size_of::<Reading>()
            + self.steps.iter().map(heap).sum::<usize>()
    }
}

#[cfg(test)]
#[path = "steps_test.rs"]
mod tests;
