//! One line on standard error that says how the recording goes; only where that is a terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Instant,
};

use crate::export::perfetto::Recorded;

/// Back to the line's beginning, and empties it.
pub const CLEAR: &str = "\r\x1b[2K";

/// The line, which goes when this does.
pub struct Progress {
    began: Instant,
    shown: bool,
    terminal: bool,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new() -> Self {
        Self { began: Instant::now(), shown: false, terminal: io::stderr().is_terminal() }
    }

    /// Shows what is recorded so far.
    pub fn show(&mut self, recorded: &Recorded, lost: u64) {
        if self.terminal {
            self.shown = true;
            self.write(&format!("{CLEAR}{}", text(self.began.elapsed().as_secs_f64(), recorded, lost)));
        }
    }

    /// Empties the line.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.write(CLEAR);
        }
    }

    fn write(&self, text: &str) {
        let mut to = io::stderr();
        // A terminal that is gone is not worth a word.
        let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn text(seconds: f64, recorded: &Recorded, lost: u64) -> String {
    let Recorded { bytes, threads, runs, requests, .. } = recorded;
    format!(
        "{seconds:.1} s: {requests} requests, {runs} runs of {threads} threads, {:.1} MB, {lost} events lost",
        *bytes as f64 / 1e6
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_line() {
        let recorded = Recorded { bytes: 1_250_000, threads: 3, runs: 900, requests: 2, ..Recorded::default() };
        assert_eq!(text(1.25, &recorded, 7), "1.2 s: 2 requests, 900 runs of 3 threads, 1.2 MB, 7 events lost");
    }
}
