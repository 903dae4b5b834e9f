//! The tables of what goes and of what stays, and what holds for any text.

mod guard;
mod tables;

use proptest::prelude::*;

use super::{cut_end, redact, scrub};

#[test]
fn every_pattern_compiles_and_has_its_name() {
    assert!(super::labels().all(|(label, _)| label.starts_with('[') && label.ends_with(']')));
    assert!(super::labels().any(|(_, secret)| secret) && super::labels().any(|(_, secret)| !secret));
}

#[test]
fn what_may_be_the_beginning_of_more_is_left_out() {
    for (text, kept) in [
        ("write to john.doe@exa", "write to "),
        ("the key is sk-ant-ap", "the key is "),
        ("card 4111 1111 1111 1", "card"),
        ("it ends with a word. ", "it ends with a word. "),
        ("one", ""),
        ("你好 世界ab", "你好 "),
        ("my iban DE89 3704 0044", "my iban"),
    ] {
        assert_eq!(cut_end(text).trim_end(), kept.trim_end(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_fine_and_nothing_is_found_twice(text in ".{0,300}") {
        let once = redact(&text).into_owned();
        prop_assert!(once.is_char_boundary(once.len()));
        _ = scrub(&text);
        _ = cut_end(&text);
    }

    /// Whatever stands around it, as long as it is not part of the same word.
    #[test]
    fn secrets_go_from_between_any_texts(before in "[^!-~]{0,40}", after in "[^!-~]{0,40}") {
        for secret in ["sk-ant-api03-Qw3rTy7UiOp", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "john.doe@example.com"] {
            let text = format!("{before} {secret} {after}");
            prop_assert!(!redact(&text).contains(secret), "{}", text);
        }
    }
}
