//! OpenAI text completions.

use super::field::{
    CHOICES, COMPLAINTS, Dialect, ERRORS, Field, LLAMA_TIMINGS, MODEL_AND_STREAM, OPENAI_REPLY, PROMPTS, TYPED_ERRORS,
};
use super::json_paths::Rows;

pub const DIALECT: Dialect = Dialect {
    name: "openai_completions",
    operation: "text_completion",
    paths: &["/v1/completions"],
    request: &[MODEL_AND_STREAM, CHOICES, PROMPTS],
    response: &[OPENAI_REPLY, &[("choices[].text", Field::Content)], LLAMA_TIMINGS, ERRORS, TYPED_ERRORS],
    asks: &[ASKS],
    says: &[SAYS, COMPLAINTS],
    ..Dialect::BASE
};

pub const ASKS: Rows = &[("prompt", Field::Said), ("prompt[]", Field::Said), ("suffix", Field::Said)];

pub const SAYS: Rows =
    &[("choices[]", Field::Choice), ("choices[].index", Field::ChoiceIndex), ("choices[].text", Field::Said)];
