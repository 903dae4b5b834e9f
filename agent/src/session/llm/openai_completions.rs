//! OpenAI text completions.

use super::field::{Dialect, ERRORS, Field, LLAMA_TIMINGS, OPENAI_REPLY, TYPED_ERRORS};

pub const DIALECT: Dialect = Dialect {
    name: "openai_completions",
    operation: "text_completion",
    paths: &["/v1/completions"],
    response: &[OPENAI_REPLY, &[("choices[].text", Field::Content)], LLAMA_TIMINGS, ERRORS, TYPED_ERRORS],
    ..Dialect::BASE
};
