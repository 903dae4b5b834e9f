//! SGLang's own API. It shares `/generate` with TGI, and `/classify` with vLLM: the bodies tell them apart.

use super::field::{COMPLAINTS, Dialect, ERRORS, Field, MODEL_AND_STREAM, TYPED_ERRORS};
use super::json_paths::Rows;
use super::tgi;

const NAME: &str = "sglang_generate";
const ENGINE: &str = "sglang";

pub const GENERATE: Dialect = Dialect {
    name: "generate",
    operation: "text_completion",
    paths: &["/generate"],
    certain: false,
    request: &[MODEL_AND_STREAM, REQUEST, SEVERAL, tgi::REQUEST],
    response: &[REPLY, SPEAKS, BATCH, tgi::REPLY, ERRORS, TYPED_ERRORS],
    asks: &[ASKS, tgi::ASKS],
    says: &[BATCH, tgi::SAYS, &[("text", Field::SaidSoFar), ("[].text", Field::Said)], COMPLAINTS],
    ..Dialect::BASE
};

pub const ENCODE: Dialect = Dialect {
    name: "sglang_encode",
    operation: "embeddings",
    paths: &["/encode"],
    certain: false,
    request: &[MODEL_AND_STREAM],
    response: &[REPLY, WRITES, ERRORS, TYPED_ERRORS],
    asks: &[ASKS],
    says: &[COMPLAINTS],
    ..Dialect::BASE
};

pub const CLASSIFY: Dialect = Dialect {
    name: "classify",
    operation: "classify",
    paths: &["/classify"],
    certain: false,
    request: &[MODEL_AND_STREAM],
    response: &[
        REPLY,
        WRITES,
        &[
            ("id", Field::Id),
            ("model", Field::Model),
            ("usage.prompt_tokens", Field::Input),
            ("usage.total_tokens", Field::InputOtherwise),
        ],
        ERRORS,
        TYPED_ERRORS,
    ],
    asks: &[ASKS],
    says: &[COMPLAINTS],
    ..Dialect::BASE
};

const ASKS: Rows = &[
    ("text", Field::Said),
    ("text[]", Field::Said),
    ("input", Field::Said),
    ("input[]", Field::Said),
    ("image_data", Field::Media("[image]")),
];

pub const REQUEST: Rows = &[
    ("text", Field::Speaks(NAME, None)),
    ("input_ids", Field::Speaks(NAME, None)),
    ("sampling_params", Field::Speaks(NAME, None)),
];

/// Several completions of each prompt, and several prompts.
const SEVERAL: Rows = &[
    ("sampling_params.n", Field::Choices),
    ("sampling_params[].n", Field::ChoicesEach),
    ("text[]", Field::PromptEach),
    ("input_ids[]", Field::PromptEach),
];

/// Streamed batches: each event is about one of the prompts.
const BATCH: Rows = &[("index", Field::BatchIndex)];

const SPEAKS: Rows =
    &[("meta_info", Field::Speaks(NAME, Some(ENGINE))), ("[].meta_info", Field::Speaks(NAME, Some(ENGINE)))];

/// For paths that only SGLang's dialect has.
const WRITES: Rows = &[("meta_info", Field::Engine(ENGINE)), ("[].meta_info", Field::Engine(ENGINE))];

/// One document, or an array of them for a batch. Streamed events carry the whole text so far.
const REPLY: Rows = &[
    ("text", Field::Content),
    ("output_ids[]", Field::Content),
    ("meta_info.id", Field::Id),
    ("meta_info.prompt_tokens", Field::Input),
    ("meta_info.completion_tokens", Field::Output),
    ("meta_info.cached_tokens", Field::Cached),
    ("meta_info.finish_reason.type", Field::Finish),
    ("[].meta_info.id", Field::Id),
    ("[].meta_info.prompt_tokens", Field::InputEach),
    ("[].meta_info.completion_tokens", Field::OutputEach),
    ("[].meta_info.finish_reason.type", Field::Finish),
];
