//! Foreign texts on a terminal: names that clients choose, arguments of processes, symbols of modules. Keeps them from
//! moving the cursor, setting the clipboard, or looking like lines and words of ours. Nothing else is done to them.
#![forbid(unsafe_code)]

use std::borrow::Cow;

/// What a sign is shown as: U+FFFD for controls (ESC, newlines, C1) and for those that turn the direction of writing.
pub fn sign(sign: char) -> char {
    if steers(sign) { '\u{fffd}' } else { sign }
}

/// A text of such signs.
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.contains(steers) { Cow::Owned(text.chars().map(sign).collect()) } else { Cow::Borrowed(text) }
}

fn steers(sign: char) -> bool {
    sign.is_control() || matches!(sign, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_replaced_and_nothing_else() {
        for (text, plain) in [
            ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
            ("模型 é 🔥", "模型 é 🔥"),
            ("", ""),
            ("a\u{1b}[2Jb", "a\u{fffd}[2Jb"),
            ("a\u{1b}]52;c;eA==\u{7}", "a\u{fffd}]52;c;eA==\u{fffd}"),
            ("a\r\nb\tc\0", "a\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}"),
            ("\u{7f}\u{9b}2J", "\u{fffd}\u{fffd}2J"),
            ("a\u{202e}fugg\u{202a}", "a\u{fffd}fugg\u{fffd}"),
            ("\u{2066}a\u{2069}", "\u{fffd}a\u{fffd}"),
        ] {
            assert_eq!(shown(text), plain, "{text:?}");
        }
        assert!(matches!(shown("plain"), Cow::Borrowed(_)));
    }

    proptest::proptest! {
        #[test]
        fn no_control_is_left(text in "(?s).*") {
            let shown = shown(&text);
            proptest::prop_assert!(!shown.contains(char::is_control));
            proptest::prop_assert_eq!(shown.chars().count(), text.chars().count());
        }
    }
}
