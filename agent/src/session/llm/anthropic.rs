//! Anthropic Messages, also served by vLLM, SGLang, llama.cpp and Ollama.

use super::field::{CHAT_ASKS, COMPLAINTS, Dialect, ERRORS, Field, LLAMA_TIMINGS};
use super::json_paths::Rows;

pub const DIALECT: Dialect = Dialect {
    name: "anthropic_messages",
    operation: "chat",
    paths: &["/v1/messages"],
    response: &[MESSAGE, EVENTS, LLAMA_TIMINGS, ERRORS],
    last_events: &["message_stop", "error"],
    asks: &[CHAT_ASKS, SYSTEM],
    says: &[SAYS, COMPLAINTS],
    ..Dialect::BASE
};

const SYSTEM: Rows = &[("system", Field::Instructions), ("system[].text", Field::Instructions)];

const SAYS: Rows = &[
    ("content[].text", Field::Said),
    ("content[].thinking", Field::Reasoned),
    ("content[].input", Field::Arguments),
    ("delta.text", Field::Said),
    ("delta.thinking", Field::Reasoned),
    ("delta.partial_json", Field::Arguments),
];

const MESSAGE: Rows = &[
    ("id", Field::Id),
    ("model", Field::Model),
    ("stop_reason", Field::Finish),
    ("usage.input_tokens", Field::Input),
    ("usage.output_tokens", Field::Output),
    ("usage.cache_read_input_tokens", Field::CacheRead),
];

const EVENTS: Rows = &[
    ("type", Field::EventType),
    ("message.id", Field::Id),
    ("message.model", Field::Model),
    // The output count there is a placeholder, which must not stay if the stream is cut.
    ("message.usage.input_tokens", Field::Input),
    ("message.usage.cache_read_input_tokens", Field::CacheRead),
    // A tool call starts with its name, as in OpenAI's deltas.
    ("content_block.name", Field::Content),
    ("delta.text", Field::Content),
    ("delta.thinking", Field::Content),
    ("delta.partial_json", Field::Content),
    ("delta.stop_reason", Field::Finish),
];
