//! Path and body to the dialect's reply, or to a plain page.

use crate::behaviour::{Behaviour, Usage};
use crate::content::{Answer, Reply, answer};
use crate::{native, openai};
use serde_json::{Value, json};

/// The reply to an LLM request, or None when the path belongs to no dialect.
pub fn reply(path: &str, body: &Value, how: &Behaviour, model: &str, serial: String) -> Option<Reply> {
    let asked = body.get("stream").and_then(Value::as_bool);
    let stream = asked.unwrap_or(false);
    let include = body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
    let openai_stream = stream && matches!(path, "/v1/chat/completions" | "/v1/completions");
    let usage = match how.usage {
        Usage::Auto => !openai_stream || include,
        Usage::Never => false,
        Usage::Always => true,
    };
    let a = answer(how, body, model, serial, usage);
    Some(match path {
        "/v1/chat/completions" => openai::chat(&a, stream),
        "/v1/completions" => openai::completions(&a, stream),
        "/v1/responses" => openai::responses(&a, stream),
        "/v1/messages" => openai::messages(&a, stream),
        "/v1/embeddings" | "/v1/rerank" | "/v1/score" => openai::embeddings(&a, path),
        "/generate" if body.get("inputs").is_some() => native::tgi(&a, stream),
        "/generate" => native::sglang(&a, stream),
        "/generate_stream" => native::tgi(&a, true),
        "/completion" => native::llama_cpp(&a, stream),
        "/api/chat" => native::ollama(&a, asked.unwrap_or(true), true),
        "/api/generate" => native::ollama(&a, asked.unwrap_or(true), false),
        "/api/embed" => native::ollama_embed(&a),
        _ => return triton(path, &a),
    })
}

/// `/v2/models/{m}[/versions/{v}]/generate[_stream]`
fn triton(path: &str, a: &Answer) -> Option<Reply> {
    let (model, rest) = path.strip_prefix("/v2/models/")?.split_once('/')?;
    match rest.rsplit('/').next()? {
        "generate" => Some(native::triton(a, false, model)),
        "generate_stream" => Some(native::triton(a, true, model)),
        _ => None,
    }
}

/// Content type and body of a plain page.
pub fn page(path: &str, model: &str) -> Option<(&'static str, String)> {
    const JSON: &str = "application/json";
    Some(match path {
        "/v1/load_lora_adapter" | "/v1/unload_lora_adapter" | "/api/pull" => {
            (JSON, json!({ "status": "success" }).to_string())
        }
        "/health" | "/ping" | "/" => (JSON, json!({ "status": "ok" }).to_string()),
        "/v1/models" => {
            let data = json!([{ "id": model, "object": "model", "created": 1_700_000_000, "owned_by": "test" }]);
            (JSON, json!({ "object": "list", "data": data }).to_string())
        }
        "/info" => (JSON, json!({ "model_id": model, "version": "3.0.0" }).to_string()),
        "/metrics" => ("text/plain; version=0.0.4", String::from("# TYPE test_up gauge\ntest_up 1\n")),
        _ => return None,
    })
}

/// Body of an error response in the shape that the path's dialect uses.
pub fn error_body(path: &str, status: u16) -> Value {
    let kind = if status >= 500 { "server_error" } else { "invalid_request_error" };
    let message = "this failure was asked for";
    match path {
        "/generate" => json!({ "object": "error", "message": message, "type": kind, "code": status }),
        "/generate_stream" => json!({ "error": message, "error_type": "validation" }),
        "/v1/messages" => json!({ "type": "error", "error": { "type": kind, "message": message } }),
        p if p.starts_with("/api/") || p.starts_with("/v2/") => json!({ "error": message }),
        _ => json!({ "error": { "message": message, "type": kind, "code": status, "param": null } }),
    }
}
