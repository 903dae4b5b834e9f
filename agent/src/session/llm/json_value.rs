//! The values that the scanner hands on, and who takes them.

use std::borrow::Cow;

/// A wanted value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A string as it stands on the wire, cut at `TEXT_CAP` bytes.
    Text(Raw<'a>),
    /// A string whose text was not asked for; whether it is longer than nothing.
    Filled(bool),
    Uint(u64),
    /// Any other number; NaN where it is none or out of range.
    Float(f64),
    Bool(bool),
    Null,
    /// An object or array begins.
    Open,
    /// An object or array ends.
    Close,
}

/// The inside of a JSON string.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Raw<'a> {
    pub bytes: &'a [u8],
    pub escaped: bool,
    pub cut: bool,
}

/// Who wants the values.
pub trait Sink {
    /// What a wanted place is called.
    type Field: Copy;
    /// Whether it takes strings in pieces, which cost the others nothing.
    const PIECES: bool = false;
    /// Some of the inside of a string at this field, of any length; its end is told as `Filled` or `Text`.
    fn piece(&mut self, field: Self::Field, bytes: &[u8]) {
        _ = (field, bytes);
    }
    /// Whether the text of a string at this field is needed, or only whether it is empty.
    fn wants_text(&self, field: Self::Field) -> bool;
    fn value(&mut self, field: Self::Field, value: Value<'_>);
}

/// Longest string handed on.
pub const TEXT_CAP: usize = 256;

/// Any text, with its escapes undone; none of nothing, nor of what is no string of JSON.
pub fn plain(raw: Raw<'_>) -> Option<String> {
    if raw.bytes.is_empty() {
        return None;
    }
    if !raw.escaped {
        return Some(String::from_utf8_lossy(raw.bytes).into_owned());
    }
    // A cut may go through an escape, the longest of which is a surrogate pair.
    let shortest = raw.bytes.len().saturating_sub(if raw.cut { 12 } else { 0 });
    (shortest..=raw.bytes.len()).rev().find_map(|end| {
        let quoted = [b"\"", &raw.bytes[..end], b"\""].concat();
        serde_json::from_slice(&quoted).ok()
    })
}

/// A word of a protocol, with its escapes undone; nothing if it is too long to be one. Only escapes make it a copy.
pub fn word(raw: Raw<'_>) -> Cow<'_, [u8]> {
    match raw {
        Raw { cut: true, .. } => Cow::Borrowed(&[]),
        Raw { escaped: false, bytes, .. } => Cow::Borrowed(bytes),
        _ => Cow::Owned(plain(raw).unwrap_or_default().into_bytes()),
    }
}

/// A number or literal; `None` if it is neither.
pub fn scalar_value(text: &[u8]) -> Option<Value<'static>> {
    Some(match text {
        b"true" => Value::Bool(true),
        b"false" => Value::Bool(false),
        b"null" => Value::Null,
        b"NaN" | b"Infinity" | b"-Infinity" => Value::Float(f64::NAN),
        _ => {
            let text = std::str::from_utf8(text).ok()?;
            match text.parse::<u64>() {
                Ok(_) if text.starts_with('+') => return None,
                Ok(number) => Value::Uint(number),
                Err(_) => {
                    let number = text.parse::<f64>().ok()?;
                    let whole = (0.0..9e15).contains(&number) && number.fract() == 0.0;
                    if whole { Value::Uint(number as u64) } else { Value::Float(number) }
                }
            }
        }
    })
}
