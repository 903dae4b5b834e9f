//! OpenAI Responses: the response object itself, or typed events that carry it at the start and at the end.

use super::field::{COMPLAINTS, Dialect, ERRORS, Field, LLAMA_TIMINGS};
use super::json_paths::Rows;

pub const DIALECT: Dialect = Dialect {
    name: "openai_responses",
    operation: "chat",
    paths: &["/responses"],
    response: &[OBJECT, EVENTS, LLAMA_TIMINGS, ERRORS],
    last_events: &["response.completed", "response.incomplete", "response.failed", "error"],
    asks: &[ASKS],
    says: &[SAYS, COMPLAINTS],
    ..Dialect::BASE
};

const ASKS: Rows = &[
    ("instructions", Field::Instructions),
    ("input", Field::Said),
    ("input[]", Field::Message),
    ("input[].role", Field::Role),
    ("input[].content", Field::Said),
    ("input[].content[].text", Field::Said),
    ("input[].content[].image_url", Field::Media("[image]")),
    ("input[].content[].file_data", Field::Media("[file]")),
    ("input[].content[].input_audio", Field::Media("[audio]")),
    ("input[].summary[].text", Field::Reasoned),
    ("input[].arguments", Field::Arguments),
    ("input[].output", Field::Said),
];

const SAYS: Rows = &[
    ("output[].content[].text", Field::Said),
    ("output[].content[].refusal", Field::Said),
    ("output[].summary[].text", Field::Reasoned),
    ("output[].arguments", Field::Arguments),
    ("delta", Field::Said),
    ("response.error.message", Field::Complaint),
];

const OBJECT: Rows = &[
    ("id", Field::Id),
    ("model", Field::Model),
    ("status", Field::Status),
    ("incomplete_details.reason", Field::Finish),
    ("kv_transfer_params", Field::Engine("vllm")),
    ("usage.input_tokens", Field::Input),
    ("usage.output_tokens", Field::Output),
    ("usage.input_tokens_details.cached_tokens", Field::Cached),
];

const EVENTS: Rows = &[
    ("type", Field::EventType),
    ("delta", Field::Content),
    ("response.id", Field::Id),
    ("response.model", Field::Model),
    ("response.status", Field::Status),
    ("response.error", Field::Error),
    ("response.error.type", Field::ErrorType),
    ("response.error.code", Field::ErrorCode),
    ("response.incomplete_details.reason", Field::Finish),
    ("response.kv_transfer_params", Field::Engine("vllm")),
    ("response.usage.input_tokens", Field::Input),
    ("response.usage.output_tokens", Field::Output),
    ("response.usage.input_tokens_details.cached_tokens", Field::Cached),
];
