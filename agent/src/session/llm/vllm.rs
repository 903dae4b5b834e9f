//! vLLM's own API of tokens for tokens: no text passes, and the reply is otherwise like OpenAI's.

use super::field::{COMPLAINTS, Dialect, ERRORS, Field, MODEL_AND_STREAM, OPENAI_REPLY, TYPED_ERRORS};
use super::json_paths::Rows;

pub const DIALECT: Dialect = Dialect {
    name: "vllm_generate",
    operation: "text_completion",
    paths: &["/inference/v1/generate"],
    request: &[MODEL_AND_STREAM, &[("sampling_params.n", Field::Choices)]],
    response: &[OPENAI_REPLY, TOKENS, ERRORS, TYPED_ERRORS],
    says: &[COMPLAINTS],
    ..Dialect::BASE
};

const TOKENS: Rows = &[
    ("request_id", Field::Id),
    ("choices[].token_ids", Field::Engine("vllm")),
    ("choices[].token_ids[]", Field::Content),
];
