//! Lines to messages: a traceback, a panic or an indented continuation belongs to the message that it follows, and is
//! not counted again. One value per stream of lines.

use super::{
    ansi,
    level::{self, Level, Line},
};

/// What the next line may go on with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Open {
    /// Nothing.
    #[default]
    None,
    /// A message of this level.
    Message(Level),
    /// A traceback of Python, before its last line.
    Traceback,
    /// A traceback after its last line: what it was raised from may follow.
    Raised,
    /// A panic of Go, with its goroutines.
    Goroutines,
    /// A panic of Rust whose text is on the next line.
    Panicked,
    /// A panic of Rust with its text.
    Backtrace,
}

const TRACEBACK: &[u8] = b"Traceback (most recent call last):";

/// Lines that join two tracebacks.
const JOINTS: [&[u8]; 2] = [
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
];

/// Further lines of the text of PyTorch's CUDA errors.
const CUDA_ADVICE: [&[u8]; 5] = [
    b"CUDA kernel errors might be",
    b"For debugging consider passing",
    b"Compile with `TORCH_USE_CUDA_DSA`",
    b"Search for `cudaError",
    b"Device-side assertion tracking",
];

/// Follows the lines of one stream.
#[derive(Debug, Default)]
pub struct Messages {
    open: Open,
}

fn is_indented(text: &[u8]) -> bool {
    text.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'))
}

fn begins_with_one(text: &[u8], beginnings: &[&[u8]]) -> bool {
    beginnings.iter().any(|beginning| text.starts_with(beginning))
}

/// The last line of a traceback: a name, and what it says.
fn is_raised(text: &[u8]) -> bool {
    level::name(text).is_some_and(|name| Level::of_word(name).is_none())
}

fn is_of_goroutine(text: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 5] = [b"goroutine ", b"[signal ", b"created by ", b"exit status ", b"panic: "];
    is_indented(text) || begins_with_one(text, &BEGINNINGS) || text.ends_with(b")")
}

impl Messages {
    /// The level of the message that a line begins; None: it is blank, or goes on with the one before.
    pub fn line(&mut self, line: &[u8]) -> Option<Level> {
        let plain = ansi::plain(line);
        let read = level::read(plain.trim_ascii_end());
        if read.message.is_empty() && read.level.is_none() || self.goes_on(&read) {
            return None;
        }
        let level = read.level.unwrap_or_else(|| level::by_words(read.message));
        self.open = opened(&read, level);
        Some(level)
    }

    /// What was written in between is not known.
    pub fn gap(&mut self) {
        self.open = Open::None;
    }

    /// Whether a line belongs to what is open.
    fn goes_on(&mut self, line: &Line<'_>) -> bool {
        let text = line.message;
        // The head of another logger: its line is a message of its own. vLLM's head stands before every line of one.
        let headed = level::read(text).level.is_some();
        let next = match self.open {
            open @ (Open::Traceback | Open::Raised) if text.is_empty() => Some(open),
            Open::Traceback if is_indented(text) || text == TRACEBACK || begins_with_one(text, &JOINTS) => {
                Some(Open::Traceback)
            }
            Open::Traceback if is_raised(text) => Some(Open::Raised),
            Open::Raised if begins_with_one(text, &JOINTS) => Some(Open::Traceback),
            Open::Raised if !headed && is_indented(text) || begins_with_one(text, &CUDA_ADVICE) => Some(Open::Raised),
            Open::Message(Level::Error | Level::Critical) if text == TRACEBACK => Some(Open::Traceback),
            Open::Message(level) if line.level.is_none() && is_indented(text) && level >= Level::Warning => {
                Some(Open::Message(level))
            }
            Open::Goroutines if line.level.is_none() && is_of_goroutine(text) => Some(Open::Goroutines),
            Open::Panicked if line.level.is_none() => Some(Open::Backtrace),
            Open::Backtrace
                if line.level.is_none()
                    && (is_indented(text) || begins_with_one(text, &[b"note: ", b"stack backtrace:"])) =>
            {
                Some(Open::Backtrace)
            }
            _ => None,
        };
        self.open = next.unwrap_or_default();
        next.is_some()
    }
}

/// What may follow a line that begins a message.
fn opened(line: &Line<'_>, level: Level) -> Open {
    let text = line.message;
    if text.ends_with(TRACEBACK) {
        Open::Traceback
    } else if begins_with_one(text, &[b"panic: ", b"fatal error: "]) {
        Open::Goroutines
    } else if level::is_rust_panic(text) {
        // Since 1.73 the text has a line of its own.
        if text.ends_with(b":") { Open::Panicked } else { Open::Backtrace }
    } else {
        Open::Message(level)
    }
}
