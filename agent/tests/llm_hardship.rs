//! Bodies with bytes missing, broken, hostile or huge: the parser says nothing rather than something wrong, and stays
//! small.

#![allow(clippy::unwrap_used)]

use agent::session::exchange::LlmExchange;
use agent::session::llm::{LlmParser, Piece};
use proptest::prelude::*;

const GAP: &str = "~";

fn head(parser: &mut LlmParser, content_type: &str) {
    parser.response_head(200, &[httparse::Header { name: "Content-Type", value: content_type.as_bytes() }]);
}

fn respond(content_type: &str, pieces: &[&str]) -> (LlmExchange, u32) {
    let mut parser = LlmParser::detect("POST", "/v1/chat/completions").unwrap();
    head(&mut parser, content_type);
    let mut content = 0;
    for piece in pieces {
        content += match *piece {
            GAP => parser.response_body(Piece::Gap(1000)),
            bytes => parser.response_body(Piece::Bytes(bytes.as_bytes())),
        };
    }
    content += parser.response_end();
    (parser.finish(), content)
}

fn json(pieces: &[&str]) -> LlmExchange {
    respond("application/json", pieces).0
}

#[test]
fn llm_gap_in_a_string_keeps_what_stands_whole_around_it() {
    let x = json(&[
        r#"{"id":"a","model":"m","choices":[{"index":0,"message":{"content":"text"#,
        GAP,
        r#"more \"usage\":{\"prompt_tokens\":1} \\"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"#,
        r#""completion_tokens":7}}"#,
    ]);
    assert_eq!((x.id.as_deref(), x.model(), x.input_tokens, x.output_tokens), (Some("a"), Some("m"), Some(5), Some(7)));
    assert_eq!((x.finish_reason, x.parse_failures), (None, 0));
}

trait Model {
    fn model(&self) -> Option<&str>;
}
impl Model for LlmExchange {
    fn model(&self) -> Option<&str> {
        self.response_model.as_deref()
    }
}

#[test]
fn llm_gap_never_gives_a_wrong_figure() {
    let cases: &[(&[&str], Option<u64>)] = &[
        // The same words, inside a string.
        (&[r#"{"a":""#, GAP, r#"x","usage":{"prompt_tokens":5}}"}"#], None),
        (&[r#"{"a":""#, GAP, r#"\"usage\":{\"prompt_tokens\":5}}"#], None),
        (&[r#"{"a":""#, GAP, r#"\",\"usage\":{\"prompt_tokens\":5}}"}"#], None),
        // One level too deep.
        (&[r#"{"a":{"#, GAP, r#""b":1,"usage":{"prompt_tokens":5}}}"#], None),
        (&[r#"{"a":"#, GAP, r#"1,"usage":{"prompt_tokens":5}}"#], Some(5)),
        (&[r#"{"a":[1,2"#, GAP, r#"3,4],"b":["]",{}],"usage":{"prompt_tokens":5}}"#], Some(5)),
        // A key or a number that begins in the gap.
        (&[r#"{"a":1,"us"#, GAP, r#"age":{"prompt_tokens":5}}"#], None),
        (&[r#"{"a":1,"usage":{"prompt_tokens":1"#, GAP, r#"5}}"#], None),
        // The body's end is missing, or is not an object's.
        (&[r#"{"a":"#, GAP, r#"1,"usage":{"prompt_tokens":5}"#], None),
        (&[r#"{"a":"#, GAP, r#"1,"usage":{"prompt_tokens":5}}"#, GAP], None),
        (&[r#"[{"a":"#, GAP, r#"1,"usage":{"prompt_tokens":5}}]"#], None),
        (&[r#"{"a":"#, GAP, r#"1,"usage":{"prompt_tokens":5}]}"#], None),
        (&[r#"{"a":"#, GAP, r#"{"usage":{"prompt_tokens":5}}"#], None),
        (&[r#"{"a":"#, GAP, r#""}{"b":1,"usage":{"prompt_tokens":5}}"#], None),
        // After the document's end nothing matters.
        (&[r#"{"usage":{"prompt_tokens":5}}"#, GAP], Some(5)),
        (&[GAP, r#""b":1,"usage":{"prompt_tokens":5}}"#], Some(5)),
    ];
    for (pieces, expected) in cases {
        assert_eq!(json(pieces).input_tokens, *expected, "{pieces:?}");
    }
}

#[test]
fn llm_gap_then_megabytes() {
    let filler = format!("{}\",", "x\\\"y".repeat(100_000));
    let x = json(&[r#"{"model":"m","a":""#, GAP, &filler, r#""usage":{"prompt_tokens":5}}"#]);
    assert_eq!((x.model(), x.input_tokens), (Some("m"), Some(5)));
    let x = json(&[r#"{"model":"m","a":""#, GAP, r#"","usage":{"prompt_tokens":5},"b":""#, &filler, r#""c":1}"#]);
    assert_eq!((x.model(), x.input_tokens), (Some("m"), None));
}

#[test]
fn llm_gap_in_a_stream_drops_the_event() {
    let event = |text: &str| format!(r#"data: {{"choices":[{{"delta":{{"content":"{text}"}}}}]}}{}"#, "\n\n");
    let (a, b) = (event("a"), event("b"));
    let (x, content) = respond("text/event-stream", &[&a, &b[..20], GAP, &b[30..], &a, "data: [DO", "NE]\n\n"]);
    assert_eq!((content, x.parse_failures, x.stream), (2, 0, true));
}

#[test]
fn llm_gap_in_an_event_keeps_what_it_says_around_it() {
    let ids = vec!["12345"; 40_000].join(",");
    let (begin, end) = ids.split_at(131_072);
    let end = &end[end.len() - 8000..];
    let mut parser = LlmParser::detect("POST", "/api/generate").unwrap();
    head(&mut parser, "application/x-ndjson");
    let first = "{\"model\":\"m\",\"response\":\"a\",\"done\":false}\n";
    let last =
        format!("{{\"model\":\"m\",\"response\":\"\",\"done\":true,\"done_reason\":\"stop\",\"context\":[{begin}");
    let rest = format!("{end}],\"total_duration\":9,\"prompt_eval_count\":7,\"eval_count\":4}}\n");
    let mut content = 0;
    for piece in [Piece::Bytes(first.as_bytes()), Piece::Bytes(last.as_bytes()), Piece::Gap(100_928)] {
        content += parser.response_body(piece);
    }
    rest.as_bytes().chunks(4096).for_each(|piece| content += parser.response_body(Piece::Bytes(piece)));
    assert!(parser.ended());
    content += parser.response_end();
    let x = parser.finish();
    assert_eq!((content, x.parse_failures, x.input_tokens, x.output_tokens), (1, 0, Some(7), Some(4)));
    assert_eq!((x.finish_reason.as_deref(), x.engine), (Some("stop"), Some("ollama")));

    let usage = "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":4}}";
    for (end, tokens) in [
        (format!("y\",{usage}\n\n"), Some(4)),
        (format!("y\",{usage}\r\n\r\n"), Some(4)),
        (format!("y\",{usage}"), Some(4)),
        // Within a string, an object deeper down, an event that was cut off, and lines that belong to the event.
        (format!("y\\\",{}\"}}\n\n", usage.replace('"', "\\\"")), None),
        (format!("y\",{usage}}}\n\n"), None),
        (format!("y\",{}\n\n", &usage[..usage.len() - 1]), None),
        (format!("y\",{usage}\ndata: 1\n\n"), None),
    ] {
        let begin =
            "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],\"x\":\"x";
        let (x, content) = respond("text/event-stream", &[begin, GAP, &end]);
        assert_eq!((x.output_tokens, x.model(), content, x.parse_failures), (tokens, Some("m"), 0, 0), "{end}");
        assert_eq!(x.finish_reason.as_deref(), Some("stop"));
    }
}

#[test]
fn llm_broken_events_leave_no_trace() {
    let good = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let bad = [
        "data: {\"model\":\"bad\",\"usage\":{\"prompt_tokens\":9},\n\n",
        "data: {\"model\":\"bad\"]\n\n",
        "data: hello\n\n",
        "data: [DONE\n\n",
        "data: [DONE]x\n\n",
        "data: {\"usage\":{\"prompt_tokens\":1x}}\n\n",
    ];
    for bad in bad {
        let (x, content) = respond("text/event-stream", &[bad, good]);
        assert_eq!((x.model(), x.input_tokens, content, x.parse_failures), (Some("m"), None, 1, 1), "{bad}");
    }
    for fine in ["data: \n\n", "data:\n\n", ": ping\n\n", "event: ping\n\n", "id: 3\n\n"] {
        let (x, content) = respond("text/event-stream", &[fine, good]);
        assert_eq!((content, x.parse_failures), (1, 0), "{fine}");
    }
}

#[test]
fn llm_bodies_under_a_wrong_type() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let json = r#"{"error":{"type":"t"}}"#;
    for (kind, status, body, stream, error, failures) in [
        ("text/plain", 200, event, true, None, 0),
        ("application/json", 200, event, true, None, 0),
        ("", 200, &format!("id: 1\n{event}"), true, None, 0),
        ("text/plain", 200, &format!("retry: 10\n\n{event}"), true, None, 0),
        ("text/plain", 500, "internal error", false, None, 0),
        ("", 200, &format!("\u{feff}{event}"), true, None, 0),
        ("application/json", 400, &format!("\u{feff}{json}"), false, Some("t"), 0),
        ("application/json", 200, "\u{feff}x", false, None, 1),
        ("application/json", 200, "\u{feff}", false, None, 0),
        ("text/event-stream", 400, json, false, Some("t"), 0),
        ("text/html", 502, json, false, Some("t"), 0),
        ("text/html", 502, "<html>", false, None, 0),
        ("text/plain", 500, "error: it broke\n", false, None, 0),
        ("application/json; charset=utf-8", 500, "oops", false, None, 1),
        ("application/problem+json", 200, "{", false, None, 1),
        ("application/json", 200, "", false, None, 0),
    ] {
        let mut parser = LlmParser::detect("POST", "/v1/chat/completions").unwrap();
        parser.response_head(status, &[httparse::Header { name: "content-type", value: kind.as_bytes() }]);
        let mut content = 0;
        body.as_bytes().chunks(2).for_each(|piece| content += parser.response_body(Piece::Bytes(piece)));
        content += parser.response_end();
        let x = parser.finish();
        assert_eq!((x.stream, x.error.as_deref(), x.parse_failures), (stream, error, failures), "{kind} {body}");
        assert_eq!(content, u32::from(stream));
    }
}

/// Ollama's lines, as a proxy or a server of Python or node sends them on.
#[test]
fn llm_json_lines_under_any_type() {
    let lines = "{\"model\":\"m\",\"message\":{\"content\":\"a\"},\"done\":false}\n\
        {\"message\":{\"content\":\"b\"},\"done\":false}\r\n\n\
        {\"message\":{\"content\":\"c\"},\"done\":false}\n\
        {\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":7,\"eval_count\":4}";
    let kinds = [
        "application/x-ndjson",
        "application/x-jsonlines",
        "application/jsonlines",
        "application/stream+json",
        "application/json",
        "text/plain",
        "application/octet-stream",
        "",
        "text/event-stream",
    ];
    for (kind, size) in kinds.iter().flat_map(|kind| [1, 2, 61, 1000].map(|size| (kind, size))) {
        let mut parser = LlmParser::detect("POST", "/api/chat").unwrap();
        head(&mut parser, kind);
        let pieces = lines.as_bytes().chunks(size).map(Piece::Bytes);
        let content = pieces.map(|piece| parser.response_body(piece)).sum::<u32>() + parser.response_end();
        assert!(parser.ended(), "{kind} {size}");
        let x = parser.finish();
        assert_eq!((content, x.stream, x.parse_failures), (3, true, 0), "{kind} {size}");
        assert_eq!((x.model(), x.input_tokens, x.output_tokens), (Some("m"), Some(7), Some(4)), "{kind} {size}");
        assert_eq!(x.finish_reason.as_deref(), Some("stop"), "{kind} {size}");
    }
}

#[test]
fn llm_one_document_is_no_stream_whatever_stands_behind_it() {
    let one = r#"{"model":"m","message":{"content":"a"},"done":true,"prompt_eval_count":7}"#;
    let two = r#"{"message":{"content":"b"},"prompt_eval_count":9}"#;
    let read = |pieces: &[&str]| {
        let mut parser = LlmParser::detect("POST", "/api/chat").unwrap();
        head(&mut parser, "application/json");
        let mut content = 0;
        for piece in pieces {
            content += parser.response_body(if *piece == GAP { Piece::Gap(9) } else { Piece::Bytes(piece.as_bytes()) });
        }
        content += parser.response_end();
        let x = parser.finish();
        (content, x.stream, x.input_tokens)
    };
    for behind in ["", "\n", " \r\n\n", "\nnull\n", two, "\n[1]"] {
        assert_eq!(read(&[one, behind]), (0, false, Some(7)), "{behind}");
    }
    // Where bytes are missing, what follows is within a line until that ends.
    assert_eq!(read(&[one, "\n", GAP, two, "\n"]), (0, false, Some(7)));
    assert_eq!(read(&[one, GAP, "x}\n", two, "\n", one]), (3, true, Some(7)));
}

#[test]
fn llm_compressed_bodies_are_left_alone() {
    let mut parser = LlmParser::detect("POST", "/v1/chat/completions").unwrap();
    let header = |name, value: &'static str| httparse::Header { name, value: value.as_bytes() };
    parser.request_body(Piece::Bytes(br#"{"stream":true,"model":"m"}"#));
    parser.request_end();
    parser.response_head(200, &[header("Content-Type", "text/event-stream"), header("Content-Encoding", "gzip")]);
    parser.response_body(Piece::Bytes(b"{\x00data: {}\n\n"));
    parser.response_end();
    let x = parser.finish();
    assert_eq!((x.stream, x.request_model.as_deref(), x.parse_failures), (true, Some("m"), 0));
}

#[test]
fn llm_hostile_documents() {
    let deep = "[".repeat(1_000_000);
    let long = format!(r#"{{"model":"{}","usage":{{"prompt_tokens":5}}}}"#, "m".repeat(10_000_000));
    let digits = format!(r#"{{"usage":{{"prompt_tokens":{}}}}}"#, "9".repeat(100_000));
    let key = format!(r#"{{"{}":1,"usage":{{"prompt_tokens":5}}}}"#, "usage".repeat(100_000));
    assert_eq!((json(&[&deep]).parse_failures, json(&[&deep]).input_tokens), (1, None));
    let x = json(&[&long[..300], &long[300..]]);
    assert_eq!((x.model().map(str::len), x.input_tokens), (Some(256), Some(5)));
    assert_eq!(json(&[&digits]).input_tokens, None);
    assert_eq!(json(&[&key]).input_tokens, Some(5));
    for (number, expected) in [("5.0", Some(5)), ("5e1", Some(50)), ("-5", None), ("5.5", None), ("null", None)] {
        assert_eq!(json(&[&format!(r#"{{"usage":{{"prompt_tokens":{number}}}}}"#)]).input_tokens, expected, "{number}");
    }
}

#[test]
fn llm_escapes_in_names() {
    assert_eq!(json(&[r#"{"model":"org\/m\u00e9\ud83d\ude00"}"#]).model(), Some("org/mé😀"));
    let cut = format!(r#"{{"model":"{}\u00e9"}}"#, "m".repeat(253));
    assert_eq!(json(&[&cut]).model(), Some("m".repeat(253).as_str()));
    let x = json(&[
        r#"{"\u006dodel":"m","us\u0061ge":{"prompt_\u0074okens":5},"choic\u0065s":[{"finish_reason":"st\u006fp"}]}"#,
    ]);
    assert_eq!((x.model(), x.input_tokens, x.finish_reason.as_deref()), (Some("m"), Some(5), Some("stop")));
    let x = json(&[r#"{"object":"\u0065rror","type":"Bad\u0052equest"}"#]);
    assert_eq!(x.error.as_deref(), Some("BadRequest"));
    let delta = r#"data: {"choic\u0065s":[{"delt\u0061":{"c\u006fntent":"a"}}]}"#;
    assert_eq!(respond("text/event-stream", &[delta, "\n\n", delta, "\n\n"]).1, 2);
    // What only begins like a name, half a pair, and a name that was cut.
    let long = format!(r#"{{"error":{{"type":"{}"}}}}"#, r"\u0061".repeat(60));
    for (document, error) in [(r#"{"us\u0061ge\ud83d":{"prompt_tokens":5}}"#, None), (long.as_str(), Some("error"))] {
        let x = json(&[document]);
        assert_eq!((x.input_tokens, x.error.as_deref()), (None, error));
    }
    // A finish reason or an error's type that is a sentence is not kept.
    let x = json(&[r#"{"error":{"type":"you said: hello","code":"c d"},"choices":[{"finish_reason":"as you said"}]}"#]);
    assert_eq!((x.error.as_deref(), x.finish_reason), (Some("error"), None));
}

#[test]
fn llm_parts_are_the_choices_of_the_prompts() {
    let parts = |path, asked: &str, said: &str| {
        let mut parser = LlmParser::detect("POST", path).unwrap();
        parser.request_body(Piece::Bytes(asked.as_bytes()));
        parser.request_end();
        head(&mut parser, "application/json");
        parser.response_body(Piece::Bytes(said.as_bytes()));
        parser.response_end();
        parser.finish().parts
    };
    for (asked, is) in [
        (r#"{"prompt":"a"}"#, 1),
        (r#"{"prompt":["a","b"],"n":3}"#, 6),
        (r#"{"prompt":[[1,2],[3]]}"#, 2),
        (r#"{"prompt":[1,2,3],"n":2}"#, 2),
        (r#"{"prompt":[1,"a","b"]}"#, 1),
        (r#"{"prompt":"a","n":0}"#, 1),
        (r#"{"prompt":["a","b"],"n":18446744073709551615}"#, u64::MAX),
    ] {
        assert_eq!(parts("/v1/completions", asked, "{}"), is, "{asked}");
    }
    assert_eq!(parts("/v1/chat/completions", "{}", r#"{"choices":[{"index":0},{"index":1}]}"#), 2);
    let three =
        r#"[{"meta_info":{"prompt_tokens":1}},{"meta_info":{"prompt_tokens":1}},{"meta_info":{"prompt_tokens":1}}]"#;
    assert_eq!(parts("/generate", "{}", three), 3);
}

/// Of a stream that was given up, usage in an event of which bytes are missing may be one choice's.
#[test]
fn llm_usage_of_a_choice_is_not_told_after_a_gap() {
    let event = r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#;
    let cut = r#"data: {"choices":[{"index":0,"delta":{"content":""#;
    let rest = r#"b"}}],"usage":{"prompt_tokens":5,"completion_tokens":7}}"#;
    let told = |end: &str| {
        let (x, _) =
            respond("text/event-stream", &[&format!("data: {event}\n\n"), cut, GAP, &format!("{rest}\n\n{end}")]);
        (x.input_tokens, x.output_tokens)
    };
    assert_eq!(told(""), (None, None));
    assert_eq!(told("data: [DONE]\n\n"), (Some(5), Some(7)));
}

#[test]
fn llm_paths() {
    let dialect = |method, path| LlmParser::detect(method, path).map(|parser| parser.finish().dialect);
    for (path, expected) in [
        ("/v1/chat/completions", Some("openai_chat")),
        ("/proxy/v1/chat/completions", Some("openai_chat")),
        ("/chat/completions", Some("openai_chat")),
        ("/v1/completions", Some("openai_completions")),
        ("/completions", Some("llama_cpp_completion")),
        ("/api/generate", Some("ollama_generate")),
        ("/generate", Some("generate")),
        ("/inference/v1/generate", Some("vllm_generate")),
        ("/v1/generate", Some("generate")),
        ("/v2/models/a/generate", Some("triton_generate")),
        ("/v2/models/a/versions/1/infer", Some("kserve_infer")),
        ("/v2/models//infer", None),
        ("/", Some("tgi_generate")),
        ("", None),
        ("/v1/messages/count_tokens", None),
        ("/v1/chat/completions/", Some("openai_chat")),
        ("/v1/chat/completions//", None),
        ("/v2/models/a/generate/", Some("triton_generate")),
        ("//", None),
        ("/xchat/completions", Some("llama_cpp_completion")),
        ("/regenerate", None),
        ("generate", None),
    ] {
        assert_eq!(dialect("POST", path), expected, "{path}");
        assert_eq!(dialect("GET", path), None, "{path}");
    }
}

proptest! {
    #[test]
    fn llm_any_bytes(
        path in prop::sample::select(vec!["/v1/chat/completions", "/v1/messages", "/generate", "/api/chat", "/completion"]),
        kind in prop::sample::select(vec!["application/json", "text/event-stream", "application/x-ndjson"]),
        body in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\ \ndata1e".to_vec())], 0..400),
        gap in 0usize..400,
    ) {
        let mut parser = LlmParser::detect("POST", path).unwrap();
        parser.request_body(Piece::Bytes(&body));
        parser.request_end();
        head(&mut parser, kind);
        let (a, b) = body.split_at(gap.min(body.len()));
        parser.response_body(Piece::Bytes(a));
        parser.response_body(Piece::Gap(1));
        parser.response_body(Piece::Bytes(b));
        parser.response_end();
        parser.finish();
    }

    /// Whatever is cut out of a stream, each figure is the right one or none.
    #[test]
    fn llm_gap_anywhere_in_a_stream(
        from in 0usize..700, length in 1usize..700, lines in any::<bool>(), size in 1usize..90,
    ) {
        let events = [
            r#"{"id":"a","model":"m","x":{"usage":{"prompt_tokens":1}},"choices":[{"index":0,"delta":{"content":"}\n\n{"}}]}"#,
            r#"{"id":"a","choices":[{"index":0,"delta":{"content":"\"usage\":{\"prompt_tokens\":2}}"}}],"x":[{"model":"n"}]}"#,
            r#"{"id":"a","choices":[{"index":1,"delta":{"content":"a"},"finish_reason":"length"}],"y":"\\"}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7}}"#,
        ];
        let stream = events.map(|event| if lines { format!("{event}\n") } else { format!("data: {event}\n\n") }).concat();
        let from = from.min(stream.len());
        let to = (from + length).min(stream.len());
        let mut parser = LlmParser::detect("POST", "/v1/chat/completions").unwrap();
        head(&mut parser, if lines { "application/x-ndjson" } else { "text/event-stream" });
        let mut content = 0;
        stream.as_bytes()[..from].chunks(size).for_each(|piece| content += parser.response_body(Piece::Bytes(piece)));
        parser.response_body(Piece::Gap((to - from) as u64));
        stream.as_bytes()[to..].chunks(size).for_each(|piece| content += parser.response_body(Piece::Bytes(piece)));
        content += parser.response_end();
        let x = parser.finish();
        let right = |given: Option<u64>, figure| given.is_none_or(|given| given == figure);
        prop_assert!(right(x.input_tokens, 5) && right(x.output_tokens, 7) && content <= 3, "{} {:?}", content, x);
        prop_assert!(x.finish_reason.as_deref().is_none_or(|f| f == "stop" || f == "length"), "{:?}", x);
        prop_assert!(x.model().is_none_or(|m| m == "m") && x.id.as_deref().is_none_or(|id| id == "a"), "{:?}", x);
    }

    /// Whatever is cut out of a body, each figure is the right one or none.
    #[test]
    fn llm_gap_anywhere(from in 0usize..900, length in 1usize..900) {
        let body = r#"{"id":"a","model":"m","x":[{"usage":{"prompt_tokens":1}},"\"usage\":{\"prompt_tokens\":2}",[[1,2],{}]],
            "choices":[{"index":0,"message":{"content":"a \\ \" b, \"usage\":{\"prompt_tokens\":3}}\\"},"finish_reason":"stop"},
            {"index":1,"message":{"content":null},"finish_reason":"length"}],"y":{"y":{"prompt_tokens":4}},"z":"},{[",
            "usage":{"prompt_tokens":5,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":2}},"w":null}"#;
        let from = from.min(body.len());
        let to = (from + length).min(body.len());
        let x = json(&[&body[..from], GAP, &body[to..]]);
        let right = |given: Option<u64>, figure| given.is_none_or(|given| given == figure);
        prop_assert!(right(x.input_tokens, 5) && right(x.output_tokens, 7) && right(x.cached_tokens, 2), "{:?}", x);
        prop_assert!(x.finish_reason.as_deref().is_none_or(|f| f == "stop"), "{:?}", x);
        prop_assert!(x.model().is_none_or(|m| m == "m"), "{:?}", x);
    }
}
