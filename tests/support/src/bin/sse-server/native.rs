//! The engines' own dialects: SGLang, llama.cpp, Ollama, TGI and Triton.

use crate::content::{Answer, Content, Reply, Script};
use serde_json::{Value, json};

pub fn sglang(a: &Answer, stream: bool) -> Reply {
    let kind = if a.limited { "length" } else { "stop" };
    let finish = json!({ "type": a.finish.as_deref().unwrap_or(kind) });
    let per_chunk = a.output.div_ceil(a.chunks.max(1));
    let state = |so_far: u64, finish: Value| {
        let mut meta = json!({ "id": a.serial, "finish_reason": finish, "weight_version": "default" });
        if a.usage {
            meta["prompt_tokens"] = json!(a.input);
            meta["completion_tokens"] = json!(so_far);
            meta["cached_tokens"] = json!(a.cached);
        }
        json!({ "text": "tok ".repeat(so_far as usize), "meta_info": meta })
    };
    if !stream {
        return Reply::whole(&state(a.output, finish));
    }
    let chunk = |i: u64| {
        let so_far = ((i + 1) * per_chunk).min(a.output);
        let mut v = state(so_far, if i + 1 == a.chunks { finish.clone() } else { Value::Null });
        v["text"] = json!(format!("{}~", v["text"].as_str().unwrap_or_default()));
        a.sse(None, &v)
    };
    Reply::Streamed(Script {
        content_type: "text/event-stream",
        before: Vec::new(),
        content: Content::Each((0..a.chunks).map(chunk).collect()),
        after: done(a),
        error: a.sse(None, &json!({ "error": { "message": "the engine died", "code": 500 } })),
    })
}

fn done(a: &Answer) -> Vec<Vec<u8>> {
    if a.done { vec![format!("data: [DONE]{0}{0}", a.eol).into_bytes()] } else { Vec::new() }
}

pub fn llama_cpp(a: &Answer, stream: bool) -> Reply {
    let mut last = json!({
        "index": 0, "content": if stream { String::new() } else { a.whole_text() }, "id_slot": 0, "stop": true,
        "model": a.model, "stop_type": a.finish("limit", "eos"), "stopping_word": "", "tokens_cached": a.cached,
    });
    if a.usage {
        last["tokens_evaluated"] = json!(a.input);
        last["tokens_predicted"] = json!(a.output);
        last["timings"] = json!({
            "cache_n": a.cached, "prompt_n": a.input - a.cached.min(a.input), "prompt_ms": 12.5,
            "predicted_n": a.output, "predicted_ms": 100.5,
        });
    }
    if !stream {
        return Reply::whole(&last);
    }
    let token = json!({ "index": 0, "content": a.text, "tokens": [7], "stop": false, "id_slot": -1 });
    Reply::Streamed(Script {
        content_type: "text/event-stream",
        before: Vec::new(),
        content: Content::Same(a.sse(None, &token), a.chunks),
        after: vec![a.sse(None, &last)],
        error: a.sse(None, &json!({ "error": { "code": 500, "message": "the engine died", "type": "server_error" } })),
    })
}

/// `/api/chat` carries `message.content`, `/api/generate` carries `response`.
pub fn ollama(a: &Answer, stream: bool, chat: bool) -> Reply {
    let part = |text: &str| {
        let mut v = json!({ "model": a.model, "created_at": "2024-01-01T00:00:00.000000Z", "done": false });
        if chat {
            v["message"] = json!({ "role": "assistant", "content": text });
        } else {
            v["response"] = json!(text);
        }
        v
    };
    let mut last = part(&if stream { String::new() } else { a.whole_text() });
    last["done"] = json!(true);
    last["done_reason"] = json!(a.finish("length", "stop"));
    if a.usage {
        for (key, n) in [
            ("total_duration", 1_000_000),
            ("load_duration", 1_000),
            ("prompt_eval_count", a.input),
            ("prompt_eval_duration", 10_000),
            ("eval_count", a.output),
            ("eval_duration", 900_000),
        ] {
            last[key] = json!(n);
        }
    }
    if !stream {
        return Reply::whole(&last);
    }
    Reply::Streamed(Script {
        content_type: "application/x-ndjson",
        before: Vec::new(),
        content: Content::Same(a.line(&part(&a.text)), a.chunks),
        after: vec![a.line(&last)],
        error: a.line(&json!({ "error": "the engine died" })),
    })
}

pub fn ollama_embed(a: &Answer) -> Reply {
    Reply::whole(&json!({ "model": a.model, "embeddings": [[0.25, -0.5]], "total_duration": 1_000_000,
        "load_duration": 1_000, "prompt_eval_count": a.input }))
}

pub fn tgi(a: &Answer, stream: bool) -> Reply {
    let details = if a.usage {
        json!({ "finish_reason": a.finish("length", "eos_token"), "generated_tokens": a.output,
            "input_length": a.input, "seed": null })
    } else {
        Value::Null
    };
    if !stream {
        let body = json!({ "generated_text": a.whole_text(), "details": details });
        let headers = format!(
            "x-prompt-tokens: {}\r\nx-generated-tokens: {}\r\nx-queue-time: 0\r\nx-inference-time: 10\r\nx-time-per-token: 1\r\n",
            a.input, a.output
        );
        return Reply::Whole { headers, body: body.to_string() };
    }
    let token = |i: u64| {
        let end = i + 1 == a.chunks;
        a.sse(
            None,
            &json!({
                "index": i + 1, "token": { "id": 7, "text": a.text, "logprob": -0.1, "special": false },
                "generated_text": if end { json!(a.whole_text()) } else { Value::Null },
                "details": if end { details.clone() } else { Value::Null },
            }),
        )
    };
    Reply::Streamed(Script {
        content_type: "text/event-stream",
        before: Vec::new(),
        content: Content::Each((0..a.chunks).map(token).collect()),
        after: Vec::new(),
        error: a.sse(None, &json!({ "error": "the engine died", "error_type": "generation" })),
    })
}

/// Triton's generate extension; `model` is the one in the URL. It gives no usage.
pub fn triton(a: &Answer, stream: bool, model: &str) -> Reply {
    let part = |text: &str| json!({ "model_name": model, "model_version": "1", "text_output": text });
    if !stream {
        return Reply::whole(&part(&a.whole_text()));
    }
    Reply::Streamed(Script {
        content_type: "text/event-stream",
        before: Vec::new(),
        content: Content::Same(a.sse(None, &part(&a.text)), a.chunks),
        after: Vec::new(),
        error: a.sse(None, &json!({ "error": "the engine died" })),
    })
}
