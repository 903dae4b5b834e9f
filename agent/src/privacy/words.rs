//! Whether a value can be a secret: what stands for none, for a type or for the place where one comes from says nothing.

/// Signs of prose without blanks, at which a value without quotes ends.
pub const STOPS: &[char] = &['，', '。', '；', '、'];

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

/// Whether it stands for no value or for another one: known words, placeholders, rows of signs and, without quotes, code.
pub fn says_nothing(value: &str, quoted: bool) -> bool {
    let word = value.trim_end_matches(['.', ',', ')', '?', '!', ':', '*']);
    let known = NO_SECRET.iter().any(|none| word.eq_ignore_ascii_case(none));
    let masked = |c: char| "*.-_=?/|:<>()[]{}\\\u{2022}\u{2026}".contains(c);
    known || is_placeholder(value) || !quoted && is_code(value) || value.chars().all(masked)
}

/// `${PASSWORD}`, `$(cat file)`, `{{ password }}`, `$PASSWORD`, `<password>`, `{password}`, and the names that stand for
/// what was taken out, such as `[secret]`.
pub fn is_placeholder(value: &str) -> bool {
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
pub fn is_path_of_names(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:".contains(&b))
}

/// No word, no number and no path: it has a digit, a sign of no prose or a capital letter within, and is no name of a
/// variable. For places in which words stand as often as passwords.
pub fn is_odd(value: &str) -> bool {
    let word = value.trim_end_matches(['.', ',', ')', '?', '!', ':', '*', '`']);
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    let sign = word.contains(['!', '#', '$', '%', '&', '*', '+', '=', '?', '@', '^', '~']);
    let capital = word.chars().skip(1).any(char::is_uppercase) && word.contains(char::is_lowercase);
    let odd = sign || capital || letters >= 3 && word.bytes().any(|b| b.is_ascii_digit());
    let variable = word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    odd && !variable && !word.contains('/') && !says_nothing(value, false)
}

/// Long, and neither one number nor one word nor a version.
pub fn random(value: &str) -> bool {
    is_strange(value) && !is_version(value)
}

/// Long, and neither one number nor one word.
pub fn is_strange(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    value.len() >= 8 && letters >= 2 && (digits >= 2 || digits == 1 && value.len() >= 16 && mixed(value))
}

/// `gpt-4o-2024`, `v1.2.3-rc1`: numbers in their own groups, of words that are readable.
pub fn is_version(value: &str) -> bool {
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
