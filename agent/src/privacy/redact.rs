//! Takes secrets and personal data out of a text. Each place that the patterns find is replaced by the name of what
//! stood there; what the patterns leave is looked through for keys of no known form.

use std::{borrow::Cow, ops::Range};

use regex_automata::{Anchored, Input, Match, PatternID, Span};
use zeroize::Zeroize;

use super::{
    entropy,
    patterns::{ALL, Class, Finder, Pattern, SECRETS, marked},
};

/// What stands for a key of no known form.
const UNKNOWN: &str = "[secret]";

/// How often a text is looked through at most. Two looks are enough but for texts that are made to need more.
const LOOKS: usize = 8;

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
    if marked(text) { replaced(&ALL, text, false) } else { Cow::Borrowed(text) }
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

/// Looks again at a text from which something was taken: what stood beside it may be known only now, such as a number
/// that was no word of its own. So a clean text stays as it is.
fn replaced<'t>(finder: &Finder, text: &'t str, random: bool) -> Cow<'t, str> {
    let Cow::Owned(mut clean) = looked_through(finder, text, random) else { return Cow::Borrowed(text) };
    for _ in 1..LOOKS {
        let Cow::Owned(cleaner) = looked_through(finder, &clean, random) else { break };
        let settled = cleaner == clean;
        wipe(Cow::Owned(std::mem::replace(&mut clean, cleaner)));
        if settled {
            break;
        }
    }
    Cow::Owned(clean)
}

fn looked_through<'t>(finder: &Finder, text: &'t str, random: bool) -> Cow<'t, str> {
    let plain = unescaped(text);
    let shadow = without_escapes(&plain);
    let mut found = finder.find(&shadow);
    if random {
        let mut at = 0;
        let mut keys = Vec::new();
        for (range, _) in &found {
            keys.extend(entropy::keys(&shadow[at..range.start]).into_iter().map(|key| at + key.start..at + key.end));
            at = range.end;
        }
        keys.extend(entropy::keys(&shadow[at..]).into_iter().map(|key| at + key.start..at + key.end));
        found.extend(keys.into_iter().map(|key| (key, UNKNOWN)));
        found.sort_unstable_by_key(|(range, _)| range.start);
    }
    wipe(shadow);
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
    wipe(plain);
    Cow::Owned(out)
}

/// Copies have the secrets still.
fn wipe(copy: Cow<'_, str>) {
    if let Cow::Owned(mut text) = copy {
        text.zeroize();
    }
}

impl Finder {
    /// Places in order, none inside another, and what they are called.
    fn find(&self, text: &str) -> Vec<(Range<usize>, &'static str)> {
        let mut found = Vec::new();
        let mut at = 0;
        let input = Input::new(text).anchored(Anchored::No);
        while let Some(hit) = self.regex.search(&input.clone().span(Span { start: at, end: text.len() })) {
            match self.part(text, at, &hit) {
                Some((part, pattern)) => {
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

impl Finder {
    /// What must go of a hit, by the first pattern that fits there and whose check agrees.
    fn part(&self, text: &str, from: usize, hit: &Match) -> Option<(Range<usize>, &'static Pattern)> {
        let checked = |hit: &Match| {
            let pattern = self.rows[hit.pattern().as_usize()];
            // A bound on the number of bytes may cut a character.
            let end = (hit.end()..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            let part = (pattern.check)(&text[hit.start()..end])?;
            let name = if pattern.with_name { name_before(&text[from..hit.start()])? } else { 0 };
            Some((hit.start() + part.start - name..hit.start() + part.end, pattern))
        };
        let rest = hit.pattern().as_usize() + 1..self.rows.len();
        let again = |row: usize| {
            let anchored = Anchored::Pattern(PatternID::new(row).ok()?);
            let span = Span { start: hit.start(), end: text.len() };
            checked(&self.regex.search(&Input::new(text).anchored(anchored).span(span))?)
        };
        checked(hit).or_else(|| rest.into_iter().find_map(again))
    }
}

/// Length of the mailbox's name at the end of a text.
fn name_before(text: &str) -> Option<usize> {
    let is_part = |c: &char| c.is_ascii_alphanumeric() || ('À'..='ɏ').contains(c) || "._%+'-".contains(*c);
    let length = text.chars().rev().take(64).take_while(is_part).map(char::len_utf8).sum();
    (length > 0).then_some(length)
}

/// After the run of letters or digits that stands at `from`, or after the one sign.
fn next_start(text: &str, from: usize) -> usize {
    let rest = &text.as_bytes()[from..];
    let run = rest.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
    from + run.max(1)
}

/// What the patterns read, of the same length: `\n` of JSON within a text is no letter of the word that follows it.
fn without_escapes(text: &str) -> Cow<'_, str> {
    let is_escape = |two: &[u8]| matches!(two, [b'\\', b'n' | b'r' | b't']);
    if !text.as_bytes().windows(2).any(is_escape) {
        return Cow::Borrowed(text);
    }
    let mut bytes = text.as_bytes().to_vec();
    for at in 0..bytes.len() - 1 {
        if is_escape(&bytes[at..at + 2]) {
            bytes[at..at + 2].fill(b' ');
        }
    }
    Cow::Owned(String::from_utf8(bytes).expect("signs of ASCII in place of others"))
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
