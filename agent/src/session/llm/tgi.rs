//! Text Generation Inference: `/generate_stream`, the root, and its rows for the `/generate` that SGLang has too. Its
//! response headers carry the token counts.

use super::field::{COMPLAINTS, Dialect, ERRORS, Field, MODEL_AND_STREAM};
use super::json_paths::Rows;

const NAME: &str = "tgi_generate";
const ENGINE: &str = "tgi";

pub const STREAM: Dialect = Dialect {
    name: NAME,
    operation: "text_completion",
    paths: &["/generate_stream"],
    streams_by_default: true,
    request: &[MODEL_AND_STREAM, REQUEST],
    response: &[REPLY, ERRORS],
    asks: &[ASKS],
    says: &[SAYS, COMPLAINTS],
    ..Dialect::BASE
};

pub const ROOT: Dialect = Dialect { paths: &["/"], certain: false, streams_by_default: false, ..STREAM };

pub const ASKS: Rows = &[("inputs", Field::Said), ("inputs[]", Field::Said)];

pub const SAYS: Rows =
    &[("token.text", Field::Said), ("generated_text", Field::SaidAgain), ("[].generated_text", Field::SaidAgain)];

pub const REQUEST: Rows = &[("inputs", Field::Speaks(NAME, None))];

pub const REPLY: Rows = &[
    ("token.text", Field::Content),
    ("generated_text", Field::Speaks(NAME, Some(ENGINE))),
    ("details.generated_tokens", Field::Output),
    ("details.input_length", Field::Input),
    ("details.finish_reason", Field::Finish),
    ("[].generated_text", Field::Speaks(NAME, Some(ENGINE))),
    ("[].details.generated_tokens", Field::OutputEach),
    ("[].details.finish_reason", Field::Finish),
];
