//! Figures against serde_json's: of a whole body they are equal, and of a body with a hole they are equal or absent.
//! The first two bytes say where the hole is.
#![no_main]

use agent::session::llm::{LlmParser, Piece};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fn counts(pieces: &[Piece<'_>]) -> [Option<u64>; 2] {
    let mut parser = LlmParser::detect("POST", "/v1/completions").expect("the path is a dialect's");
    parser.response_head(200, &[]);
    for piece in pieces {
        parser.response_body(*piece);
    }
    parser.response_end();
    let exchange = parser.finish();
    [exchange.input_tokens, exchange.output_tokens]
}

fuzz_target!(|input: &[u8]| {
    let [from, length, body @ ..] = input else { return };
    let Ok(document) = serde_json::from_slice::<Value>(body) else { return };
    // Tokens come from there too, and floats that are whole count as integers.
    if !document.is_object() || document.get("timings").is_some() {
        return;
    }
    let figures = ["prompt_tokens", "completion_tokens"].map(|key| document.get("usage").and_then(|u| u.get(key)));
    if figures.iter().flatten().any(|figure| figure.is_f64()) {
        return;
    }
    let truth = figures.map(|figure| figure.and_then(Value::as_u64));
    // Written anew, so that no key stands twice or in disguise.
    let Ok(body) = serde_json::to_vec(&document) else { return };
    assert_eq!(counts(&[Piece::Bytes(&body)]), truth);

    let start = usize::from(*from).min(body.len());
    let end = (start + usize::from(*length)).min(body.len());
    let holed = counts(&[Piece::Bytes(&body[..start]), Piece::Gap(1), Piece::Bytes(&body[end..])]);
    for (given, right) in holed.iter().zip(truth) {
        assert!(given.is_none() || *given == right, "{holed:?} instead of {truth:?}");
    }
});
