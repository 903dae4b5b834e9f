//! OpenAI's dialects (chat, completions, responses, embeddings) and Anthropic's messages.

use crate::content::{Answer, Content, Reply, Script};
use serde_json::{Value, json};

const CREATED: u64 = 1_700_000_000;

fn usage(a: &Answer) -> Value {
    let mut usage = json!({
        "prompt_tokens": a.input, "completion_tokens": a.output, "total_tokens": a.input + a.output,
    });
    if a.cached > 0 {
        usage["prompt_tokens_details"] = json!({ "cached_tokens": a.cached });
    }
    usage
}

fn stream_end(a: &Answer, mut after: Vec<Vec<u8>>, usage_chunk: Value) -> Vec<Vec<u8>> {
    if a.usage {
        after.push(a.sse(None, &usage_chunk));
    }
    if a.done {
        after.push(format!("data: [DONE]{0}{0}", a.eol).into_bytes());
    }
    after
}

fn stream_error(a: &Answer) -> Vec<u8> {
    a.sse(None, &json!({ "error": { "message": "the engine died", "type": "InternalServerError", "code": 500, "param": null } }))
}

pub fn chat(a: &Answer, stream: bool) -> Reply {
    let id = format!("chatcmpl-{}", a.serial);
    let finish = a.finish("length", "stop");
    if !stream {
        let mut body = json!({
            "id": id, "object": "chat.completion", "created": CREATED, "model": a.model,
            "choices": [{ "index": 0, "finish_reason": finish,
                "message": { "role": "assistant", "content": a.whole_text() } }],
        });
        if a.usage {
            body["usage"] = usage(a);
        }
        return Reply::whole(&body);
    }
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        json!({ "id": id, "object": "chat.completion.chunk", "created": CREATED, "model": a.model, "choices": [choice] })
    };
    let mut closing = chunk(json!({}), Value::Null);
    closing["choices"] = json!([]);
    closing["usage"] = usage(a);
    Reply::Streamed(Script {
        content_type: "text/event-stream",
        before: vec![a.sse(None, &chunk(json!({ "role": "assistant", "content": "" }), Value::Null))],
        content: Content::Same(a.sse(None, &chunk(json!({ "content": a.text }), Value::Null)), a.chunks),
        after: stream_end(a, vec![a.sse(None, &chunk(json!({}), json!(finish)))], closing),
        error: stream_error(a),
    })
}

pub fn completions(a: &Answer, stream: bool) -> Reply {
    let id = format!("cmpl-{}", a.serial);
    let finish = a.finish("length", "stop");
    let chunk = |text: &str, finish: Value| {
        let choice = json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": finish });
        json!({ "id": id, "object": "text_completion", "created": CREATED, "model": a.model, "choices": [choice] })
    };
    if !stream {
        let mut body = chunk(&a.whole_text(), json!(finish));
        if a.usage {
            body["usage"] = usage(a);
        }
        return Reply::whole(&body);
    }
    let mut closing = chunk("", Value::Null);
    closing["choices"] = json!([]);
    closing["usage"] = usage(a);
    Reply::Streamed(Script {
        content_type: "text/event-stream",
        before: Vec::new(),
        content: Content::Same(a.sse(None, &chunk(&a.text, Value::Null)), a.chunks),
        after: stream_end(a, vec![a.sse(None, &chunk("", json!(finish)))], closing),
        error: stream_error(a),
    })
}

pub fn responses(a: &Answer, stream: bool) -> Reply {
    let id = format!("resp_{}", a.serial);
    let status = a.finish("incomplete", "completed");
    let response = |status: &str, text: Option<String>| {
        let output = text.map(|t| {
            json!([{ "type": "message", "id": "msg_0", "role": "assistant", "status": status,
                "content": [{ "type": "output_text", "text": t, "annotations": [] }] }])
        });
        let mut r = json!({
            "id": id, "object": "response", "created_at": CREATED, "status": status, "model": a.model,
            "output": output.unwrap_or_else(|| json!([])), "usage": null,
        });
        if status != "in_progress" && a.usage {
            r["usage"] = json!({
                "input_tokens": a.input, "output_tokens": a.output, "total_tokens": a.input + a.output,
                "input_tokens_details": { "cached_tokens": a.cached },
            });
        }
        r
    };
    if !stream {
        return Reply::whole(&response(&status, Some(a.whole_text())));
    }
    let event = |kind: &str, mut data: Value| {
        data["type"] = json!(kind);
        a.sse(Some(kind), &data)
    };
    let part = json!({ "item_id": "msg_0", "output_index": 0, "content_index": 0 });
    let mut delta = part.clone();
    delta["delta"] = json!(a.text);
    let end = if status == "incomplete" { "response.incomplete" } else { "response.completed" };
    let mut failed = response("failed", None);
    failed["error"] = json!({ "code": "server_error", "message": "the engine died" });
    Reply::Streamed(Script {
        content_type: "text/event-stream",
        before: vec![
            event("response.created", json!({ "response": response("in_progress", None) })),
            event("response.in_progress", json!({ "response": response("in_progress", None) })),
            event("response.content_part.added", part.clone()),
        ],
        content: Content::Same(event("response.output_text.delta", delta), a.chunks),
        after: vec![
            event("response.output_text.done", part),
            event(end, json!({ "response": response(&status, Some(String::from("tok"))) })),
        ],
        error: event("response.failed", json!({ "response": failed })),
    })
}

pub fn messages(a: &Answer, stream: bool) -> Reply {
    let stop = a.finish("max_tokens", "end_turn");
    let message = |content: Value, stop: Value, output: u64| {
        let mut m = json!({
            "id": format!("msg_{}", a.serial), "type": "message", "role": "assistant", "model": a.model,
            "content": content, "stop_reason": stop, "stop_sequence": null,
        });
        if a.usage {
            m["usage"] = json!({ "input_tokens": a.input, "output_tokens": output });
            if a.cached > 0 {
                m["usage"]["cache_read_input_tokens"] = json!(a.cached);
            }
        }
        m
    };
    if !stream {
        return Reply::whole(&message(json!([{ "type": "text", "text": a.whole_text() }]), json!(stop), a.output));
    }
    let event = |kind: &str, mut data: Value| {
        data["type"] = json!(kind);
        a.sse(Some(kind), &data)
    };
    let mut last = json!({ "delta": { "stop_reason": stop, "stop_sequence": null } });
    if a.usage {
        last["usage"] = json!({ "output_tokens": a.output });
    }
    let delta = json!({ "index": 0, "delta": { "type": "text_delta", "text": a.text } });
    Reply::Streamed(Script {
        content_type: "text/event-stream",
        before: vec![
            event("message_start", json!({ "message": message(json!([]), Value::Null, 0) })),
            event("content_block_start", json!({ "index": 0, "content_block": { "type": "text", "text": "" } })),
            event("ping", json!({})),
        ],
        content: Content::Same(event("content_block_delta", delta), a.chunks),
        after: vec![
            event("content_block_stop", json!({ "index": 0 })),
            event("message_delta", last),
            event("message_stop", json!({})),
        ],
        error: event("error", json!({ "error": { "type": "overloaded_error", "message": "the engine died" } })),
    })
}

/// Embeddings, rerank and score: input tokens only.
pub fn embeddings(a: &Answer, path: &str) -> Reply {
    let (object, data, id) = match path {
        "/v1/rerank" => ("list", json!({ "results": [{ "index": 0, "relevance_score": 0.5 }] }), "rerank"),
        "/v1/score" => ("list", json!({ "data": [{ "index": 0, "object": "score", "score": 0.5 }] }), "score"),
        _ => (
            "list",
            json!({ "data": [{ "index": 0, "object": "embedding", "embedding": [0.25, -0.5, 0.125] }] }),
            "embd",
        ),
    };
    let mut body = data;
    body["object"] = json!(object);
    body["id"] = json!(format!("{id}-{}", a.serial));
    body["model"] = json!(a.model);
    if a.usage {
        body["usage"] = json!({ "prompt_tokens": a.input, "total_tokens": a.input });
    }
    Reply::whole(&body)
}
