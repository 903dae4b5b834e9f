//! Triton's generate extension and KServe v2 inference over HTTP. The model is in the path; there are no token counts.

use super::field::{COMPLAINTS, Dialect, ERRORS, Field};
use super::json_paths::Rows;

pub const GENERATE: Dialect = Dialect {
    name: "triton_generate",
    operation: "text_completion",
    paths: &["/v2/models/*/generate", "/v2/models/*/versions/*/generate"],
    request: &[],
    response: &[REPLY, ERRORS],
    asks: &[&[("text_input", Field::Said)]],
    says: &[&[("text_output", Field::Said)], COMPLAINTS],
    ..Dialect::BASE
};

pub const STREAM: Dialect = Dialect {
    paths: &["/v2/models/*/generate_stream", "/v2/models/*/versions/*/generate_stream"],
    streams_by_default: true,
    ..GENERATE
};

pub const INFER: Dialect = Dialect {
    name: "kserve_infer",
    operation: "infer",
    paths: &["/v2/models/*/infer", "/v2/models/*/versions/*/infer"],
    ..GENERATE
};

const REPLY: Rows = &[("id", Field::Id), ("model_name", Field::Model), ("text_output", Field::Content)];

/// The model that the path names.
pub fn model_in_path(path: &str) -> Option<&str> {
    let (_, rest) = path.rsplit_once("/v2/models/")?;
    rest.split('/').next().filter(|name| !name.is_empty())
}
