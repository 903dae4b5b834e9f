//! How grave a line of a log is, by what it says of itself, in the formats of the engines and of the usual loggers; else
//! by what it says. Looks at one line; never at the bytes beyond its cut.

use memchr::memmem::find;

use super::{head, json};

/// In the words of OpenTelemetry and syslog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The line does not tell.
    Unknown,
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

/// Every level with its label, in their order.
pub const LEVELS: [(Level, &str); 6] = [
    (Level::Unknown, "unknown"),
    (Level::Debug, "debug"),
    (Level::Info, "info"),
    (Level::Warning, "warning"),
    (Level::Error, "error"),
    (Level::Critical, "critical"),
];

impl Level {
    /// The value of the label `level`.
    pub fn label(self) -> &'static str {
        LEVELS[self as usize].1
    }

    /// A logger's word for a level, in any case.
    pub fn of_word(word: &[u8]) -> Option<Self> {
        const WORDS: &[(&str, Level)] = &[
            ("trace", Level::Debug),
            ("debug", Level::Debug),
            ("dbug", Level::Debug),
            ("dbg", Level::Debug),
            ("verbose", Level::Debug),
            ("info", Level::Info),
            ("information", Level::Info),
            ("notice", Level::Info),
            ("warn", Level::Warning),
            ("warning", Level::Warning),
            ("error", Level::Error),
            ("err", Level::Error),
            ("eror", Level::Error),
            ("severe", Level::Error),
            ("critical", Level::Critical),
            ("crit", Level::Critical),
            ("fatal", Level::Critical),
            ("panic", Level::Critical),
            ("dpanic", Level::Critical),
            ("emerg", Level::Critical),
            ("emergency", Level::Critical),
            ("alert", Level::Critical),
        ];
        let found = WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known.as_bytes()));
        found.map(|(_, level)| *level)
    }

    /// The letter of glog, klog, llama.cpp and TensorRT-LLM.
    pub fn of_letter(letter: u8) -> Option<Self> {
        match letter {
            b'D' | b'V' | b'T' => Some(Level::Debug),
            b'I' => Some(Level::Info),
            b'W' => Some(Level::Warning),
            b'E' => Some(Level::Error),
            b'F' | b'C' => Some(Level::Critical),
            _ => None,
        }
    }

    /// A number: syslog's severities below 8, the levels of pino, bunyan and Python from 10 on.
    pub fn of_number(number: u64) -> Option<Self> {
        match number {
            0..=2 => Some(Level::Critical),
            3 => Some(Level::Error),
            4 => Some(Level::Warning),
            5 | 6 => Some(Level::Info),
            7 | 10..=29 => Some(Level::Debug),
            30..=39 => Some(Level::Info),
            40..=49 => Some(Level::Warning),
            50..=59 => Some(Level::Error),
            60..=69 => Some(Level::Critical),
            _ => None,
        }
    }
}

/// What a line tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The level that its logger wrote.
    pub level: Option<Level>,
    /// What follows the logger's own words, where these are known to end.
    pub message: &'a [u8],
}

/// Bytes in which a logger's own words are looked for.
const HEAD: usize = 160;
/// Bytes in which the words of an error are looked for.
const WORDS: usize = 512;

/// Reads a line without colours.
pub fn read(line: &[u8]) -> Line<'_> {
    let text = head::without_process(line);
    if text.first() == Some(&b'{') {
        return Line { level: json::level(text), message: text };
    }
    if let Some(level) = head::syslog(text).or_else(|| head::letter(text)) {
        return Line { level: Some(level), message: text };
    }
    let begin = &text[..text.len().min(HEAD)];
    if let Some((level, end)) = head::vllm(text) {
        return Line { level: Some(level), message: &text[end..] };
    }
    let level = head::pair(begin).or_else(|| head::word(begin)).or_else(|| head::gin(begin));
    Line { level, message: text }
}

/// Texts with which a message begins, of programs that write no level with them.
const BEGINNINGS: &[(&[u8], Level)] = &[
    (b"panic: ", Level::Critical),
    (b"fatal error: ", Level::Critical),
    (b"fatal: ", Level::Critical),
    (b"Fatal Python error", Level::Critical),
    (b"terminate called ", Level::Critical),
    (b"Segmentation fault", Level::Critical),
    (b"GGML_ASSERT(", Level::Critical),
    (b"error: ", Level::Error),
    (b"Error: ", Level::Error),
    (b"warning: ", Level::Warning),
    (b"Warning: ", Level::Warning),
];

/// Texts within a message.
const WITHIN: &[(&[u8], Level)] = &[
    (b"GGML_ASSERT(", Level::Critical),
    (b"Traceback (most recent call last):", Level::Error),
    (b"CUDA error", Level::Error),
    (b"CUDA out of memory", Level::Error),
    (b"OutOfMemoryError", Level::Error),
    (b"cudaErrorMemoryAllocation", Level::Error),
    (b"CUBLAS_STATUS_", Level::Error),
    (b"NCCL error", Level::Error),
    (b"ncclUnhandledCudaError", Level::Error),
    (b"ncclSystemError", Level::Error),
    (b"ncclInternalError", Level::Error),
    (b"ncclRemoteError", Level::Error),
    (b": error: ", Level::Error),
    (b": error loading ", Level::Error),
    (b": failed to ", Level::Error),
    (b"hit an exception", Level::Error),
];

/// How grave a message is that has no level with it, by the words that programs end with and that GPUs fail with.
pub fn by_words(message: &[u8]) -> Level {
    let message = &message[..message.len().min(WORDS)];
    if let Some((_, level)) = BEGINNINGS.iter().find(|(text, _)| message.starts_with(text)) {
        return *level;
    }
    if is_rust_panic(message) {
        return Level::Error;
    }
    if let Some(level) = exception(message) {
        return level;
    }
    if let Some((_, level)) = WITHIN.iter().find(|(text, _)| find(message, text).is_some()) {
        return *level;
    }
    // Of Python's warnings module: /usr/lib/python3/x.py:12: UserWarning: text
    if find(message, b"Warning: ").is_some() && find(message, b".py:").is_some() {
        return Level::Warning;
    }
    Level::Unknown
}

/// `thread 'NAME' panicked at ...`
pub fn is_rust_panic(message: &[u8]) -> bool {
    message.starts_with(b"thread '") && find(message, b"' ").is_some() && find(message, b"panicked at").is_some()
}

/// The name that a message begins with, with dots, up to a colon or the end.
pub fn name(message: &[u8]) -> Option<&[u8]> {
    let end = message.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"_.".contains(byte)));
    let name = &message[..end.unwrap_or(message.len())];
    let follows = message.get(name.len()).is_none_or(|byte| *byte == b':');
    (follows && !name.is_empty() && !name[0].is_ascii_digit()).then_some(name)
}

/// `torch.OutOfMemoryError: ...`, as Python says the last of a traceback.
fn exception(message: &[u8]) -> Option<Level> {
    let name = name(message)?;
    let last = name.rsplit(|byte| *byte == b'.').next()?;
    let told = message.len() > name.len();
    (told && last.len() > 5 && (last.ends_with(b"Error") || last.ends_with(b"Exception"))).then_some(Level::Error)
}
