//! Embeddings, rerank, score and classify in the OpenAI manner, and llama.cpp's own embeddings: no output tokens.

use super::field::{COMPLAINTS, Dialect, ERRORS, Field, MODEL_AND_STREAM, TYPED_ERRORS};
use super::json_paths::Rows;

pub const EMBEDDINGS: Dialect = Dialect {
    name: "openai_embeddings",
    operation: "embeddings",
    paths: &["/embeddings"],
    request: &[MODEL_AND_STREAM],
    response: &[REPLY, ERRORS, TYPED_ERRORS],
    asks: &[ASKS],
    says: &[COMPLAINTS],
    ..Dialect::BASE
};

pub const RERANK: Dialect = Dialect {
    name: "rerank",
    operation: "rerank",
    paths: &["/rerank", "/reranking"],
    certain: false,
    request: &[MODEL_AND_STREAM, &[("query", Field::Speaks("rerank", None))]],
    response: &[REPLY, SCORES, SGLANG_REPLY, ERRORS, TYPED_ERRORS],
    asks: &[ASKS],
    says: &[COMPLAINTS],
    ..Dialect::BASE
};

pub const SCORE: Dialect = Dialect {
    name: "score",
    operation: "score",
    paths: &["/score"],
    certain: false,
    request: &[MODEL_AND_STREAM, &[("text_1", Field::Speaks("score", None)), ("items", Field::Speaks("score", None))]],
    response: &[REPLY, ERRORS, TYPED_ERRORS],
    asks: &[ASKS],
    says: &[COMPLAINTS],
    ..Dialect::BASE
};

const REPLY: Rows = &[
    ("id", Field::Id),
    ("model", Field::Model),
    ("usage.prompt_tokens", Field::Input),
    ("usage.total_tokens", Field::InputOtherwise),
    ("data[].embedding", Field::Telling),
    ("data[].score", Field::Telling),
    ("results[].relevance_score", Field::Telling),
];

/// Text Embeddings Inference: an array of them.
const SCORES: Rows = &[("[].score", Field::Telling)];

/// One document per answer.
const SGLANG_REPLY: Rows =
    &[("[].meta_info", Field::Engine("sglang")), ("[].meta_info.prompt_tokens", Field::InputEach)];

const ASKS: Rows = &[
    ("input", Field::Said),
    ("input[]", Field::Said),
    ("query", Field::Said),
    ("documents[]", Field::Said),
    ("documents[].text", Field::Said),
    ("text_1", Field::Said),
    ("text_1[]", Field::Said),
    ("text_2", Field::Said),
    ("text_2[]", Field::Said),
    ("items[]", Field::Said),
];
