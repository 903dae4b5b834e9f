//! Requests that load a model or an adapter into a server, or fetch or make one: only its name is wanted of them, and
//! whether it failed.

use super::field::{Dialect, Field};
use super::json_paths::Rows;

/// Its exchanges are no LLM's, and have no figures.
pub const DIALECT: Dialect = Dialect {
    name: "admin",
    operation: "",
    paths: &[
        "/load_lora_adapter",
        "/unload_lora_adapter",
        "/load_lora_adapter_from_tensors",
        "/models/load",
        "/models/unload",
        "/api/pull",
        "/api/create",
        "/api/copy",
        "/update_weights_from_disk",
    ],
    certain: false,
    request: &[NAMES],
    response: &[FAILURES],
    ..Dialect::BASE
};

/// vLLM and SGLang; llama.cpp's router, Ollama; Ollama before 0.6; `api/copy`; SGLang.
const NAMES: Rows = &[
    ("lora_name", Field::Model),
    ("model", Field::Model),
    ("name", Field::Model),
    ("destination", Field::Model),
    ("model_path", Field::Model),
];

/// Ollama says it in the stream of a status of 200.
const FAILURES: Rows = &[("error", Field::Error), ("error.type", Field::ErrorType)];
