//! The value of `name = value` in its many forms, and whether it can be a secret: what stands for none, for a type or
//! for the place where one comes from says nothing.

use std::ops::Range;

/// A value, and how it stands there.
struct Value<'t> {
    quoted: bool,
    text: &'t str,
    range: Range<usize>,
}

/// The value of `name = value`, if it can be a password: anything but the words that stand for none or for a type.
pub fn password(text: &str) -> Option<Range<usize>> {
    let value = parsed(text)?;
    (!says_nothing(value.text, value.quoted)).then_some(value.range)
}

/// The value of `name = value`, if it can be a key or a token: not a number, not a word.
pub fn token(text: &str) -> Option<Range<usize>> {
    let value = parsed(text)?;
    (random(value.text) && !says_nothing(value.text, value.quoted)).then_some(value.range)
}

/// What follows the first `=`, `:` or ` is ` and its quote.
pub fn value_of(text: &str) -> Option<Range<usize>> {
    parsed(text).map(|value| value.range)
}

fn parsed(text: &str) -> Option<Value<'_>> {
    let name = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'' | '\\')))?;
    let rest = text[name..].trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '=' | '>'));
    let rest = rest.strip_prefix("is ").unwrap_or(rest).trim_start_matches([' ', '\\']);
    let start = rest.trim_start_matches(['"', '\'', '\\', ' ', '`']);
    let quoted = rest.starts_with(['"', '\'']);
    // The backslash of an escaped quote.
    let range = text.len() - start.len()..text.trim_end_matches('\\').len();
    (range.start < range.end).then(|| Value { quoted, text: &text[range.clone()], range })
}

/// Words that stand for no password, for its type, or for where it comes from.
const NO_SECRET: &[&str] = &[
    "none",
    "null",
    "true",
    "false",
    "string",
    "required",
    "optional",
    "field",
    "text",
    "undefined",
    "nil",
    "self",
    "input",
    "wrong",
    "invalid",
    "incorrect",
    "missing",
    "expired",
    "empty",
    "must",
    "should",
    "cannot",
    "hash",
    "here",
    "your",
    "this",
    "that",
    "what",
    "when",
    "policy",
    "reset",
    "from",
    "with",
    "needed",
    "stored",
    "char",
    "bytes",
];

fn says_nothing(value: &str, quoted: bool) -> bool {
    let word = value.trim_end_matches(['.', ',', ')', '?', '!', ':', '*']);
    let known = NO_SECRET.iter().any(|none| word.eq_ignore_ascii_case(none));
    let masked = |c: char| "*.-_=?/|:<>()[]{}\\\u{2022}\u{2026}".contains(c);
    known || is_placeholder(value) || !quoted && is_code(value) || value.chars().all(masked)
}

/// `${PASSWORD}`, `$(cat file)`, `{{ password }}`, `$PASSWORD`, `<password>`, `{password}`, and the names that stand for
/// what was taken out, such as `[secret]`.
fn is_placeholder(value: &str) -> bool {
    let value = value.trim_end_matches(['.', ',', '?', '!', ':', '*', ';', '`']);
    let between = |open: char, close: char| {
        value.strip_prefix(open).and_then(|rest| rest.trim_end_matches(')').strip_suffix(close))
    };
    let is_variable = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    ["${", "$(", "{{"].iter().any(|open| value.starts_with(open))
        || value.strip_prefix('$').is_some_and(is_variable)
        || between('<', '>').is_some_and(|inner| !inner.contains(['<', '>']))
        || between('{', '}').is_some_and(is_path_of_names)
        || between('[', ']').is_some_and(|inner| inner.bytes().all(|b| b.is_ascii_alphabetic() || b"-_ ".contains(&b)))
}

/// `os.environ[...]`, `getpass()`, `row[0].password`, `self.password`: a call or a look-up, to its last bracket or to the
/// quote that ends the match, or what belongs to the process or to the object.
fn is_code(value: &str) -> bool {
    if ["os.", "self."].iter().any(|owner| value.starts_with(owner) && is_path_of_names(value.trim_end_matches('.'))) {
        return true;
    }
    let Some(open) = value.find(['(', '[']) else { return false };
    let behind = value.rfind(['(', ')', '[', ']']).map_or("", |last| &value[last + 1..]);
    let behind = behind.trim_end_matches(['.', ',', '?', '!', ':', '*']);
    is_path_of_names(&value[..open]) && (behind.is_empty() || behind.strip_prefix('.').is_some_and(is_path_of_names))
}

/// `name`, `object.name` or `module::name`.
fn is_path_of_names(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:".contains(&b))
}

/// Long, and neither one number nor one word.
pub fn random(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    let strange = digits >= 2 || digits == 1 && value.len() >= 16 && mixed(value);
    value.len() >= 8 && strange && letters >= 2 && !is_version(value)
}

/// `gpt-4o-2024`, `v1.2.3-rc1`: numbers in their own groups, of words that are readable.
fn is_version(value: &str) -> bool {
    let parts = || value.split(['-', '.', '_', '/', ':']);
    // `ab12` is none, though one may be: `fp16`, `w4a16`.
    let strange = parts().filter(|part| !is_readable(part)).count();
    value.len() < 32 && parts().count() > 2 && parts().all(|part| part.len() < 8) && strange < 2
}

/// A number, a word, a short one with its unit or its letter (`4o`, `rc1`), or a word with its number (`llama3`).
fn is_readable(part: &str) -> bool {
    let stem = part.trim_end_matches(|c: char| c.is_ascii_digit());
    let word = |text: &str| text.bytes().all(|b| b.is_ascii_alphabetic());
    part.len() <= 3 || part.bytes().all(|b| b.is_ascii_digit()) || word(stem) && (stem.len() > 2 || stem == part)
}

/// Upper and lower case within one word.
pub fn mixed(value: &str) -> bool {
    let inner = value.as_bytes().get(1..).unwrap_or_default();
    let upper = inner.iter().filter(|b| b.is_ascii_uppercase()).count();
    value.len() >= 8 && upper >= 2 && value.bytes().any(|b| b.is_ascii_lowercase())
}
