//! OpenAI chat completions, as vLLM, SGLang, llama.cpp, TGI, Ollama, TensorRT-LLM and mistral.rs serve it.

use super::field::{Dialect, ERRORS, Field, LLAMA_TIMINGS, OPENAI_REPLY, TYPED_ERRORS};
use super::json_paths::Rows;

pub const DIALECT: Dialect = Dialect {
    name: "openai_chat",
    operation: "chat",
    paths: &["/chat/completions"],
    response: &[OPENAI_REPLY, DELTAS, LLAMA_TIMINGS, ERRORS, TYPED_ERRORS],
    ..Dialect::BASE
};

/// What a streamed choice adds.
pub const DELTAS: Rows = &[
    ("choices[].delta.content", Field::Content),
    ("choices[].delta.content[]", Field::Content),
    ("choices[].delta.reasoning_content", Field::Content),
    ("choices[].delta.reasoning", Field::Content),
    ("choices[].delta.refusal", Field::Content),
    ("choices[].delta.tool_calls[]", Field::Content),
    ("choices[].delta.function_call", Field::Content),
];
