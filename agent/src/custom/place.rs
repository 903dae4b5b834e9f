//! The words for where a value is: `request.header.NAME`, `request.body.PATH`, the same of `response`, `record.FIELD`.
//! Refuses what holds secrets, and as labels what people write.

use std::sync::LazyLock;

use super::Source;
use crate::{
    changes::is_secret_name,
    correlate::Request,
    session::{
        llm,
        wanted::{Place, Wanted},
    },
};

/// Names that count or limit tokens, and hold none.
const NO_SECRET: [&str; 7] = [
    "max_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "max_output_tokens",
    "min_tokens",
    "prompt_tokens",
    "completion_tokens",
];
/// Members that hold what people, or models, write, beside those of the dialects.
const WRITTEN: [&str; 24] = [
    "content",
    "text",
    "prompt",
    "prompts",
    "input",
    "inputs",
    "messages",
    "message",
    "query",
    "documents",
    "system",
    "instructions",
    "instruction",
    "suffix",
    "arguments",
    "reasoning",
    "reasoning_content",
    "thinking",
    "completion",
    "response",
    "output",
    "outputs",
    "generated_text",
    "description",
];
/// Fields of the record that come and go, and are not in one that has nothing to say.
const SOMETIMES: [&str; 1] = ["engine_times"];
/// Fields whose values are one for each request: as labels they make a series of each.
const ENDLESS: [&str; 5] = ["id", "request_id", "traceparent", "start_ns", "duration_s"];

/// Names of the record's fields.
static RECORD: LazyLock<Vec<String>> = LazyLock::new(|| {
    let record = serde_json::to_value(Request::default()).unwrap_or_default();
    let names = record.as_object().into_iter().flat_map(|record| record.keys().cloned());
    names.chain(SOMETIMES.map(str::to_owned)).collect()
});

/// What a value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Figure,
    Label,
}

/// The source that `text` names. Errors: why there is none, or why it is not to be had.
pub(super) fn source(text: &str, used: Use, wanted: &mut Wanted) -> Result<Source, String> {
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let place = match parts.as_slice() {
        ["record", ..] if text.len() > "record.".len() => return record(&text["record.".len()..], used),
        ["request", "header", name] => Place::RequestHeader(header(name)?),
        ["response", "header", name] => Place::ResponseHeader(header(name)?),
        ["request", "body", path] => Place::RequestBody(member(path, used)?),
        ["response", "body", path] => Place::ResponseBody(member(path, used)?),
        _ => {
            return Err(format!(
                "`{text}` is no place: there are request.header.NAME, request.body.PATH, response.header.NAME, \
                 response.body.PATH and record.FIELD"
            ));
        }
    };
    wanted.add(place).map(Source::Field).map_err(|error| format!("`{text}`: {error}"))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // Figures of tokens, such as usage.prompt_tokens_details, are no tokens.
    !NO_SECRET.iter().any(|known| name.starts_with(known)) && !name.ends_with("_tokens") && is_secret_name(&name)
}

fn header(name: &str) -> Result<String, String> {
    if name.parse::<hyper::header::HeaderName>().is_err() {
        return Err(format!("`{name}` is no name of a header"));
    }
    if is_secret(name) {
        return Err(format!("the header `{name}` may hold a secret, which is never read"));
    }
    Ok(name.to_ascii_lowercase())
}

fn member(path: &str, used: Use) -> Result<String, String> {
    let names = || path.split('.').map(|segment| segment.trim_end_matches("[]"));
    let counts = path.ends_with(".#");
    if let Some(secret) = names().find(|name| is_secret(name)) {
        return Err(format!("`{secret}` may hold a secret, which is never read"));
    }
    let written = names().next_back().is_some_and(|last| WRITTEN.contains(&last) || llm::holds_text(last));
    if used == Use::Label && written {
        return Err(format!(
            "`{path}` is what people or models write: a label would publish it; `{path}.#` tells how many there are"
        ));
    }
    if used == Use::Label && counts {
        return Err(format!("`{path}` has no bound: take it for the value of a histogram"));
    }
    Ok(path.to_owned())
}

fn record(path: &str, used: Use) -> Result<Source, String> {
    let names: Vec<String> = path.split('.').map(str::to_owned).collect();
    let first = &names[0];
    if !RECORD.contains(first) {
        let alike = |known: &&String| strsim::jaro_winkler(known, first);
        let nearest = RECORD.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
        let advice =
            nearest.filter(|known| alike(known) > 0.8).map(|known| format!("; did you mean `record.{known}`?"));
        return Err(format!("a record has no field `{first}`{}", advice.unwrap_or_default()));
    }
    if used == Use::Label && (ENDLESS.contains(&first.as_str()) || first.ends_with("_s")) {
        return Err(format!("`record.{path}` is another one for each request: a label would make a series of each"));
    }
    Ok(Source::Record(names))
}
