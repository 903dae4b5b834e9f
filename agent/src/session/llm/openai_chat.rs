//! OpenAI chat completions, as vLLM, SGLang, llama.cpp, TGI, Ollama, TensorRT-LLM and mistral.rs serve it.

use super::field::{
    CHAT_ASKS, CHOICES, COMPLAINTS, Dialect, ERRORS, Field, LLAMA_TIMINGS, MODEL_AND_STREAM, OPENAI_REPLY, TYPED_ERRORS,
};
use super::json_paths::Rows;

pub const DIALECT: Dialect = Dialect {
    name: "openai_chat",
    operation: "chat",
    paths: &["/chat/completions"],
    request: &[MODEL_AND_STREAM, CHOICES],
    response: &[OPENAI_REPLY, DELTAS, LLAMA_TIMINGS, ERRORS, TYPED_ERRORS],
    asks: &[CHAT_ASKS],
    says: &[SAYS, COMPLAINTS],
    ..Dialect::BASE
};

/// Texts of a choice, streamed or not.
pub const SAYS: Rows = &[
    ("choices[]", Field::Choice),
    ("choices[].index", Field::ChoiceIndex),
    ("choices[].delta.content", Field::Said),
    ("choices[].delta.content[].text", Field::Said),
    ("choices[].delta.reasoning_content", Field::Reasoned),
    ("choices[].delta.reasoning", Field::Reasoned),
    ("choices[].delta.refusal", Field::Said),
    ("choices[].delta.audio.transcript", Field::Said),
    ("choices[].delta.tool_calls[].function.arguments", Field::Arguments),
    ("choices[].delta.function_call.arguments", Field::Arguments),
    ("choices[].message.content", Field::Said),
    ("choices[].message.content[].text", Field::Said),
    ("choices[].message.reasoning_content", Field::Reasoned),
    ("choices[].message.reasoning", Field::Reasoned),
    ("choices[].message.refusal", Field::Said),
    ("choices[].message.audio.transcript", Field::Said),
    ("choices[].message.tool_calls[].function.arguments", Field::Arguments),
    ("choices[].message.function_call.arguments", Field::Arguments),
];

/// What a streamed choice adds.
pub const DELTAS: Rows = &[
    ("choices[].delta.content", Field::Content),
    ("choices[].delta.content[]", Field::Content),
    ("choices[].delta.reasoning_content", Field::Content),
    ("choices[].delta.reasoning", Field::Content),
    ("choices[].delta.refusal", Field::Content),
    ("choices[].delta.tool_calls[]", Field::Content),
    ("choices[].delta.function_call", Field::Content),
    ("choices[].delta.audio.data", Field::Content),
    ("choices[].delta.audio.transcript", Field::Content),
];
