//! The tables of what goes and of what stays, and what holds for any text.

mod forms;
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

#[test]
fn what_is_seen_only_when_its_neighbour_has_gone_goes_too() {
    for (text, left) in [
        ("4111 1111 1111 1111data:image/png;base64,", "[card][image]"),
        (r"john\u005cu0040example.com and jane@example.com", "[email] and [email]"),
    ] {
        assert_eq!(redact(text), left);
    }
}

/// Parts of which what is found is made, and what it is found by.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "password", "token", "api_key", "Authorization", "Cookie", "x-api-key", "Bearer ", "secret", "passport no", "dob", "key",
    "=", ": ", ":", " ", "\n", "\"", "'", "\\\"", "\\n", "\\u00", "5c", "40", "@", "%40", "://", "/", ".", "-", "_", ";", ",",
    "sk-", "ant-", "hf_", "ghp_", "AKIA", "eyJ", "-----BEGIN PRIVATE KEY-----", "-----END", "data:image/png;base64,",
    "a1b2c3d4e5f6", "hunter2", "example.com", "john", "Qw3rTy7UiOpAsDf", "kJ8sLq2ZpX9vTb4RnY7wEe3MhUc6Fd1g", "ABCDEFGHIJKLMNOP",
    "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "203.0.113.77", "2001:db8::1", "219-09-9999", "+49 30 901820", "1980-02-29",
    "550e8400-e29b-41d4-a716-446655440000", "2026-11-29T13:13:30", "1.2.3.4.5", "[secret]", "[email]", "is ", "é", "你",
    "pass", "--", "|", "<", ">", "<password>", "</", "[", "]", "(", "->", "**", "：", "，", "machine a ", "login b ", "swordfish", "--api-key ", "['", "team-secret-0815", "b'",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_clean_stays_as_it_is(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..14)) {
        let text = pieces.concat();
        for clean in [redact, scrub] {
            let once = clean(&text).into_owned();
            prop_assert_eq!(clean(&once), once.as_str(), "{:?}", text);
        }
    }
}
