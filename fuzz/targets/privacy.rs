//! Texts of strangers: nothing of a secret stays, wherever it stands and however the text around it looks, and what was
//! cleaned is not cleaned otherwise again. The first byte says where the secret stands.
#![no_main]

use agent::privacy::{cut_end, name, redact, scrub};
use libfuzzer_sys::fuzz_target;

/// Put together here so that no scanner takes this file for a leak.
const SECRETS: [[&str; 2]; 5] = [
    ["sk-", "ant-api03-Qw3rTy7UiOpPLANTED"],
    ["gh", "p_16C7e42F292c6912E7710c838347PLANTED"],
    ["AK", "IAIOSFODNN7EXAMPLEPLANTED"],
    ["gl", "pat-AbCdEfGhIjKlMnOpPLANTED"],
    ["nv", "api-abcDEF123456PLANTED"],
];

fuzz_target!(|input: &[u8]| {
    let Some((at, rest)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    assert!(text.starts_with(cut_end(&text)));
    name(&text);
    let mut end = usize::from(*at).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let secret = SECRETS[usize::from(*at) % SECRETS.len()].concat();
    let planted = format!("{}\n{secret}\n{}", &text[..end], &text[end..]);
    for clean in [redact, scrub] {
        let once = clean(&planted);
        assert!(text.contains("PLANTED") || !once.contains("PLANTED"), "{planted:?} became {once:?}");
        let again = clean(&once);
        assert!(once == again, "{planted:?} became {once:?}, and that {again:?}");
    }
});
