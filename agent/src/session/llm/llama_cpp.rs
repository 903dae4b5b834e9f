//! llama.cpp's own API: completion, infill and embedding. One document, or an array for several prompts.

use super::field::{
    CHOICES, COMPLAINTS, Dialect, ERRORS, Field, LLAMA_TIMINGS, MODEL_AND_STREAM, OPENAI_REPLY, PROMPTS, TYPED_ERRORS,
};
use super::json_paths::Rows;
use super::openai_completions;

const ENGINE: &str = "llama_cpp";

pub const COMPLETION: Dialect = Dialect {
    name: "llama_cpp_completion",
    operation: "text_completion",
    paths: &["/completion", "/completions"],
    request: &[MODEL_AND_STREAM, CHOICES, N_CMPL, PROMPTS],
    // Other servers offer OpenAI's API without the `/v1`.
    response: &[REPLY, BATCH, OPENAI_REPLY, OPENAI_TEXT, LLAMA_TIMINGS, ERRORS, TYPED_ERRORS],
    asks: &[openai_completions::ASKS, ASKS],
    says: &[BATCH, openai_completions::SAYS, SAYS, COMPLAINTS],
    ..Dialect::BASE
};

pub const INFILL: Dialect = Dialect {
    name: "llama_cpp_infill",
    paths: &["/infill"],
    certain: false,
    request: &[MODEL_AND_STREAM, CHOICES, N_CMPL, &[("input_prefix", Field::Speaks("llama_cpp_infill", None))]],
    response: &[REPLY, LLAMA_TIMINGS, ERRORS],
    ..COMPLETION
};

pub const EMBEDDING: Dialect = Dialect {
    name: "llama_cpp_embedding",
    operation: "embeddings",
    paths: &["/embedding"],
    certain: false,
    response: &[&[("[].embedding", Field::Speaks("llama_cpp_embedding", None))], ERRORS],
    asks: &[ASKS],
    says: &[COMPLAINTS],
    ..Dialect::BASE
};

/// Its own name for OpenAI's `n`.
const N_CMPL: Rows = &[("n_cmpl", Field::Choices)];

/// Streamed batches: each event is about one of the prompts.
const BATCH: Rows = &[("index", Field::BatchIndex)];

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

const ASKS: Rows = &[
    ("input_prefix", Field::Said),
    ("input_suffix", Field::Said),
    ("input_extra[].text", Field::Said),
    ("content", Field::Said),
    ("content[]", Field::Said),
    ("input", Field::Said),
    ("input[]", Field::Said),
];

const SAYS: Rows = &[("content", Field::Said), ("[].content", Field::Said)];
