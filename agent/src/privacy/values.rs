//! Secrets that stand beside their name, in the many forms of configurations, programs, command lines and prose. Each
//! check gets the text that its pattern matched and says which part of it must go.

use std::ops::Range;

use super::words::{STOPS, is_odd, is_path_of_names, is_placeholder, is_strange, is_version, says_nothing};

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
];
/// What the values of `Authorization` begin with.
const SCHEMES: &[&str] = &["basic ", "bearer ", "digest ", "negotiate ", "token ", "apikey ", "aws4-hmac-sha256 "];
/// What passwords are hashed with, and written as.
const METHODS: &[&str] =
    &["sha", "md5", "pbkdf", "argon", "bcrypt", "scrypt", "oauth", "base64", "base32", "aes", "rsa", "utf", "http"];

/// Characters of the shortest value: shorter ones are words and numbers too often.
const SHORTEST: usize = 4;

/// A value, and how it stands there.
struct Value<'t> {
    /// The call or the type around it, such as `SecretStr`.
    call: &'t str,
    /// The first of several in brackets, with what follows it.
    list: bool,
    quoted: bool,
    /// In a pair or in a list, with its name before it.
    behind_comma: bool,
    text: &'t str,
    range: Range<usize>,
}

impl Value<'_> {
    /// Whether it, or one of its list, can be a password.
    fn says_something(&self) -> bool {
        if self.list {
            return self.items().any(|item| !says_nothing(item, true));
        }
        let call = self.call.to_ascii_lowercase();
        let of_type = call.is_empty() || ["secret", "str", "bytes"].iter().any(|name| call.contains(name));
        // What `getenv` or `input` are told is a name or a prompt.
        !says_nothing(self.text, self.quoted) && (of_type || is_odd(self.text) && !self.text.contains(' '))
    }
}

impl<'t> Value<'t> {
    /// Whether it, or one of its list, can be a key.
    fn is_token(&self, text: &str) -> bool {
        let name = text[..self.range.start].trim_start_matches('-').to_ascii_lowercase();
        let of_key = ["secret", "credential"].iter().any(|word| name.contains(word));
        let of_key = of_key || name.contains("key") && !name.starts_with("key");
        let is_key = |item: &str| {
            !item.starts_with("--")
                && is_strange(item)
                && (of_key || !is_version(item))
                && !says_nothing(item, self.quoted)
        };
        if self.list { self.items().any(is_key) } else { is_key(self.text) }
    }

    /// Whether it is the value of a header whose name stands before it in a pair or in a list. In a list of names the next
    /// is none.
    fn is_header(&self) -> bool {
        let word = self.text.to_ascii_lowercase();
        let scheme = SCHEMES.iter().any(|scheme| word.starts_with(scheme));
        (scheme || word.contains('=') || is_strange(&word)) && !is_placeholder(self.text)
    }

    /// The texts of a list.
    fn items(&self) -> impl Iterator<Item = &'t str> {
        self.text.split(['"', '\'']).filter(|item| item.contains(char::is_alphanumeric))
    }
}

/// A password by any of its names; it can be anything but the words that stand for none or for a type.
pub fn password(text: &str) -> Option<Range<usize>> {
    if text.starts_with("--") {
        return option(text);
    }
    let value = parsed(text)?;
    let is_one = match value.behind_comma {
        true => value.is_header(),
        false if is_short(text) => is_pass(text, &value),
        false => value.says_something(),
    };
    is_one.then_some(value.range)
}

/// Whether the name is `pass` and no more.
fn is_short(text: &str) -> bool {
    let name = text.trim_start_matches(['_', '-']).as_bytes();
    let whole = name.get(4).is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_');
    whole && name.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"pass"))
}

/// Whether it is the value of `pass`. Behind `pass:` words of prose and names of tests stand as well.
fn is_pass(text: &str, value: &Value<'_>) -> bool {
    let behind = &text[if text.starts_with(['_', '-']) { 5 } else { 4 }..];
    let assigned = text.starts_with('_') || behind.starts_with(['=', '"', '\'', '\\']);
    let decimal = value.text.starts_with(|c: char| c.is_ascii_digit()) && value.text.contains('.');
    let loud = text.starts_with("PASS") && behind.trim_start().starts_with(':');
    !decimal && if assigned { value.says_something() } else { is_odd(value.text) && !loud }
}

/// What stands behind an option, in a line or as the next of a list.
fn option(text: &str) -> Option<Range<usize>> {
    let value = behind_option(text)?;
    let word = value.text.trim_end_matches(['.', ',', ')', '?', '!', ':', '`']);
    let prose = OF_OPTIONS.iter().any(|other| word.eq_ignore_ascii_case(other));
    (!prose && !value.text.starts_with('-') && value.says_something()).then_some(value.range)
}

fn behind_option(text: &str) -> Option<Value<'_>> {
    let name = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))?;
    let rest = text[name..].trim_start_matches('\\');
    let rest = rest.strip_prefix(['"', '\'']).and_then(|rest| rest.strip_prefix(',')).unwrap_or(rest);
    valued(text, rest)
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

/// What stands in quotes right behind its name, as in SQL: `PASSWORD 'X'`, `IDENTIFIED WITH 'plugin' BY 'X'`.
pub fn quoted(text: &str) -> Option<Range<usize>> {
    let words = text.to_ascii_lowercase();
    let by = words.starts_with("identified").then(|| words.find(" by").or_else(|| words.find(" as")));
    let name = by.flatten().unwrap_or(0);
    let from = name + text[name..].find(['"', '\''])? + 1;
    let value = text[from..].trim_end_matches('\\');
    (!says_nothing(value, true)).then_some(from..from + value.len())
}

/// The password of `-u user:password`. Of a container's user and group both can be words or numbers.
pub fn user_password(text: &str) -> Option<Range<usize>> {
    let from = text.find(':')? + 1;
    let value = &text[from..];
    let ids = text.starts_with("--user") || !text.starts_with('-');
    let can_be = if ids { is_odd(value) } else { !says_nothing(value, false) };
    can_be.then_some(from..text.len())
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

/// The value of `name = value` or of an option, if it can be a key or a token: not a number, not a word, and no version
/// unless the name says that it is a key.
pub fn token(text: &str) -> Option<Range<usize>> {
    let value = if text.starts_with("--") { behind_option(text) } else { parsed(text) };
    value.filter(|value| value.is_token(text)).map(|value| value.range)
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
    // The second word of `api key`: another begins none here, for a sign or `is` follows the name.
    let key = rest.get(..3).filter(|word| word.eq_ignore_ascii_case("key"));
    let rest = key.map_or(rest, |_| rest.trim_start_matches(is_name).trim_start());
    let is = rest.get(..2).filter(|is| is.eq_ignore_ascii_case("is")).map(|_| rest[2..].trim_start());
    // The hyphen of `->` was taken for one of the name.
    let signs: &[&str] = if is.is_some() { &[":", "："] } else { &[":=", "=>", "->", ">", ":", "=", "：", ","] };
    let rest = is.unwrap_or(rest);
    let rest = signs.iter().find_map(|sign| rest.strip_prefix(sign)).unwrap_or(rest);
    // The end of `**name:** value`.
    let marked = rest.trim_start_matches(['*', '_', '`']);
    let behind_comma = text[..text.len() - rest.len()].ends_with(',');
    let value = valued(text, if marked.starts_with([' ', '\t']) { marked } else { rest })?;
    Some(Value { behind_comma, ..value })
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
    let end = list.and_then(|_| list_end(&text[..from], start)).map_or(text.len(), |at| from + at);
    // The backslash of an escaped quote.
    let end = text[..end].trim_end_matches('\\').len().max(from);
    let stop = text[from..end].find(STOPS).filter(|_| !quoted).map(|at| from + at);
    let range = from..stop.unwrap_or(end);
    (text[range.clone()].chars().count() >= SHORTEST).then(|| Value {
        call,
        list: list.is_some(),
        quoted,
        behind_comma: false,
        text: &text[range.clone()],
        range,
    })
}

/// Where the last text of a list ends whose first begins at `start`; None if it has no end.
fn list_end(before: &str, start: &str) -> Option<usize> {
    let mut open = before.chars().next_back();
    // All quotes of a list within a text have a backslash.
    let within = before.len() >= 2 && before[..before.len() - 1].ends_with('\\');
    let (mut end, mut escaped) = (None, false);
    for (at, sign) in start.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (open, sign) {
            (Some(_), '\\') => escaped = !within,
            (Some(quote), _) if quote == sign => (open, end) = (None, Some(at)),
            (None, '"' | '\'') => open = Some(sign),
            _ => {}
        }
    }
    end.filter(|_| open.is_none())
}

/// What is behind a quote, with a prefix such as `b` or a backslash before it.
fn unquoted(text: &str) -> Option<&str> {
    let quote = text.find(['"', '\''])?;
    let is_prefix = quote <= 4 && text[..quote].bytes().all(|b| b"bfruBFRU\\".contains(&b));
    is_prefix.then(|| &text[quote + 1..])
}
