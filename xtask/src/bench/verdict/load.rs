//! The users: streams and whole responses, prompts of several lengths, a few at a time. One window of it, and what its
//! requests took as the clients saw it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;
use support::client::{Client, Request};
use support::outcome::Outcome;
use support::transport::Target;

use crate::bench::table::median;
use crate::process;

/// Words of the prompts and tokens of the responses, by turns.
const SIZES: [(usize, u64); 4] = [(6, 8), (60, 12), (20, 10), (110, 6)];
/// Bytes and pause of a slow reader's reads, and what the kernel may hold for it.
const SLOW_BYTES: usize = 2048;
const SLOW_PAUSE: Duration = Duration::from_millis(25);
const SLOW_BUFFER: usize = 4096;

/// A window has at least so many requests, however slow.
const LEAST: usize = 3;
/// So many clients get in each other's way when they begin.
const CROWD: usize = 8;

/// A request of one of `SIZES`, and what became of it.
#[derive(Clone)]
pub struct Sent {
    pub size: usize,
    pub outcome: Outcome,
}

/// How users behave.
#[derive(Clone)]
pub struct Load {
    pub target: Target,
    pub model: &'static str,
    pub at_a_time: usize,
    /// Streams of so many tokens, each with the likelihood of so many alternatives: kilobytes per chunk.
    pub large: Option<(u64, u64)>,
    /// Tokens of a response; 0: by turns.
    pub tokens: u64,
    /// They read slowly.
    pub slowly: bool,
}

impl Load {
    fn request(&self, serial: u64, turn: usize) -> Request {
        let (words, tokens) = SIZES[turn % SIZES.len()];
        let tokens = if self.tokens > 0 { self.tokens } else { tokens };
        // The number first, so that no prompt is the continuation of one that the server remembers.
        let prompt = format!("{serial}: {}", "tell me more ".repeat(words.div_ceil(3)));
        if let Some(large) = self.large {
            return self.large(&prompt, large);
        }
        Request::chat(self.model, &prompt, tokens, turn % 3 != 2)
    }

    fn large(&self, prompt: &str, (tokens, alternatives): (u64, u64)) -> Request {
        let body = json!({
            "model": self.model, "messages": [{ "role": "user", "content": prompt }], "max_tokens": tokens,
            "temperature": 0, "stream": true, "stream_options": { "include_usage": true },
            "logprobs": true, "top_logprobs": alternatives, "ignore_eos": true,
        });
        let request = Request::post("/v1/chat/completions", &body, true);
        if !self.slowly {
            return request;
        }
        Request {
            receive_buffer: Some(SLOW_BUFFER),
            read_size: SLOW_BYTES,
            slow: Some(SLOW_PAUSE),
            close: true,
            ..request
        }
    }

    /// Requests one after the other on each connection for as long as LENGTH, a few at least, all of them to their ends.
    pub fn run(&self, length: Duration, serial: &AtomicU64) -> Result<Vec<Sent>> {
        // On a busy host it takes seconds until so many clients are there; none begins before all can.
        let ready = Barrier::new(self.at_a_time);
        let (outcomes, turns) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
        let work = || {
            let mut client = Client::new(&self.target);
            if self.at_a_time >= CROWD {
                // What a client needs at its first request it has then.
                client.send(&Request { close: true, ..Request::get("/health") })?;
            }
            ready.wait();
            let until = Instant::now() + length;
            loop {
                let turn = turns.fetch_add(1, Ordering::Relaxed);
                let outcome = client.send(&self.request(serial.fetch_add(1, Ordering::Relaxed), turn))?;
                outcomes.lock().expect("no holder panics").push(Sent { size: turn % SIZES.len(), outcome });
                let enough = Instant::now() >= until && turns.load(Ordering::Relaxed) >= LEAST;
                if enough || process::interrupted() {
                    return anyhow::Ok(());
                }
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.at_a_time).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a client does not panic"))
        })?;
        if process::interrupted() {
            bail!("interrupted");
        }
        Ok(outcomes.into_inner().expect("no holder panics"))
    }
}

/// Medians of what clients saw, seconds, or ratios of such; NaN of none.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub ttft_s: f64,
    pub tpot_s: f64,
    pub duration_s: f64,
}

impl Seen {
    pub fn of<'a>(sent: impl IntoIterator<Item = &'a Sent>) -> Self {
        let good: Vec<&Outcome> = sent.into_iter().map(|one| &one.outcome).filter(|one| one.complete()).collect();
        let middle = |figure: fn(&Outcome) -> Option<f64>| {
            median(&good.iter().filter_map(|one| figure(one)).collect::<Vec<_>>())
        };
        Self {
            ttft_s: middle(|one| one.ttft_ns.map(seconds)),
            tpot_s: middle(tpot_s),
            duration_s: middle(|one| Some(seconds(one.duration_ns()))),
        }
    }

    /// How many times as long as in QUIET: the median over sizes that both have, since slow times have fewer requests.
    pub fn times(faulty: &[Sent], quiet: &[Sent]) -> Self {
        let of_size = |sent: &[Sent], size: usize| Self::of(sent.iter().filter(|one| one.size == size));
        let ratios: Vec<Self> =
            (0..SIZES.len()).map(|size| of_size(faulty, size).over(&of_size(quiet, size))).collect();
        let middle = |figure: fn(&Self) -> f64| {
            median(&ratios.iter().map(figure).filter(|ratio| ratio.is_finite()).collect::<Vec<_>>())
        };
        Self {
            ttft_s: middle(|one| one.ttft_s),
            tpot_s: middle(|one| one.tpot_s),
            duration_s: middle(|one| one.duration_s),
        }
    }

    /// TTFT, TPOT and duration as ratios; what there is not is left out.
    pub fn words(&self) -> [String; 3] {
        [self.ttft_s, self.tpot_s, self.duration_s]
            .map(|times| if times.is_finite() { format!("x{times:.1}") } else { "-".to_owned() })
    }

    fn over(&self, quiet: &Self) -> Self {
        Self {
            ttft_s: self.ttft_s / quiet.ttft_s,
            tpot_s: self.tpot_s / quiet.tpot_s,
            duration_s: self.duration_s / quiet.duration_s,
        }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn tpot_s(outcome: &Outcome) -> Option<f64> {
    let tokens = outcome.output_tokens.filter(|tokens| *tokens > 1 && outcome.content_chunks > 1)?;
    Some(seconds(outcome.t_last_content_ns - outcome.t_first_content_ns) / (tokens - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(size: usize, duration_s: f64) -> Sent {
        let outcome = Outcome { status: 200, t_end_ns: (duration_s * 1e9) as u64, ..Outcome::default() };
        Sent { size, outcome }
    }

    #[test]
    fn sizes_are_compared_with_their_like() {
        let quiet = [sent(0, 1.0), sent(1, 10.0), sent(2, 100.0)];
        let times = Seen::times(&[sent(0, 3.0), sent(0, 3.0), sent(1, 30.0)], &quiet);
        assert_eq!(times.duration_s, 3.0);
        assert!(times.ttft_s.is_nan(), "nothing was streamed");
    }
}
