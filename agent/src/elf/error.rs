//! Why there is no place for a probe, in words for whoever wrote the configuration.

use std::fmt::Write as _;
use std::io;

/// Names that a message lists at most, and characters of one.
const LISTED: usize = 12;
const NAME_CHARS: usize = 120;

/// Why a file has no place for a probe. What it takes from the file is cut and free of control characters.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it is no regular file")]
    Irregular,
    #[error("it is no ELF file")]
    NotElf,
    #[error("it is a 32-bit file: only 64-bit programs can be probed")]
    Narrow,
    #[error("it is neither a program nor a library")]
    Kind,
    #[error("it is for another processor ({0})")]
    Foreign(&'static str),
    #[error("it is a broken ELF file: {0}")]
    Broken(&'static str),
    #[error("it has no section headers, which say where symbols and USDT notes are")]
    Headless,
    #[error("it has {count} {what}: more than {most} are not probed")]
    TooMany { what: &'static str, count: usize, most: usize },
    #[error("{0:?} is no name of a function")]
    Name(String),
    #[error("it has no function {symbol}{}{}", without_table(*.stripped), meant(.alike))]
    NoFunction { symbol: String, alike: Vec<String>, stripped: bool },
    #[error("{symbol} can be several functions: name one of {}", list(.names))]
    Ambiguous { symbol: String, names: Vec<String> },
    #[error("it only calls {0}: name the library that has it")]
    Imported(String),
    #[error(
        "the program chooses one of several {0} when it starts (an IFUNC), and has no function of that name itself: name \
         the one that runs on this host, as `perf top` shows it"
    )]
    Indirect(String),
    #[error("{0} is no function")]
    NotCode(String),
    #[error("it has no USDT probes")]
    NoProbes,
    #[error("it has no USDT probe {wanted}; it has {}", list(.there))]
    NoProbe { wanted: String, there: Vec<String> },
}

fn without_table(stripped: bool) -> &'static str {
    if stripped { " that others can call, and it is stripped of the names of the rest" } else { "" }
}

fn meant(alike: &[String]) -> String {
    if alike.is_empty() { String::new() } else { format!("; did you mean {}?", list(alike)) }
}

/// The first of some names and how many more there are.
fn list(names: &[String]) -> String {
    let mut text = String::new();
    for (at, name) in names.iter().take(LISTED).enumerate() {
        text.push_str(if at == 0 { "" } else { ", " });
        text.push_str(&shown(name));
    }
    if names.len() > LISTED {
        // Writing to a string does not fail.
        let _ = write!(text, " and {} more", names.len() - LISTED);
    }
    text
}

/// A foreign name as it may stand in a message.
pub(super) fn shown(name: &str) -> String {
    let cut = name.chars().take(NAME_CHARS).map(crate::shown::sign);
    let mut text: String = cut.collect();
    if name.chars().nth(NAME_CHARS).is_some() {
        text.push('…');
    }
    text
}
