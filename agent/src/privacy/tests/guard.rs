//! What each mode keeps.

use std::time::Duration;

use crate::{
    config,
    privacy::{Cut, Guard, Kept, Mode},
};

const TEXT: &str = "mail john.doe@example.com, key sk-ant-api03-Qw3rTy7UiOp, thanks";

fn settings(mode: Mode) -> config::Privacy {
    config::Privacy { mode, models: vec!["llama*".into()], one_in: 1, ..config::Privacy::default() }
}

fn text(kept: Option<Kept>) -> String {
    match kept {
        Some(Kept::Text { text, .. }) => text,
        other => panic!("no text: {other:?}"),
    }
}

#[test]
fn each_mode_keeps_what_it_says() {
    assert_eq!(Guard::default().text(Some("llama-3"), TEXT), None);
    let redacted = text(Guard::new(&settings(Mode::Redacted)).text(None, TEXT));
    assert_eq!(redacted, "mail [email], key [anthropic-key], thanks");
    let full = Guard::new(&settings(Mode::Full));
    assert_eq!(text(full.text(Some("llama-3"), TEXT)), "mail john.doe@example.com, key [anthropic-key], thanks");
    assert_eq!((full.text(Some("qwen"), TEXT), full.text(None, TEXT)), (None, None), "not a named model");
}

#[test]
fn equal_texts_have_equal_hashes_for_as_long_as_the_key_lasts() {
    let guard = Guard::new(&settings(Mode::Hash));
    let hash = |text: &str| match guard.text(None, text) {
        Some(Kept::Hash { hash, key_id }) => (hash, key_id),
        other => panic!("no hash: {other:?}"),
    };
    let (first, key) = hash(TEXT);
    assert_eq!((first.clone(), key.clone()), hash(TEXT));
    assert_ne!(first, hash("another").0);
    guard.change(&config::Privacy { key_interval: Duration::ZERO, ..settings(Mode::Hash) });
    let (second, new) = hash(TEXT);
    assert!(second != first && new != key, "another key");
    let other = Guard::new(&settings(Mode::Hash));
    assert_ne!(other.text(None, TEXT), guard.text(None, TEXT), "another agent has another key");
}

#[test]
fn texts_are_cut_after_the_redaction_and_say_so() {
    let guard = Guard::new(&config::Privacy { max_chars: 16, ..settings(Mode::Redacted) });
    let long = "call +49 30 901820 or write to somebody";
    assert_eq!(guard.text(None, long), Some(Kept::Text { text: "call [phone] or ".into(), cut: true }));
    assert_eq!(guard.text(None, "short"), Some(Kept::Text { text: "short".into(), cut: false }));
    let kept = guard.kept(Mode::Redacted, None, "me: john.doe@exa", Cut::End);
    assert_eq!(kept, Some(Kept::Text { text: "me: ".into(), cut: true }));
}

#[test]
fn a_change_of_mode_holds_at_once_and_texts_of_before_are_dropped() {
    let guard = Guard::new(&settings(Mode::Redacted));
    guard.change(&settings(Mode::Off));
    assert_eq!((guard.mode(), guard.text(None, TEXT)), (Mode::Off, None));
    assert_eq!(guard.kept(Mode::Redacted, None, TEXT, Cut::No), None);
}

#[test]
fn the_full_mode_keeps_a_part_of_the_requests() {
    let guard = Guard::new(&config::Privacy { one_in: 10, ..settings(Mode::Full) });
    let drawn = (0..10_000).filter(|_| guard.drawn()).count();
    assert!((500..2000).contains(&drawn), "{drawn} of 10000, one in ten");
}

#[test]
fn nothing_shows_a_text_or_a_key_in_its_debug_form() {
    let guard = Guard::new(&settings(Mode::Redacted));
    let shown = format!("{guard:?} {:?} {:?}", guard.text(None, "plainly visible"), guard.hashing());
    assert!(!shown.contains("visible") && !shown.contains("secret"), "{shown}");
}
