//! llama.cpp's own API: completion, infill and embedding. One document, or an array for several prompts.

use super::field::{Dialect, ERRORS, Field, LLAMA_TIMINGS, MODEL_AND_STREAM, OPENAI_REPLY, TYPED_ERRORS};
use super::json_paths::Rows;

const ENGINE: &str = "llama_cpp";

pub const COMPLETION: Dialect = Dialect {
    name: "llama_cpp_completion",
    operation: "text_completion",
    paths: &["/completion", "/completions"],
    // Other servers offer OpenAI's API without the `/v1`.
    response: &[REPLY, OPENAI_REPLY, OPENAI_TEXT, LLAMA_TIMINGS, ERRORS, TYPED_ERRORS],
    ..Dialect::BASE
};

pub const INFILL: Dialect = Dialect {
    name: "llama_cpp_infill",
    paths: &["/infill"],
    certain: false,
    request: &[MODEL_AND_STREAM, &[("input_prefix", Field::Speaks("llama_cpp_infill", None))]],
    response: &[REPLY, LLAMA_TIMINGS, ERRORS],
    ..COMPLETION
};

pub const EMBEDDING: Dialect = Dialect {
    name: "llama_cpp_embedding",
    operation: "embeddings",
    paths: &["/embedding"],
    certain: false,
    response: &[&[("[].embedding", Field::Speaks("llama_cpp_embedding", None))], ERRORS],
    ..Dialect::BASE
};

const OPENAI_TEXT: Rows = &[("choices", Field::Speaks("openai_completions", None)), ("choices[].text", Field::Content)];

const REPLY: Rows = &[
    ("content", Field::Content),
    ("model", Field::Model),
    ("stop", Field::Last),
    ("stop_type", Field::Finish),
    ("tokens_evaluated", Field::Input),
    ("tokens_predicted", Field::Output),
    ("[].model", Field::Model),
    ("[].stop_type", Field::Finish),
    ("[].tokens_evaluated", Field::InputEach),
    ("[].tokens_predicted", Field::OutputEach),
    ("[].timings", Field::Engine(ENGINE)),
    ("tokens_cached", Field::Engine(ENGINE)),
    ("generation_settings", Field::Engine(ENGINE)),
];
