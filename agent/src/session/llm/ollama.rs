//! Ollama's own API: newline-delimited JSON, streamed unless the request says `"stream": false`. llama.cpp answers
//! `/api/chat` too, in OpenAI's format.

use super::field::{Dialect, ERRORS, Field, LLAMA_TIMINGS, OPENAI_REPLY, TYPED_ERRORS};
use super::json_paths::Rows;
use super::openai_chat;

pub const CHAT: Dialect = Dialect {
    name: "ollama_chat",
    operation: "chat",
    paths: &["/api/chat"],
    streams_by_default: true,
    response: &[REPLY, OPENAI_REPLY, OPENAI_CHAT, openai_chat::DELTAS, LLAMA_TIMINGS, ERRORS, TYPED_ERRORS],
    ..Dialect::BASE
};

pub const GENERATE: Dialect = Dialect {
    name: "ollama_generate",
    operation: "text_completion",
    paths: &["/api/generate"],
    streams_by_default: true,
    response: &[REPLY, ERRORS],
    ..Dialect::BASE
};

pub const EMBED: Dialect = Dialect {
    name: "ollama_embed",
    operation: "embeddings",
    paths: &["/api/embed", "/api/embeddings"],
    response: &[REPLY, ERRORS],
    ..Dialect::BASE
};

const OPENAI_CHAT: Rows = &[("choices", Field::Speaks("openai_chat", None))];

const REPLY: Rows = &[
    ("model", Field::Model),
    ("message.content", Field::Content),
    ("message.thinking", Field::Content),
    ("message.tool_calls[]", Field::Content),
    ("response", Field::Content),
    ("thinking", Field::Content),
    ("done", Field::Last),
    ("done_reason", Field::Finish),
    ("prompt_eval_count", Field::Input),
    ("eval_count", Field::Output),
    ("total_duration", Field::Engine("ollama")),
];
