//! Takes secrets and personal data out of a text. Each place that the patterns find is replaced by the name of what
//! stood there; what the patterns leave is looked through for keys of no known form.

use std::{borrow::Cow, ops::Range};

use regex_automata::{Anchored, Input, Span};

use super::{
    entropy,
    patterns::{ALL, Class, Finder, SECRETS},
};

/// What stands for a key of no known form.
const UNKNOWN: &str = "[secret]";

/// Where a text was cut off before it came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is whole.
    No,
    /// More of it may have followed.
    End,
}

/// The text without secrets and without personal data.
pub fn redact(text: &str) -> Cow<'_, str> {
    replaced(&ALL, text, true)
}

/// The text without secrets. Personal data stay.
pub fn scrub(text: &str) -> Cow<'_, str> {
    replaced(&SECRETS, text, true)
}

/// An id, a path or a name without secrets and personal data of a known form. Random letters stay: ids are made of them.
pub fn name(text: &str) -> Cow<'_, str> {
    replaced(&ALL, text, false)
}

/// Leaves out the last word of a text that was cut off, and numbers before it: they may be the beginning of what would
/// be known whole.
pub fn cut_end(text: &str) -> &str {
    let is_word = |c: char| c.is_ascii_graphic() || c.is_alphanumeric();
    let mut kept = text.trim_end_matches(is_word);
    loop {
        let before = kept.trim_end();
        let word = before.trim_end_matches(is_word);
        let last = &before[word.len()..];
        let numeric = !last.is_empty() && last.bytes().any(|b| b.is_ascii_digit());
        let short = last.len() <= 34 && !last.bytes().any(|b| b.is_ascii_lowercase());
        if !numeric || !short {
            return kept;
        }
        kept = word;
    }
}

fn replaced<'t>(finder: &Finder, text: &'t str, random: bool) -> Cow<'t, str> {
    let plain = unescaped(text);
    let mut found = finder.find(&plain);
    if random {
        let mut at = 0;
        let mut keys = Vec::new();
        for (range, _) in &found {
            keys.extend(entropy::keys(&plain[at..range.start]).into_iter().map(|key| at + key.start..at + key.end));
            at = range.end;
        }
        keys.extend(entropy::keys(&plain[at..]).into_iter().map(|key| at + key.start..at + key.end));
        found.extend(keys.into_iter().map(|key| (key, UNKNOWN)));
        found.sort_unstable_by_key(|(range, _)| range.start);
    }
    if found.is_empty() && matches!(plain, Cow::Borrowed(_)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(plain.len());
    let mut at = 0;
    for (range, label) in found {
        out.push_str(&plain[at..range.start]);
        out.push_str(label);
        at = range.end;
    }
    out.push_str(&plain[at..]);
    Cow::Owned(out)
}

impl Finder {
    /// Places in order, none inside another, and what they are called.
    fn find(&self, text: &str) -> Vec<(Range<usize>, &'static str)> {
        let mut found = Vec::new();
        let mut at = 0;
        let input = Input::new(text).anchored(Anchored::No);
        while let Some(hit) = self.regex.search(&input.clone().span(Span { start: at, end: text.len() })) {
            let pattern = self.rows[hit.pattern().as_usize()];
            let part = (pattern.check)(&text[hit.range()]);
            let part = part.map(|part| hit.start() + part.start..hit.start() + part.end);
            match part {
                Some(part) => {
                    at = part.end.max(hit.start() + 1);
                    if pattern.class != Class::Harmless {
                        found.push((part, pattern.label));
                    }
                }
                // Not what it looks like; something that begins within it may be.
                None => at = next_start(text, hit.start()).min(hit.end().max(hit.start() + 1)),
            }
            while !text.is_char_boundary(at) {
                at += 1;
            }
            if at >= text.len() {
                break;
            }
        }
        found
    }
}

/// After the run of letters or digits that stands at `from`, or after the one sign.
fn next_start(text: &str, from: usize) -> usize {
    let rest = text[from..].as_bytes();
    let run = rest.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
    from + run.max(1)
}

/// `\u0040` of JSON within a text, as tools' arguments have it, is the sign that it stands for: ASCII only, since
/// nothing else hides a pattern.
fn unescaped(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find("\\u00") else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(at) = rest.find("\\u00") {
        out.push_str(&rest[..at]);
        let sign = rest.get(at + 4..at + 6).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match sign.filter(|sign| (0x20..0x7f).contains(sign)) {
            Some(sign) => {
                out.push(char::from(sign));
                rest = &rest[at + 6..];
            }
            None => {
                out.push_str(&rest[at..at + 4]);
                rest = &rest[at + 4..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}
