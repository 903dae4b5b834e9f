//! The last resort: keys of no known form. A run of letters of both cases and digits that change so often that it is
//! no name, no path and no number. Hex alone (hashes of git, UUIDs) is never taken for a key.

use std::ops::Range;

/// Shorter runs are not looked at.
const SHORTEST: usize = 24;

/// Runs in `text` that look like keys.
pub fn keys(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes[at..].iter().take_while(|b| is_part(**b)).count();
        if run >= SHORTEST {
            in_run(bytes, at..at + run, &mut found);
        }
        at += run.max(1);
    }
    found
}

/// The run, or else what is a key between its slashes and signs of equality: a path or a name before it is none.
fn in_run(bytes: &[u8], run: Range<usize>, found: &mut Vec<Range<usize>>) {
    if is_key(&bytes[run.clone()]) {
        return found.push(run);
    }
    let mut from = run.start;
    for part in bytes[run].split(|byte| matches!(byte, b'/' | b'=')) {
        if part.len() >= SHORTEST && is_key(part) {
            found.push(from..from + part.len());
        }
        from += part.len() + 1;
    }
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-' | b'=')
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Upper,
    Lower,
    Digit,
    Other,
}

fn class(byte: u8) -> Class {
    match byte {
        b'A'..=b'Z' => Class::Upper,
        b'a'..=b'z' => Class::Lower,
        b'0'..=b'9' => Class::Digit,
        _ => Class::Other,
    }
}

/// In random letters and digits of base64, two of three neighbours are of different classes; in names few are.
fn is_key(run: &[u8]) -> bool {
    let count = |wanted: Class| run.iter().filter(|b| class(**b) == wanted).count();
    let alphanumeric = run.len() - count(Class::Other);
    let changes = run.windows(2).filter(|two| class(two[0]) != class(two[1])).count();
    let joints =
        run.windows(2).filter(|two| (class(two[0]) == Class::Other) != (class(two[1]) == Class::Other)).count();
    let enough = count(Class::Upper) >= 3 && count(Class::Lower) >= 3 && count(Class::Digit) >= 2;
    let hex = run.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-');
    !hex && enough && alphanumeric * 8 >= run.len() * 7 && (changes - joints) * 100 >= alphanumeric * 42
}
