//! The rules themselves, each a few lines; the numbers are the house's.

use super::Finding;
use super::source::{self, Source};

const FILE_LINES: usize = 300;
const FILE_LINES_MOST: usize = 500;
const MAIN_LINES: usize = 60;
const FUNCTION_LINES: usize = 50;
const FUNCTION_LINES_MOST: usize = 80;
const FILE_BYTES: usize = 1_000_000;
const HEADER_LINES: usize = 5;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 10] =
    ["utils", "util", "helpers", "helper", "common", "misc", "part2", "manager", "handler", "processor"];
/// Where memory is shared with the kernel or with a C library, and the fakes that tests build of those.
const UNSAFE_PLACES: [&str; 9] = [
    "agent/src/probe",
    "agent/src/ring.rs",
    "agent/src/decode.rs",
    "agent/src/poll/nvml",
    "agent/tests/",
    "ebpf/",
    "tests/",
    "fuzz/",
    "agent/benches/",
];
/// Where bytes that are no text belong: recordings, corpora, pictures.
const BINARY_PLACES: [&str; 5] = ["tests/", "agent/tests/", "fuzz/corpus/", "docs/", "deploy/"];

/// Rules for every file.
pub fn any_file(path: &str, bytes: &[u8], findings: &mut Vec<Finding>) {
    let mut error = |says: String| findings.push(Finding { path: path.to_owned(), line: 1, says, must_go: true });
    if bytes.len() > FILE_BYTES {
        error(format!("{} bytes: nothing over {FILE_BYTES} goes into the repository", bytes.len()));
    }
    if bytes.starts_with(b"\x7fELF") {
        error("a built program: build it instead of keeping it".into());
    } else if bytes.iter().take(8000).any(|byte| *byte == 0) && !under(path, &BINARY_PLACES) {
        error("not text: recordings belong to the tests, anything else is built or fetched".into());
    }
}

/// Rules for Rust files.
pub fn rust_file(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut add = |line: usize, must_go: bool, says: String| {
        findings.push(Finding { path: path.to_owned(), line, says, must_go });
    };
    let lines = text.lines().count();
    let is_main = path.ends_with("/main.rs") || path == "main.rs";
    if is_main && lines > MAIN_LINES && !path.starts_with("tests/") {
        add(1, true, format!("{lines} lines: a main has {MAIN_LINES} at most, it parses and dispatches"));
    }
    if lines > FILE_LINES {
        add(1, lines > FILE_LINES_MOST, format!("{lines} lines: split it by concept ({FILE_LINES} as a rule)"));
    }
    match text.lines().take_while(|line| line.starts_with("//!")).count() {
        0 => add(1, true, "begins without `//!`: what it owns, and what it must not do".into()),
        header if header > HEADER_LINES => add(1, false, format!("a header of {header} lines: {HEADER_LINES} at most")),
        _ => {}
    }
    if path.split(['/', '.']).any(|part| EMPTY_NAMES.contains(&part)) {
        add(1, true, "a name that says nothing: name the concept".into());
    }
    let source = source::split(text);
    for (line, length) in source::functions(&source.code).into_iter().filter(|(_, length)| *length > FUNCTION_LINES) {
        let says = format!("a function of {length} lines ({FUNCTION_LINES} as a rule)");
        add(line, length > FUNCTION_LINES_MOST, says);
    }
    words(path, is_main, &source, &mut add);
}

fn words(path: &str, is_main: bool, source: &Source, add: &mut impl FnMut(usize, bool, String)) {
    for (number, line) in source.code.lines().enumerate() {
        if has_word(line, "unsafe") && !under(path, &UNSAFE_PLACES) {
            add(number + 1, true, "unsafe outside the few places that share memory".into());
        }
        if line.contains("process::exit(") && !is_main && !path.starts_with("tests/") {
            add(number + 1, true, "ends the process deep inside: return an error".into());
        }
        for unfinished in ["todo!", "unimplemented!", "#[ignore"] {
            if line.contains(unfinished) {
                add(number + 1, true, format!("{unfinished} is left: finish it or take it out"));
            }
        }
    }
    for (number, line) in source.comments.lines().enumerate() {
        for unfinished in ["FIXME", "XXX", "TODO"] {
            if has_word(line, unfinished) {
                add(number + 1, true, format!("{unfinished} is left: do it or write an issue"));
            }
        }
    }
}

fn under(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !part(line[..at].chars().next_back()) && !part(line[at + word.len()..].chars().next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str, text: &str) -> Vec<(usize, bool)> {
        let mut findings = Vec::new();
        rust_file(path, text, &mut findings);
        findings.iter().map(|finding| (finding.line, finding.must_go)).collect()
    }

    #[test]
    fn a_plain_file_passes() {
        assert_eq!(said("agent/src/x.rs", "//! Owns x.\n#![forbid(unsafe_code)]\nfn f() {}\n"), []);
    }

    #[test]
    fn each_rule_finds_its_line() {
        assert_eq!(said("agent/src/x.rs", "fn f() {}\n"), [(1, true)]);
        assert_eq!(said("agent/src/utils.rs", "//! Owns x.\n"), [(1, true)]);
        assert_eq!(said("agent/src/x.rs", "//! Owns x.\nunsafe fn f() {}\n"), [(2, true)]);
        assert_eq!(said("agent/src/ring.rs", "//! Owns x.\nunsafe fn f() {}\n"), []);
        assert_eq!(said("agent/src/x.rs", "//! Owns x.\nfn f() { std::process::exit(1) }\n"), [(2, true)]);
        assert_eq!(said("agent/src/x.rs", "//! Owns x.\n// FIXME later\n"), [(2, true)]);
        let long = format!("//! Owns x.\nfn f() {{\n{}}}\n", "    g();\n".repeat(60));
        assert_eq!(said("agent/src/x.rs", &long), [(2, false)]);
    }

    #[test]
    fn built_programs_are_found() {
        let mut findings = Vec::new();
        any_file("ebpf/object.o", b"\x7fELF\0", &mut findings);
        any_file("agent/tests/ring.bin", b"\0\0", &mut findings);
        assert_eq!(findings.len(), 1);
    }
}
