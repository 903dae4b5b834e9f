//! Ollama's own API: newline-delimited JSON, streamed unless the request says `"stream": false`. llama.cpp answers
//! `/api/chat` too, in OpenAI's format.

use super::field::{CHAT_ASKS, COMPLAINTS, Dialect, ERRORS, Field, LLAMA_TIMINGS, OPENAI_REPLY, TYPED_ERRORS};
use super::json_paths::Rows;
use super::openai_chat;

pub const CHAT: Dialect = Dialect {
    name: "ollama_chat",
    operation: "chat",
    paths: &["/api/chat"],
    streams_by_default: true,
    response: &[REPLY, OPENAI_REPLY, OPENAI_CHAT, openai_chat::DELTAS, LLAMA_TIMINGS, ERRORS, TYPED_ERRORS],
    asks: &[CHAT_ASKS],
    says: &[SAYS, openai_chat::SAYS, COMPLAINTS],
    ..Dialect::BASE
};

pub const GENERATE: Dialect = Dialect {
    name: "ollama_generate",
    operation: "text_completion",
    paths: &["/api/generate"],
    streams_by_default: true,
    response: &[REPLY, ERRORS],
    asks: &[ASKS],
    says: &[SAYS, COMPLAINTS],
    ..Dialect::BASE
};

pub const EMBED: Dialect = Dialect {
    name: "ollama_embed",
    operation: "embeddings",
    paths: &["/api/embed", "/api/embeddings"],
    response: &[REPLY, VECTORS, ERRORS],
    asks: &[ASKS],
    says: &[COMPLAINTS],
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

/// `/api/embeddings`, which says nothing else, and `/api/embed`.
const VECTORS: Rows = &[("embedding", Field::Telling), ("embeddings", Field::Telling)];

const ASKS: Rows = &[
    ("system", Field::Instructions),
    ("prompt", Field::Said),
    ("suffix", Field::Said),
    ("input", Field::Said),
    ("input[]", Field::Said),
    ("images[]", Field::Media("[image]")),
];

const SAYS: Rows = &[
    ("message.content", Field::Said),
    ("message.thinking", Field::Reasoned),
    ("message.tool_calls[].function.arguments", Field::Arguments),
    ("response", Field::Said),
    ("thinking", Field::Reasoned),
];
