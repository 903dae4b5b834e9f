//! Secrets that stand beside their name, in the many forms of configurations, programs, command lines and prose. Each
//! check gets the text that its pattern matched and says which part of it must go.

use std::ops::Range;

use super::words::{STOPS, is_odd, is_path_of_names, random, says_nothing};

/// Words behind an option in prose about it.
const OF_OPTIONS: &[&str] = &[
    "option",
    "options",
    "flag",
    "flags",
    "argument",
    "arguments",
    "parameter",
    "parameters",
    "switch",
    "instead",
    "because",
    "without",
    "which",
    "before",
    "after",
    "again",
    "requires",
    "takes",
    "sets",
    "will",
    "does",
    "then",
    "value",
    "prompt",
    "file",
    "stdin",
    "and",
    "or",
    "for",
];
/// What passwords are hashed with, and written as.
const METHODS: &[&str] =
    &["sha", "md5", "pbkdf", "argon", "bcrypt", "scrypt", "oauth", "base64", "base32", "aes", "rsa", "utf", "http"];

/// Shorter ones are words and numbers too often.
const SHORTEST: usize = 4;

/// A value, and how it stands there.
struct Value<'t> {
    /// The call or the type around it, such as `SecretStr`.
    call: &'t str,
    /// The first of several in brackets, with what follows it.
    list: bool,
    quoted: bool,
    text: &'t str,
    range: Range<usize>,
}

impl Value<'_> {
    /// Whether it, or one of its list, can be a password.
    fn says_something(&self) -> bool {
        if self.list {
            let mut items = self.text.split(['"', '\'']).filter(|item| item.contains(char::is_alphanumeric));
            return items.any(|item| !says_nothing(item, true));
        }
        let call = self.call.to_ascii_lowercase();
        let of_type = call.is_empty() || ["secret", "str", "bytes"].iter().any(|name| call.contains(name));
        // What `getenv` or `input` are told is a name or a prompt.
        !says_nothing(self.text, self.quoted) && (of_type || is_odd(self.text) && !self.text.contains(' '))
    }
}

/// The value of `name = value`, if it can be a password: anything but the words that stand for none or for a type.
pub fn password(text: &str) -> Option<Range<usize>> {
    let value = parsed(text)?;
    value.says_something().then_some(value.range)
}

/// The value of `pass`. Behind `pass:` words of prose and names of tests stand as well.
pub fn pass(text: &str) -> Option<Range<usize>> {
    let value = parsed(text)?;
    let behind = &text[text.len().min(if text.starts_with(['_', '-']) { 5 } else { 4 })..];
    let assigned = text.starts_with('_') || behind.starts_with(['=', '"', '\'', '\\']);
    let decimal = value.text.starts_with(|c: char| c.is_ascii_digit()) && value.text.contains('.');
    let loud = text.starts_with("PASS") && behind.trim_start().starts_with(':');
    let is_one = if assigned { value.says_something() && !decimal } else { is_odd(value.text) && !loud && !decimal };
    is_one.then_some(value.range)
}

/// What stands behind an option, in a line or as the next of a list.
pub fn option(text: &str) -> Option<Range<usize>> {
    let name = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))?;
    let rest = text[name..].trim_start_matches('\\');
    let rest = if rest.starts_with(['"', '\'']) { &rest[1..] } else { rest };
    let value = valued(text, rest.strip_prefix(',').unwrap_or(rest))?;
    let word = value.text.trim_end_matches(['.', ',', ')', '?', '!', ':', '`']);
    let prose = OF_OPTIONS.iter().any(|other| word.eq_ignore_ascii_case(other));
    (!prose && !value.text.starts_with('-') && value.says_something()).then_some(value.range)
}

/// The cell beside that of the name.
pub fn cell(text: &str) -> Option<Range<usize>> {
    last(text, |c| c == '|' || c.is_whitespace() || c == '`').filter(|range| is_odd(&text[range.clone()]))
}

/// The last word, which has the name of a password in front of it in a file of `.netrc`'s form.
pub fn netrc(text: &str) -> Option<Range<usize>> {
    last(text, char::is_whitespace).filter(|range| !says_nothing(&text[range.clone()], false))
}

/// The last word, with nothing but a blank between it and its name: letters and digits.
pub fn beside(text: &str) -> Option<Range<usize>> {
    let range = last(text, char::is_whitespace)?;
    let word = text[range.clone()].to_ascii_lowercase();
    let both = word.bytes().any(|b| b.is_ascii_digit()) && word.starts_with(|c: char| c.is_alphanumeric());
    (both && is_odd(&text[range.clone()]) && !METHODS.iter().any(|method| word.starts_with(method))).then_some(range)
}

/// What an element of XML holds. What is not closed must begin right behind the name.
pub fn element(text: &str) -> Option<Range<usize>> {
    let open = text.find('>')?;
    let name = text[1..open].split(char::is_whitespace).next().unwrap_or_default();
    let inner = &text[open + 1..];
    let (inner, end) = inner.split_once("</").map_or((inner, name), |(inner, end)| (inner, end));
    let value = inner.trim();
    let from = open + 1 + inner.len() - inner.trim_start().len();
    (name.starts_with(end) && value.chars().count() >= SHORTEST && !says_nothing(value, true))
        .then_some(from..from + value.len())
}

/// The value of `name = value`, if it can be a key or a token: not a number, not a word.
pub fn token(text: &str) -> Option<Range<usize>> {
    let value = parsed(text)?;
    (random(value.text) && !says_nothing(value.text, value.quoted)).then_some(value.range)
}

/// What follows the first sign between a name and its value, and its quote.
pub fn value_of(text: &str) -> Option<Range<usize>> {
    parsed(text).map(|value| value.range)
}

/// What is behind the last sign of a kind.
fn last(text: &str, is_between: impl Fn(char) -> bool) -> Option<Range<usize>> {
    let end = text.trim_end_matches(&is_between).len();
    let at = text[..end].rfind(is_between)?;
    Some(at + text[at..].chars().next().map_or(1, char::len_utf8)..end)
}

fn parsed(text: &str) -> Option<Value<'_>> {
    const SPACED: &str = "mot de passe";
    let spaced = text.get(..SPACED.len()).is_some_and(|name| name.eq_ignore_ascii_case(SPACED));
    let from = if spaced { SPACED.len() } else { 0 };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'' | '\\' | '*' | '`');
    let rest = text[from..].trim_start_matches(is_name).trim_start();
    let is = rest.get(..2).filter(|is| is.eq_ignore_ascii_case("is")).map(|_| rest[2..].trim_start());
    // The hyphen of `->` was taken for one of the name.
    let signs: &[&str] = if is.is_some() { &[":", "："] } else { &[":=", "=>", "->", ">", ":", "=", "：", ","] };
    let rest = is.unwrap_or(rest);
    let rest = signs.iter().find_map(|sign| rest.strip_prefix(sign)).unwrap_or(rest);
    // The end of `**name:** value`.
    let marked = rest.trim_start_matches(['*', '_', '`']);
    valued(text, if marked.starts_with([' ', '\t']) { marked } else { rest })
}

/// The value that is left of a text behind its name.
fn valued<'t>(text: &'t str, rest: &'t str) -> Option<Value<'t>> {
    let rest = rest.trim_start();
    let list = rest.strip_prefix('[').and_then(|inner| unquoted(inner.trim_start()));
    let called = rest.split_once('(').filter(|(call, _)| is_path_of_names(call));
    let called = called.and_then(|(call, inner)| Some((call, unquoted(inner.trim_start())?)));
    let (call, start, quoted) = match (list, called, unquoted(rest)) {
        (Some(start), ..) => ("", start, true),
        (_, Some((call, start)), _) => (call, start, true),
        (.., Some(start)) => ("", start, true),
        _ => ("", rest.strip_prefix('`').unwrap_or(rest), false),
    };
    let from = text.len() - start.len();
    // Of a list, to its last quote, unless that opens what is cut off.
    let quotes = start.matches(['"', '\'']).count();
    let end = start.rfind(['"', '\'']).filter(|_| list.is_some() && quotes % 2 == 1).map_or(text.len(), |at| from + at);
    // The backslash of an escaped quote.
    let end = text[..end].trim_end_matches('\\').len().max(from);
    let stop = text[from..end].find(STOPS).filter(|_| !quoted).map(|at| from + at);
    let range = from..stop.unwrap_or(end);
    (text[range.clone()].chars().count() >= SHORTEST).then(|| Value {
        call,
        list: list.is_some(),
        quoted,
        text: &text[range.clone()],
        range,
    })
}

/// What is behind a quote, with a prefix such as `b` or a backslash before it.
fn unquoted(text: &str) -> Option<&str> {
    let quote = text.find(['"', '\''])?;
    let is_prefix = quote <= 4 && text[..quote].bytes().all(|b| b"bfruBFRU\\".contains(&b));
    is_prefix.then(|| &text[quote + 1..])
}
