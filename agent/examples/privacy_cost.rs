//! What the redaction of a text costs, in microseconds per 1000 bytes of it: the least of twenty runs.
//! `cargo run --release --example privacy_cost`

use std::time::{Duration, Instant};

use agent::privacy::{redact, scrub};

const BYTES: usize = 40_000;

fn least(mut run: impl FnMut()) -> Duration {
    run();
    let took = |_| {
        let began = Instant::now();
        run();
        began.elapsed()
    };
    (0..20).map(took).min().unwrap_or_default()
}

fn main() {
    let texts = [
        (
            "prose and code",
            "The quick brown fox jumps over the lazy dog, and max_tokens: 4096 at 12:30:45; fn main() { foo(1, 2); } ",
        ),
        ("full of it", "mail john.doe@example.com, password=hunter22 and 4111 1111 1111 1111, 415-555-2671 ok "),
        ("numbers that are no cards", "4111 1111 1111 1112 "),
        ("Chinese", "\u{4f60}\u{597d}\u{4e16}\u{754c}\u{ff0c}\u{8fd9}\u{662f}\u{6d4b}\u{8bd5}\u{3002}"),
    ];
    for (what, text) in texts {
        let text = text.repeat(BYTES / text.len());
        let per_kb = |took: Duration| took.as_secs_f64() * 1e9 / text.len() as f64;
        let redacting = per_kb(least(|| _ = std::hint::black_box(redact(&text))));
        let scrubbing = per_kb(least(|| _ = std::hint::black_box(scrub(&text))));
        println!("{what}: redacted {redacting:.1} us/kB, scrubbed {scrubbing:.1} us/kB");
    }
}
