//! Recorded exchanges of every dialect and engine, one file each in `data/llm`, against what must come out of them,
//! however the bytes are cut into pieces.

#![allow(clippy::unwrap_used)]

use agent::session::exchange::LlmExchange;
use agent::session::llm::{LlmParser, Piece};
use proptest::prelude::*;

/// A file: `METHOD path`, the request's body, the response's head, an empty line, the response's body.
struct Recording {
    method: String,
    path: String,
    request: Vec<u8>,
    head: Vec<u8>,
    response: Vec<u8>,
}

impl Recording {
    fn load(name: &str) -> Self {
        let path = format!("{}/tests/data/llm/{name}.http", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let (line, rest) = cut(&bytes, b"\r\n");
        let (request, rest) = cut(rest, b"\r\n");
        let (head, response) = cut(rest, b"\r\n\r\n");
        let line = String::from_utf8(line.to_vec()).unwrap();
        let (method, path) = line.split_once(' ').unwrap();
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            request: request.to_vec(),
            head: [head, b"\r\n\r\n"].concat(),
            response: response.to_vec(),
        }
    }

    /// Plays both bodies in pieces whose lengths `length` says, and tells the outcome in one line.
    fn play(&self, mut length: impl FnMut() -> usize) -> String {
        let mut parser = LlmParser::detect(&self.method, &self.path).expect("path of a dialect");
        pieces(&self.request, &mut length, |piece| parser.request_body(Piece::Bytes(piece)));
        parser.request_end();
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        head.parse(&self.head).unwrap();
        parser.response_head(head.code.unwrap(), head.headers);
        let mut content = 0;
        pieces(&self.response, &mut length, |piece| content += parser.response_body(Piece::Bytes(piece)));
        content += parser.response_end();
        let (ended, recognized) = (parser.ended(), parser.recognized());
        let exchange = parser.finish();
        check_private(&exchange);
        if recognized { line(&exchange, content, ended) } else { "not an LLM's".to_owned() }
    }
}

fn cut<'a>(bytes: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    let place = bytes.windows(at.len()).position(|w| w == at).unwrap();
    (&bytes[..place], &bytes[place + at.len()..])
}

fn pieces(mut bytes: &[u8], length: &mut impl FnMut() -> usize, mut take: impl FnMut(&[u8])) {
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(length().clamp(1, bytes.len()));
        take(piece);
        bytes = rest;
    }
}

fn line(x: &LlmExchange, content: u32, ended: bool) -> String {
    let text = |t: &Option<String>| t.clone().unwrap_or("-".to_owned());
    let count = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
    let failures = if x.parse_failures > 0 { format!(" failures={}", x.parse_failures) } else { String::new() };
    format!(
        "{} {} {} | {} {} | {} | {} {} {} | {} | {}{}{}{failures}",
        x.dialect,
        x.operation,
        x.engine.unwrap_or("-"),
        text(&x.request_model),
        text(&x.response_model),
        text(&x.id),
        count(x.input_tokens),
        count(x.output_tokens),
        count(x.cached_tokens),
        text(&x.finish_reason),
        text(&x.error),
        if x.stream {
            format!(" stream={content}")
        } else {
            assert_eq!(content, 0);
            String::new()
        },
        if ended { " ended" } else { "" },
    )
}

/// The samples' messages and prompts hold these words.
fn check_private(exchange: &LlmExchange) {
    let all = format!("{exchange:?}");
    assert!(!all.contains("secret") && !all.contains("evil") && !all.contains("9999"), "{all}");
}

/// dialect operation engine | model asked, answered | id | tokens in, out, cached | finish | error, stream, end
#[rustfmt::skip]
const EXPECTED: &[(&str, &str)] = &[
    ("anthropic", "anthropic_messages chat - | claude-x claude-x | msg_03 | 12 6 - | end_turn | -"),
    ("anthropic_error", "anthropic_messages chat - | claude-x - | - | - - - | - | invalid_request_error ended"),
    ("anthropic_overloaded", "anthropic_messages chat - | claude-x claude-x | msg_02 | 10 - - | - | overloaded_error stream=0 ended"),
    ("anthropic_stream", "anthropic_messages chat - | claude-x claude-x-2025 | msg_01 | 10 89 2000 | tool_use | - stream=4 ended"),
    ("invocations_chat", "openai_chat chat - | m m | chatcmpl-1 | 9 3 - | stop | -"),
    ("invocations_chat_stream", "openai_chat chat - | m m | chatcmpl-1 | 9 2 - | - | - stream=2 ended"),
    ("invocations_completion_stream", "openai_completions text_completion - | m m | cmpl-1 | - - - | length | - stream=2 ended"),
    ("invocations_embedding", "openai_embeddings embeddings - | m m | embd-1 | 5 - - | - | -"),
    ("invocations_other", "not an LLM's"),
    ("llama_chat", "openai_chat chat llama_cpp | tiny /models/tiny.gguf | chatcmpl-ZlOdIo1eGbwZjkzpjyBAI01Jm3lxbMpm | 35 6 0 | length | -"),
    ("llama_chat_n2", "openai_chat chat llama_cpp | tiny /models/tiny.gguf | chatcmpl-QEFHhgnrDM4BZKdpozpewfBff8arXtKe | 35 3 34 | length | -"),
    ("llama_chat_n2_stream", "openai_chat chat llama_cpp | tiny /models/tiny.gguf | chatcmpl-axiwMLgvzR2dV9uvGx4mTespnSDb0H87 | - - - | length | - stream=6 ended"),
    ("llama_chat_stream", "openai_chat chat llama_cpp | tiny /models/tiny.gguf | chatcmpl-kSHqebba6ZyVprHp9NONVMm9dwmUbMGY | 35 6 34 | length | - stream=6 ended"),
    ("llama_chat_stream_reasoning", "openai_chat chat llama_cpp | - smollm2 | chatcmpl-Rk1TqWvHqPSW6t0QG8UzvJ2yqYFq8e0C | 24 3 4 | stop | - stream=2 ended"),
    ("llama_chat_stream_timings", "openai_chat chat llama_cpp | tiny /models/tiny.gguf | chatcmpl-HPAAYO7EzmZMXeO1MGsDW3LNCD1N4YuG | 35 3 34 | length | - stream=3 ended"),
    ("llama_chat_stream_usage", "openai_chat chat llama_cpp | tiny /models/tiny.gguf | chatcmpl-vOniV3nAyNrMsQJustCFFHmAFVrED3dn | 35 6 34 | length | - stream=6 ended"),
    ("llama_completion", "llama_cpp_completion text_completion llama_cpp | - /models/tiny.gguf | - | 6 5 5 | limit | - ended"),
    ("llama_completion_batch", "llama_cpp_completion text_completion llama_cpp | - /models/tiny.gguf | - | 13 8 - | limit | -"),
    ("llama_completion_batch_stream", "llama_cpp_completion text_completion llama_cpp | - /models/tiny.gguf | - | - - - | limit | - stream=4 ended"),
    ("llama_completion_n2", "llama_cpp_completion text_completion llama_cpp | - /models/tiny.gguf | - | 6 7 - | limit | -"),
    ("llama_completion_stream", "llama_cpp_completion text_completion llama_cpp | - /models/tiny.gguf | - | 6 4 5 | limit | - stream=4 ended"),
    ("llama_embedding", "llama_cpp_embedding embeddings llama_cpp | - - | - | - - - | - | -"),
    ("llama_error_json", "openai_chat chat llama_cpp | tiny - | - | - - - | - | server_error"),
    ("llama_error_length", "llama_cpp_completion text_completion llama_cpp | - - | - | - - - | - | exceed_context_size_error"),
    ("llama_infill", "llama_cpp_infill text_completion llama_cpp | - smollm2 | - | 11 3 2 | eos | - ended"),
    ("llama_infill_refused", "llama_cpp_infill text_completion llama_cpp | - - | - | - - - | - | not_supported_error"),
    ("llama_loading", "openai_chat chat llama_cpp | - - | - | - - - | - | unavailable_error"),
    ("llama_messages", "anthropic_messages chat llama_cpp | tiny /models/tiny.gguf | chatcmpl-qIXxssIbWfKMRFzHxoKeQ4y1PWGHg5He | 1 6 34 | max_tokens | -"),
    ("llama_messages_stream", "anthropic_messages chat llama_cpp | tiny /models/tiny.gguf | chatcmpl-43HbOK5Hk2vPLh4xXYIhAs2Ys965R0w1 | 1 6 34 | max_tokens | - stream=6 ended"),
    ("llama_openai_completion", "openai_completions text_completion llama_cpp | tiny /models/tiny.gguf | chatcmpl-5aHYzvRIqvwbuEe3nSYmZbOfylpCMS8J | 6 5 0 | length | -"),
    ("llama_openai_completion_stream", "openai_completions text_completion llama_cpp | tiny /models/tiny.gguf | chatcmpl-WDiFja9hs5RJ1sKUVFQCqmHaIValvtZq | 6 5 5 | length | - stream=5 ended"),
    ("llama_responses", "openai_responses chat llama_cpp | tiny /models/tiny.gguf | resp_r8WY1XY7D1Y7qlws2zvepjnTVjTFMarm | 18 6 4 | completed | -"),
    ("llama_responses_stream", "openai_responses chat llama_cpp | tiny /models/tiny.gguf | resp_XAdN7qC1TmKChLCZdsoNEvhqpAXCw8jh | 18 6 17 | completed | - stream=6 ended"),
    ("llama_stream_error", "openai_chat chat llama_cpp | - smollm2 | chatcmpl-Rk1TqWvHqPSW6t0QG8UzvJ2yqYFq8e0C | - - - | - | server_error stream=1"),
    ("mistral_rs_chat", "openai_chat chat mistral_rs | m m | 1 | 6 5 - | stop | -"),
    ("ollama_chat_stream", "ollama_chat chat ollama | llama3.2 llama3.2 | - | 26 282 - | stop | - stream=2 ended"),
    ("ollama_chat_tools", "ollama_chat chat ollama | llama3.2 llama3.2 | - | 169 15 - | stop | - stream=2 ended"),
    ("ollama_embed", "ollama_embed embeddings ollama | all-minilm all-minilm | - | 8 - - | - | -"),
    ("ollama_error", "ollama_chat chat - | nope - | - | - - - | - | error"),
    ("ollama_generate", "ollama_generate text_completion ollama | llama3.2 llama3.2 | - | 26 290 - | length | - ended"),
    ("ollama_generate_stream", "ollama_generate text_completion ollama | llama3.2 llama3.2 | - | 26 290 - | stop | - stream=2 ended"),
    ("ollama_openai_stream", "openai_chat chat ollama | llama3.2 llama3.2 | chatcmpl-7 | - - - | stop | - stream=2 ended"),
    ("ollama_stream_error", "ollama_chat chat - | llama3.2 llama3.2 | - | - - - | - | error stream=1"),
    ("openai_audio_stream", "openai_chat chat - | omni omni | c1 | - - - | stop | - stream=3 ended"),
    ("openai_embeddings", "openai_embeddings embeddings - | bge bge-large | embd-1 | 750 - - | - | -"),
    ("openai_tools_stream", "openai_chat chat - | gpt org/gpt | c1 | - - - | tool_calls | - stream=2 ended"),
    ("other_root", "not an LLM's"),
    ("responses_error_event", "openai_responses chat - | gpt gpt-x | resp_1 | - - - | - | rate_limit_exceeded stream=0 ended"),
    ("responses_failed", "openai_responses chat - | gpt gpt-x | resp_1 | - - - | failed | server_error stream=0 ended"),
    ("responses_failed_unnamed", "openai_responses chat - | gpt gpt-x | resp_1 | - - - | failed | failed stream=0 ended"),
    ("responses_failed_whole", "openai_responses chat - | gpt gpt-x | resp_2 | - - - | failed | failed"),
    ("responses_stream", "openai_responses chat - | gpt gpt-x | resp_1 | 37 11 5 | completed | - stream=3 ended"),
    ("sglang_chat", "openai_chat chat sglang | m m | 6a2f0a4e | 37 4 - | stop | -"),
    ("sglang_classify", "classify classify sglang | - - | e1 | 7 - - | - | -"),
    ("sglang_encode", "sglang_encode embeddings sglang | - - | e1 | 7 - - | stop | -"),
    ("sglang_error", "openai_chat chat - | m - | - | - - - | - | BadRequestError"),
    ("sglang_generate", "sglang_generate text_completion sglang | - - | f0c9d2c3ae4f4d0c8e5f0e2d9b3c1a77 | 9 8 1 | length | -"),
    ("sglang_generate_abort", "sglang_generate text_completion sglang | - - | f0c9d2c3ae4f4d0c8e5f0e2d9b3c1a77 | 9 0 1 | abort | - stream=0 ended"),
    ("sglang_generate_batch", "sglang_generate text_completion sglang | - - | f0c9d2c3ae4f4d0c8e5f0e2d9b3c1a77 | 18 13 - | length | -"),
    ("sglang_generate_batch_stream", "sglang_generate text_completion sglang | - - | f0c9d2c3ae4f4d0c8e5f0e2d9b3c1a77 | - - - | stop | - stream=4 ended"),
    ("sglang_generate_held_stream", "sglang_generate text_completion sglang | - - | f0c9d2c3ae4f4d0c8e5f0e2d9b3c1a77 | 3 3 1 | length | - stream=3 ended"),
    ("sglang_generate_ids_stream", "sglang_generate text_completion sglang | - - | f0c9d2c3ae4f4d0c8e5f0e2d9b3c1a77 | 3 3 1 | length | - stream=3 ended"),
    ("sglang_generate_n2", "sglang_generate text_completion sglang | - - | f0c9d2c3ae4f4d0c8e5f0e2d9b3c1a77 | 9 13 - | length | -"),
    ("sglang_generate_n2_batch", "sglang_generate text_completion sglang | - - | f0c9d2c3ae4f4d0c8e5f0e2d9b3c1a77 | 13 18 - | length | -"),
    ("sglang_generate_n_each", "sglang_generate text_completion sglang | - - | f0c9d2c3ae4f4d0c8e5f0e2d9b3c1a77 | - 18 - | length | -"),
    ("sglang_generate_stream", "sglang_generate text_completion sglang | - - | f0c9d2c3ae4f4d0c8e5f0e2d9b3c1a77 | 9 3 1 | stop | - stream=3 ended"),
    ("sglang_stream_error", "sglang_generate text_completion - | - - | - | - - - | - | error stream=0 ended"),
    ("tgi_chat_stream", "openai_chat chat tgi | tgi meta-llama/Llama-3 | - | - - - | stop | - stream=2 ended"),
    ("tgi_error", "tgi_generate text_completion - | - - | - | - - - | - | validation"),
    ("tgi_generate", "tgi_generate text_completion tgi | - - | - | 12 20 - | - | -"),
    ("tgi_generate_details", "tgi_generate text_completion tgi | - - | - | - 17 - | eos_token | -"),
    ("tgi_root", "tgi_generate text_completion tgi | - - | - | - - - | - | -"),
    ("tgi_root_stream", "tgi_generate text_completion tgi | - - | - | 7 2 - | stop_sequence | - stream=2"),
    ("tgi_stream", "tgi_generate text_completion tgi | - - | - | 7 3 - | length | - stream=3"),
    ("tgi_stream_error", "tgi_generate text_completion tgi | - - | - | - - - | - | generation stream=1"),
    ("triton_error", "kserve_infer infer - | nope - | - | - - - | - | error"),
    ("triton_generate", "triton_generate text_completion - | ensemble ensemble | - | - - - | - | -"),
    ("triton_infer", "kserve_infer infer - | resnet resnet | - | - - - | - | -"),
    ("triton_infer_binary", "kserve_infer infer - | resnet resnet | 7 | - - - | - | -"),
    ("triton_stream", "triton_generate text_completion - | vllm_model vllm_model | - | - - - | - | - stream=2"),
    ("triton_stream_error", "triton_generate text_completion - | m m | - | - - - | - | error stream=1"),
    ("trtllm_completion", "openai_completions text_completion tensorrt_llm | m m | cmpl-1 | 6 16 - | length | -"),
    ("vllm_chat", "openai_chat chat vllm | tiny tiny | chatcmpl-bcdfbd773f947d4c | 32 6 - | length | -"),
    ("vllm_chat_logprobs", "openai_chat chat vllm | tiny tiny | chatcmpl-b3cbe60d3bbe030f | 32 3 - | length | -"),
    ("vllm_chat_stream", "openai_chat chat vllm | tiny tiny | chatcmpl-84edb4a58d248869 | 32 6 - | length | - stream=6 ended"),
    ("vllm_chat_stream_continuous", "openai_chat chat vllm | tiny tiny | chatcmpl-87bfac25b17ab141 | 32 4 - | length | - stream=4 ended"),
    ("vllm_chat_stream_n2", "openai_chat chat vllm | tiny tiny | chatcmpl-9a93e762e134bf02 | - - - | length | - stream=6 ended"),
    ("vllm_chat_stream_n2_continuous", "openai_chat chat - | tiny tiny | chatcmpl-9a93e762e134bf02 | 32 5 - | length | - stream=5 ended"),
    ("vllm_chat_stream_n2_cut", "openai_chat chat - | tiny tiny | chatcmpl-9a93e762e134bf02 | 32 - - | - | - stream=3"),
    ("vllm_chat_stream_n2_cut_early", "openai_chat chat - | tiny tiny | chatcmpl-9a93e762e134bf02 | 32 - - | - | - stream=1"),
    ("vllm_completion", "openai_completions text_completion vllm | tiny tiny | cmpl-b957dd5f4bde1d05 | 4 5 - | length | -"),
    ("vllm_completion_stream", "openai_completions text_completion vllm | tiny tiny | cmpl-ae60d43acbebc376 | 4 5 - | length | - stream=5 ended"),
    ("vllm_completion_stream_batch_cut", "openai_completions text_completion - | tiny tiny | cmpl-ae60d43acbebc376 | - - - | - | - stream=2"),
    ("vllm_completion_stream_tokens_cut", "openai_completions text_completion - | tiny tiny | cmpl-ae60d43acbebc376 | 4 2 - | - | - stream=2"),
    ("vllm_error_json", "openai_chat chat - | tiny - | - | - - - | - | BadRequestError"),
    ("vllm_error_length", "openai_chat chat - | tiny - | - | - - - | - | BadRequestError"),
    ("vllm_error_model", "openai_chat chat - | nope - | - | - - - | - | NotFoundError"),
    ("vllm_generate", "vllm_generate text_completion vllm | - - | r-1 | 2 2 - | length | -"),
    ("vllm_generate_stream", "vllm_generate text_completion vllm | - - | r-1 | 2 3 - | length | - stream=2 ended"),
    ("vllm_messages", "anthropic_messages chat - | tiny tiny | chatcmpl-92d98a95db52e405 | 32 6 - | max_tokens | -"),
    ("vllm_messages_stream", "anthropic_messages chat - | tiny tiny | chatcmpl-a5d18e10b366b3f3 | 32 6 - | max_tokens | - stream=6 ended"),
    ("vllm_rerank", "rerank rerank - | r r | rerank-1 | 56 - - | - | -"),
    ("vllm_responses", "openai_responses chat vllm | tiny tiny | resp_b3a425cab62a1e5b | 15 16 0 | max_output_tokens | -"),
    ("vllm_responses_stream", "openai_responses chat vllm | tiny tiny | resp_aef00c432b4d38d9 | 15 16 0 | max_output_tokens | - stream=14 ended"),
    ("vllm_score", "score score - | r r | score-1 | 22 - - | - | -"),
];

#[test]
fn llm_recordings_whole() {
    for (name, expected) in EXPECTED {
        assert_eq!(Recording::load(name).play(|| usize::MAX), *expected, "{name}");
    }
}

#[test]
fn llm_recordings_byte_by_byte() {
    for (name, expected) in EXPECTED {
        assert_eq!(Recording::load(name).play(|| 1), *expected, "{name}");
    }
}

#[test]
fn llm_recordings_are_all_expected() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/llm");
    let mut missing = String::new();
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    for file in names {
        let name = file.to_str().unwrap().strip_suffix(".http").unwrap().to_owned();
        if !EXPECTED.iter().any(|(known, _)| *known == name) {
            missing += &format!("    ({name:?}, {:?}),\n", Recording::load(&name).play(|| usize::MAX));
        }
    }
    assert!(missing.is_empty(), "no expectation; it gives\n{missing}");
}

proptest! {
    #[test]
    fn llm_recordings_in_any_pieces(lengths in prop::collection::vec(1usize..60, 1..40), at in 0..EXPECTED.len()) {
        let (name, expected) = EXPECTED[at];
        let mut turn = lengths.iter().cycle();
        prop_assert_eq!(Recording::load(name).play(|| *turn.next().unwrap()), expected, "{}", name);
    }
}
