//! The users: streams and whole responses, prompts of several lengths, a few at a time. One window of it, and what its
//! requests took as the clients saw it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// How users behave.
#[derive(Clone)]
pub struct Load {
    pub target: Target,
    pub model: &'static str,
    pub at_a_time: usize,
    /// Streams with the likelihood of many alternatives to each token: kilobytes per chunk.
    pub large: bool,
    /// They read slowly.
    pub slowly: bool,
}

impl Load {
    fn request(&self, serial: u64) -> Request {
        let (words, tokens) = SIZES[serial as usize % SIZES.len()];
        // The number first, so that no prompt is the continuation of one that the server remembers.
        let prompt = format!("{serial}: {}", "tell me more ".repeat(words.div_ceil(3)));
        if self.large {
            return self.large(&prompt);
        }
        Request::chat(self.model, &prompt, tokens, serial % 3 != 2)
    }

    fn large(&self, prompt: &str) -> Request {
        let body = json!({
            "model": self.model, "messages": [{ "role": "user", "content": prompt }], "max_tokens": 48,
            "temperature": 0, "stream": true, "stream_options": { "include_usage": true },
            "logprobs": true, "top_logprobs": 20, "ignore_eos": true,
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

    /// Requests one after the other on each connection for as long as LENGTH, at least one each, all of them to their ends.
    pub fn run(&self, length: Duration, serial: &AtomicU64) -> Result<Vec<Outcome>> {
        let until = Instant::now() + length;
        let outcomes = Mutex::new(Vec::new());
        let work = || {
            let mut client = Client::new(&self.target);
            loop {
                let outcome = client.send(&self.request(serial.fetch_add(1, Ordering::Relaxed)))?;
                outcomes.lock().expect("no holder panics").push(outcome);
                if Instant::now() >= until || process::interrupted() {
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

/// Medians of what clients saw, seconds; NaN of none.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub ttft_s: f64,
    pub tpot_s: f64,
    pub duration_s: f64,
}

impl Seen {
    pub fn of(outcomes: &[Outcome]) -> Self {
        let good = || outcomes.iter().filter(|outcome| outcome.complete());
        let seconds = |ns: u64| ns as f64 / 1e9;
        let ttft: Vec<f64> = good().filter_map(|outcome| outcome.ttft_ns).map(seconds).collect();
        let duration: Vec<f64> = good().map(|outcome| seconds(outcome.duration_ns())).collect();
        let tpot = |outcome: &Outcome| {
            let tokens = outcome.output_tokens.filter(|tokens| *tokens > 1 && outcome.content_chunks > 1)?;
            Some(seconds(outcome.t_last_content_ns - outcome.t_first_content_ns) / (tokens - 1) as f64)
        };
        let tpot: Vec<f64> = good().filter_map(tpot).collect();
        Self { ttft_s: median(&ttft), tpot_s: median(&tpot), duration_s: median(&duration) }
    }

    /// How many times as long as in QUIET.
    pub fn over(&self, quiet: &Self) -> Self {
        Self {
            ttft_s: self.ttft_s / quiet.ttft_s,
            tpot_s: self.tpot_s / quiet.tpot_s,
            duration_s: self.duration_s / quiet.duration_s,
        }
    }
}
