//! What is wrong with a configuration file, in sentences that name the line, the key and the nearest known key.
//! Finds every problem at once; reads nothing but the given text.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Kind, integer};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// A sentence without the line.
    pub text: String,
}

/// All problems, in order of line.
pub(super) fn find(text: &str) -> Vec<Problem> {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => return vec![Problem::of_toml(text, &error)],
    };
    let mut search = Search { text, problems: Vec::new() };
    search.table("", table.get_ref());
    search.tail_fits_head(table.get_ref());
    search.problems.sort_by_key(|problem| problem.line);
    search.problems
}

/// Problems of items of a list of tables, by their number: each at the line where the item begins.
pub(super) fn of_items(text: &str, section: &str, list: &str, wrong: Vec<(usize, String)>) -> Vec<Problem> {
    if wrong.is_empty() {
        return Vec::new();
    }
    let table = DeTable::parse(text).ok();
    let items = table
        .as_ref()
        .and_then(|table| table.get_ref().get(section)?.get_ref().as_table()?.get(list)?.get_ref().as_array());
    let line = |at: usize| {
        let span = items.and_then(|items| items.get(at)).map(Spanned::span);
        line_of(text, span.unwrap_or_default())
    };
    wrong
        .into_iter()
        .map(|(at, reason)| Problem { line: line(at), text: format!("{section}.{list}: {reason}") })
        .collect()
}

/// The problems as lines `FILE:LINE: sentence`.
pub fn list(path: &Path, problems: &[Problem]) -> String {
    let mut lines = String::new();
    for (at, problem) in problems.iter().enumerate() {
        let end = if at + 1 < problems.len() { "\n" } else { "" };
        // Writing to a String does not fail.
        let _ = write!(lines, "{}:{}: {}{end}", path.display(), problem.line, problem.text);
    }
    lines
}

impl Problem {
    pub(super) fn of_toml(text: &str, error: &toml::de::Error) -> Self {
        Problem { line: line_of(text, error.span().unwrap_or_default()), text: error.message().trim().to_owned() }
    }
}

struct Search<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Search<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path =
                if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            match KEYS.iter().find(|key| key.path == path) {
                Some(key) if key.kind.accepts(value.get_ref()) => self.list_of_tables(&path, value.get_ref()),
                Some(key) if key.kind.is_secret() => {
                    self.report(value.span(), format!("`{path}` wants {}", key.kind.wants()));
                }
                Some(key) => self.wrong(&path, &key.kind.wants(), value),
                None if is_section(&path) => match value.get_ref().as_table() {
                    Some(table) => self.table(&path, table),
                    None => self.wrong(&path, &format!("a section [{path}]"), value),
                },
                None => self.unknown(prefix, name, &path),
            }
        }
    }

    fn list_of_tables(&mut self, path: &str, value: &DeValue<'_>) {
        let needs = KEYS.iter().filter(|key| key.path == path).find_map(|key| match key.kind {
            Kind::Tables { needs } => Some(needs),
            _ => None,
        });
        let Some(needs) = needs else { return };
        for item in value.as_array().into_iter().flat_map(|list| list.iter()) {
            let Some(table) = item.get_ref().as_table() else { continue };
            self.table(path, table);
            for key in needs.iter().filter(|key| !table.contains_key(**key)) {
                self.report(item.span(), format!("a `{path}` needs a `{key}`"));
            }
        }
    }

    /// The one rule between two keys.
    fn tail_fits_head(&mut self, table: &DeTable<'_>) {
        let Some(capture) = table.get("capture").and_then(|section| section.get_ref().as_table()) else { return };
        let defaults = super::Capture::default();
        let bytes = |name: &str, default: u32| match capture.get(name) {
            Some(value) => integer(value.get_ref()),
            None => Some(i64::from(default)),
        };
        let (head, tail) = (bytes("head_bytes", defaults.head_bytes), bytes("tail_bytes", defaults.tail_bytes));
        if let (Some(head), Some(tail)) = (head, tail)
            && tail > head
        {
            let at = capture.get("tail_bytes").or(capture.get("head_bytes")).map_or(0..0, Spanned::span);
            self.report(at, format!("`capture.tail_bytes` ({tail}) must not exceed `capture.head_bytes` ({head})"));
        }
    }

    fn wrong(&mut self, path: &str, wants: &str, value: &Spanned<DeValue<'_>>) {
        self.report(value.span(), format!("`{path}` wants {wants}, got {}", describe(value.get_ref())));
    }

    fn unknown(&mut self, prefix: &str, name: &Spanned<std::borrow::Cow<'_, str>>, path: &str) {
        let advice = match nearest(prefix, name.get_ref(), path) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("known here: {}", known_in(prefix).join(", ")),
        };
        self.report(name.span(), format!("unknown key `{path}`; {advice}"));
    }

    fn report(&mut self, span: Range<usize>, text: String) {
        self.problems.push(Problem { line: line_of(self.text, span), text });
    }
}

fn line_of(text: &str, span: Range<usize>) -> usize {
    1 + text.as_bytes()[..span.start.min(text.len())].iter().filter(|&&b| b == b'\n').count()
}

fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Keys and sections directly below `prefix`.
fn known_in(prefix: &str) -> Vec<&'static str> {
    let mut names: Vec<&str> = KEYS
        .iter()
        .filter_map(
            |key| if prefix.is_empty() { Some(key.path) } else { key.path.strip_prefix(prefix)?.strip_prefix('.') },
        )
        .filter_map(|rest| rest.split('.').next())
        .collect();
    names.dedup();
    names
}

/// The known key that was most likely meant: one of the same section, else one of that name elsewhere.
fn nearest(prefix: &str, name: &str, path: &str) -> Option<String> {
    let alike = |known: &str, given: &str| strsim::jaro_winkler(known, given);
    let last = |known: &'static str| known.rsplit('.').next().unwrap_or(known);
    // A key of this very name in another section is beaten by a slip only.
    let least = if KEYS.iter().any(|key| last(key.path) == name) { 0.92 } else { 0.8 };
    let here = known_in(prefix).into_iter().map(|known| (alike(known, name), known));
    let best = here.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score >= least);
    if let Some((_, known)) = best {
        return Some(if prefix.is_empty() { known.to_owned() } else { format!("{prefix}.{known}") });
    }
    let elsewhere = KEYS.iter().map(|key| (alike(last(key.path), name).max(alike(key.path, path)), key.path));
    let best = elsewhere.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score >= 0.85)?;
    Some(best.1.to_owned())
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{text}\""),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(value) => format!("{value}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(list) if list.is_empty() => "an empty list".to_owned(),
        DeValue::Array(list) => format!("a list that begins with {}", describe(list[0].get_ref())),
        DeValue::Table(_) => "a section".to_owned(),
    }
}
