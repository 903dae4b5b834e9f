//! Contents of a request as a log record has them: under the names and in the shape of OpenTelemetry's conventions for
//! generative AI. Never on a span.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value};

use crate::privacy::{Content, Part};

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

fn list(values: impl Iterator<Item = Value>) -> Value {
    Value::ArrayValue(ArrayValue { values: values.map(|value| AnyValue { value: Some(value) }).collect() })
}

fn part(part: &Part) -> Value {
    let key = if part.kind == "tool_call" { "arguments" } else { "content" };
    Value::KvlistValue(KeyValueList { values: vec![pair("type", text(part.kind)), pair(key, text(&part.text))] })
}

/// Parts that follow each other with one role are one message.
fn messages(parts: &[&Part], role: &str, finish_reason: Option<&str>) -> Value {
    let told = |part: &Part| part.role.unwrap_or(role).to_owned();
    list(parts.chunk_by(|a, b| a.role == b.role).map(|message| {
        let mut values =
            vec![pair("role", text(&told(message[0]))), pair("parts", list(message.iter().map(|one| part(one))))];
        values.extend(finish_reason.map(|reason| pair("finish_reason", text(reason))));
        Value::KvlistValue(KeyValueList { values })
    }))
}

/// All attributes of the contents.
pub fn of(content: &Content, finish_reason: Option<&str>) -> Vec<KeyValue> {
    let mut all = vec![pair("inferscope.content.mode", text(content.mode))];
    let (system, input): (Vec<&Part>, Vec<&Part>) = content.prompt.iter().partition(|part| part.role == Some("system"));
    if !system.is_empty() {
        all.push(pair("gen_ai.system_instructions", list(system.into_iter().map(part))));
    }
    if !input.is_empty() {
        all.push(pair("gen_ai.input.messages", messages(&input, "user", None)));
    }
    let output: Vec<&Part> = content.completion.iter().filter(|part| part.kind != "error").collect();
    if !output.is_empty() {
        all.push(pair("gen_ai.output.messages", messages(&output, "assistant", finish_reason)));
    }
    let complaints: Vec<&str> =
        content.completion.iter().filter(|part| part.kind == "error").map(|part| part.text.as_str()).collect();
    if !complaints.is_empty() {
        all.push(pair("error.message", text(&complaints.join("\n"))));
    }
    let hashes = [
        ("inferscope.content.key_id", &content.key_id),
        ("inferscope.prompt.hash", &content.prompt_hash),
        ("inferscope.completion.hash", &content.completion_hash),
    ];
    all.extend(hashes.into_iter().filter_map(|(key, hash)| Some(pair(key, text(hash.as_deref()?)))));
    let cuts = [("inferscope.prompt.cut", content.prompt_cut), ("inferscope.completion.cut", content.completion_cut)];
    all.extend(cuts.into_iter().filter(|(_, cut)| *cut).map(|(key, cut)| pair(key, Value::BoolValue(cut))));
    all
}
