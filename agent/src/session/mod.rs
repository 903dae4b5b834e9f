//! Connections to messages to LLM exchanges.
#![forbid(unsafe_code)]

pub mod exchange;
pub mod llm;
pub mod ndjson;
pub mod sse;
