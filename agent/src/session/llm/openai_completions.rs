//! OpenAI text completions.

use super::field::{COMPLAINTS, Dialect, ERRORS, Field, LLAMA_TIMINGS, OPENAI_REPLY, TYPED_ERRORS};
use super::json_paths::Rows;

pub const DIALECT: Dialect = Dialect {
    name: "openai_completions",
    operation: "text_completion",
    paths: &["/v1/completions"],
    response: &[OPENAI_REPLY, &[("choices[].text", Field::Content)], LLAMA_TIMINGS, ERRORS, TYPED_ERRORS],
    asks: &[ASKS],
    says: &[SAYS, COMPLAINTS],
    ..Dialect::BASE
};

pub const ASKS: Rows = &[("prompt", Field::Said), ("prompt[]", Field::Said), ("suffix", Field::Said)];

pub const SAYS: Rows =
    &[("choices[]", Field::Choice), ("choices[].index", Field::ChoiceIndex), ("choices[].text", Field::Said)];
