//! Texts of prompts and completions: nothing without leave, with it what was said, wherever the wire cuts it.

use std::sync::Arc;

use inferscope_abi::CLOSE_CLOSED;
use proptest::prelude::*;
use support::plants::{self, ORDINARY};

use super::{STREAM_END, STREAM_HEAD, Wire, chat, event, post, token};
use crate::config::Privacy;
use crate::privacy::{Content, Guard, Mode};
use crate::session::{Limits, Sessions};

fn guard(mode: Mode) -> Arc<Guard> {
    let max_chars = 1 << 20;
    let settings =
        Privacy { mode, models: vec!["m".into()], one_in: 1, max_bytes: 1 << 20, max_chars, ..Privacy::default() };
    Arc::new(Guard::new(&settings))
}

fn wire(guard: &Arc<Guard>) -> Wire {
    let mut wire = Wire::server();
    wire.sessions = Sessions::new(Limits::default()).guarded(Arc::clone(guard));
    wire
}

/// What a record would have of the last exchange.
fn content(wire: &mut Wire, guard: &Guard) -> Option<Content> {
    let said = wire.out.last_mut().expect("an exchange").said.take()?;
    guard.content(*said, Some("m"))
}

fn texts(parts: &[crate::privacy::Part]) -> Vec<(Option<&str>, &str, &str)> {
    parts.iter().map(|part| (part.role, part.kind, part.text.as_str())).collect()
}

const REQUEST: &str = r#"{"messages":[{"content":"Be \u0062rief.","role":"system"},{"role":"user","content":[{"type":"text","text":"Hi \ud83d\ude00"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":"{\"a\": 1}"}}]}],"model":"m","stream":true}"#;

#[test]
fn off_keeps_nothing() {
    let guard = guard(Mode::Off);
    let mut wire = wire(&guard);
    wire.request(post("/v1/chat/completions", "", REQUEST)).response(STREAM_HEAD).response(token("hello"));
    wire.response(STREAM_END);
    assert!(wire.out[0].said.is_none());
    assert_eq!(guard.held().bytes(), 0);
}

#[test]
fn messages_and_chunks_are_put_together() {
    let guard = guard(Mode::Redacted);
    for record_bytes in [1, 5, 8192] {
        let mut wire = wire(&guard);
        wire.record_bytes = record_bytes;
        wire.request(post("/v1/chat/completions", "", REQUEST)).response(STREAM_HEAD);
        wire.response(event(r#"{"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"Hm."}}]}"#));
        wire.response(token("Hel"))
            .response(token("lo\\u0021"))
            .response(event(r#"{"choices":[{"index":1,"delta":{"content":"no"}}]}"#));
        wire.response(event(r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"{}"}}]}}]}"#));
        wire.response(event("[DONE]")).response(STREAM_END);
        let content = content(&mut wire, &guard).expect("it is kept");
        assert_eq!(
            texts(&content.prompt),
            [
                (Some("system"), "text", "Be brief."),
                (Some("user"), "text", "Hi \u{1f600}"),
                (Some("user"), "text", "[image]"),
                (Some("assistant"), "tool_call", "{\"a\": 1}"),
            ],
        );
        assert_eq!(
            texts(&content.completion),
            [(None, "reasoning", "Hm."), (None, "text", "Hello!"), (None, "tool_call", "{}")],
        );
        // The second choice is left out.
        assert_eq!((content.prompt_cut, content.completion_cut), (false, true));
        assert_eq!(guard.held().bytes(), 0);
    }
}

#[test]
fn lines_under_another_type_are_put_together() {
    let guard = guard(Mode::Redacted);
    for (record_bytes, kind) in [(1, "application/json"), (8192, "text/plain"), (8192, "application/x-ndjson")] {
        let mut wire = wire(&guard);
        wire.record_bytes = record_bytes;
        wire.request(post("/api/chat", "", r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#));
        wire.response(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n"));
        for text in ["Hel", "lo", " you"] {
            wire.response(format!("{{\"message\":{{\"content\":\"{text}\"}}}}\n"));
        }
        wire.close(CLOSE_CLOSED);
        let content = content(&mut wire, &guard).expect("it is kept");
        assert_eq!(texts(&content.completion), [(None, "text", "Hello you")], "{kind}");
        assert!(!content.completion_cut, "{kind}");
    }
}

#[test]
fn every_dialect_says_what_was_asked_and_what_was_said() {
    let rows = [
        ("/v1/completions", r#"{"prompt":"ask"}"#, r#"{"choices":[{"index":0,"text":"say"}]}"#),
        ("/v1/responses", r#"{"input":"ask"}"#, r#"{"output":[{"content":[{"type":"output_text","text":"say"}]}]}"#),
        (
            "/v1/messages",
            r#"{"messages":[{"role":"user","content":[{"text":"ask"}]}]}"#,
            r#"{"content":[{"type":"text","text":"say"}]}"#,
        ),
        ("/api/chat", r#"{"messages":[{"content":"ask"}]}"#, r#"{"message":{"content":"say"},"done":true}"#),
        ("/api/generate", r#"{"prompt":"ask"}"#, r#"{"response":"say","done":true}"#),
        ("/generate", r#"{"text":"ask","sampling_params":{}}"#, r#"{"text":"say","meta_info":{"id":"x"}}"#),
        ("/generate_stream", r#"{"inputs":"ask"}"#, r#"{"token":{"text":"say"},"generated_text":"say"}"#),
        ("/completion", r#"{"prompt":"ask"}"#, r#"{"content":"say"}"#),
        ("/v2/models/m/generate", r#"{"text_input":"ask"}"#, r#"{"text_output":"say"}"#),
        ("/v1/embeddings", r#"{"input":["ask"]}"#, r#"{"detail":"say"}"#),
    ];
    let guard = guard(Mode::Redacted);
    for (path, request, response) in rows {
        let mut wire = wire(&guard);
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", response.len());
        wire.request(post(path, "", request)).response(head + response);
        let content = content(&mut wire, &guard).unwrap_or_else(|| panic!("{path} is kept"));
        assert_eq!(content.prompt.iter().map(|part| part.text.as_str()).collect::<Vec<_>>(), ["ask"], "{path}");
        assert_eq!(content.completion.iter().map(|part| part.text.as_str()).collect::<Vec<_>>(), ["say"], "{path}");
        assert!(!content.prompt_cut && !content.completion_cut, "{path}");
    }
}

#[test]
fn a_stream_that_repeats_itself_is_told_once() {
    let guard = guard(Mode::Redacted);
    let mut wire = wire(&guard);
    wire.request(post("/generate", "", r#"{"text":"ask","sampling_params":{},"stream":true}"#)).response(STREAM_HEAD);
    for text in ["a", "a b", "a b c"] {
        wire.response(event(&format!(r#"{{"text":"{text}","meta_info":{{"id":"x"}}}}"#)));
    }
    wire.response(event("[DONE]")).response(STREAM_END);
    let content = content(&mut wire, &guard).expect("it is kept");
    assert_eq!(texts(&content.completion), [(None, "text", "a b c")]);
}

/// A hash of the same texts, whatever the framing was.
#[test]
fn another_choice_or_a_broken_event_replaces_nothing_of_a_stream_that_repeats_itself() {
    for mode in [Mode::Redacted, Mode::Hash] {
        let guard = guard(mode);
        let mut said = Vec::new();
        for others in [false, true] {
            let mut wire = wire(&guard);
            wire.request(post("/generate", "", r#"{"text":"ask","sampling_params":{"n":2}}"#)).response(STREAM_HEAD);
            for text in ["Hel", "Hello"] {
                wire.response(event(&format!(r#"{{"text":"{text}","index":0,"meta_info":{{"id":"a"}}}}"#)));
                if others {
                    wire.response(event(r#"{"text":"y","index":1,"meta_info":{"id":"a"}}"#));
                    wire.response(event(r#"{"text":"z","text":"zz","meta_info":{"id":"#));
                }
            }
            wire.response(event("[DONE]")).response(STREAM_END);
            let content = content(&mut wire, &guard).expect("it is kept");
            assert_eq!(content.completion_cut, others);
            said.push((
                content.completion_hash,
                texts(&content.completion).iter().map(|part| part.2.to_owned()).collect::<Vec<_>>(),
            ));
            assert_eq!(guard.held().bytes(), 0);
        }
        assert_eq!(said[0], said[1]);
        let wanted: Vec<String> = if mode == Mode::Hash { Vec::new() } else { vec!["Hello".into()] };
        assert_eq!(said[0].1, wanted);
    }
}

#[test]
fn equal_prompts_have_equal_hashes() {
    let guard = guard(Mode::Hash);
    let hashes = |record_bytes: usize, stream: &[&str]| {
        let mut wire = wire(&guard);
        wire.record_bytes = record_bytes;
        wire.request(chat(true)).response(STREAM_HEAD);
        stream.iter().for_each(|text| _ = wire.response(token(text)));
        wire.response(event("[DONE]")).response(STREAM_END);
        let content = content(&mut wire, &guard).expect("it is kept");
        assert!(content.prompt.is_empty() && content.completion.is_empty() && content.key_id.is_some());
        (content.prompt_hash.expect("a prompt"), content.completion_hash.expect("a completion"))
    };
    let (prompt, completion) = hashes(8192, &["hello"]);
    assert_eq!((prompt.clone(), completion.clone()), hashes(3, &["hel", "lo"]));
    let (other_prompt, other) = hashes(8192, &["hullo"]);
    assert_eq!(other_prompt, prompt);
    assert_ne!(other, completion);
}

#[test]
fn what_follows_missing_bytes_is_not_kept_and_that_is_said() {
    let guard = guard(Mode::Redacted);
    let mut wire = wire(&guard);
    let body = format!(r#"{{"model":"m","prompt":"my password is {}, and {ORDINARY}"}}"#, "x".repeat(200));
    let request = post("/v1/completions", "", &body);
    wire.call_bytes = request.len() - 150;
    wire.request(&request);
    wire.call_bytes = usize::MAX;
    wire.response(STREAM_HEAD);
    let lost = event(r#"{"choices":[{"index":0,"text":"one password=hunter"}]}"#);
    wire.call_bytes = lost.find("ter\"").expect("it is there");
    wire.response(&lost);
    wire.call_bytes = usize::MAX;
    wire.response(event(r#"{"choices":[{"index":0,"text":"2 two"}]}"#)).response(STREAM_END);
    let content = content(&mut wire, &guard).expect("it is kept");
    assert!(content.prompt_cut && content.completion_cut);
    let told = format!("{:?} {:?}", texts(&content.prompt), texts(&content.completion));
    assert!(!told.contains("xxx") && !told.contains("hun") && !told.contains("2 two"), "{told}");
}

#[test]
fn a_model_that_is_not_named_is_not_kept_in_full() {
    let guard = guard(Mode::Full);
    let mut wire = wire(&guard);
    wire.request(chat(false)).response("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    let said = wire.out[0].said.take().expect("it is held");
    assert_eq!(guard.content(*said, Some("other")), None);
}

/// Every secret and every name, in each place that is read, a byte at a time.
#[test]
fn planted_secrets_are_in_no_content() {
    let plants = plants::all();
    assert!(plants.len() >= 50, "{}", plants.len());
    let text = plants::text(&plants);
    let tools =
        serde_json::json!([{"function": {"name": "f", "arguments": serde_json::json!({"a": text}).to_string()}}]);
    let messages = serde_json::json!([{"role": "user", "content": text, "tool_calls": tools}]);
    let body = serde_json::json!({"model": "m", "user": text, "messages": messages}).to_string();
    for mode in [Mode::Hash, Mode::Redacted, Mode::Full] {
        let guard = guard(mode);
        let mut wire = wire(&guard);
        wire.request(post("/v1/chat/completions", "", &body)).response(STREAM_HEAD);
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(2) {
            let piece = serde_json::json!(piece.iter().collect::<String>()).to_string();
            wire.response(token(&piece[1..piece.len() - 1]));
        }
        wire.response(event("[DONE]")).response(STREAM_END);
        let content = content(&mut wire, &guard).expect("it is kept");
        let told = texts(&content.prompt).into_iter().chain(texts(&content.completion));
        let told: Vec<String> = told.map(|(_, _, text)| text.to_owned()).collect();
        assert!(told.iter().all(|text| text.contains(ORDINARY)), "{told:?}");
        let told = told.concat();
        let left = plants::found(&plants, told.as_bytes());
        let personal: Vec<&str> = plants.iter().filter(|plant| plant.personal).map(|plant| plant.kind).collect();
        match mode {
            Mode::Hash => assert_eq!(told, ""),
            Mode::Full => assert_eq!(left, personal),
            _ => assert_eq!(left, Vec::<&str>::new()),
        }
    }
}

proptest! {
    #[test]
    fn any_bodies_are_fine_and_give_back_what_they_held(
        request in prop::collection::vec(any::<u8>(), 0..300),
        response in "(data: |\\{|\\}|\"choices\":|\"delta\":|\"content\":|\"a\\\\u00|,|\\[|\\]|\n\n|\"){0,60}",
        size in 1usize..40,
    ) {
        for mode in [Mode::Hash, Mode::Redacted] {
            let guard = guard(mode);
            let mut wire = wire(&guard);
            wire.record_bytes = size;
            let mut bytes = format!("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n", request.len()).into_bytes();
            bytes.extend_from_slice(&request);
            wire.request(&bytes).response(STREAM_HEAD);
            if !response.is_empty() {
                wire.response(format!("{:x}\r\n{response}\r\n", response.len()));
            }
            wire.response(STREAM_END);
            _ = content(&mut wire, &guard);
            prop_assert_eq!(guard.held().bytes(), 0);
        }
    }
}
