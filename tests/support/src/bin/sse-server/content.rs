//! What a response says, before it is cut into writes: the facts of one answer and the events that carry them.

use crate::behaviour::Behaviour;
use serde_json::Value;

/// The facts of one answer.
pub struct Answer {
    /// Process-wide unique part of the id.
    pub serial: String,
    pub model: String,
    pub input: u64,
    pub output: u64,
    pub cached: u64,
    /// Chunks with content: output tokens by tokens per chunk.
    pub chunks: u64,
    /// Whether the answer ends at the request's limit.
    pub limited: bool,
    /// A finish reason to give instead of the dialect's own.
    pub finish: Option<String>,
    /// Text of one chunk. It holds exactly one `~`, so that a reader can count chunks by counting bytes.
    pub text: String,
    /// Whether usage is in the reply (when streamed, too).
    pub usage: bool,
    pub done: bool,
    pub eol: &'static str,
}

impl Answer {
    /// The finish reason: what the behaviour says, otherwise one of the dialect's two.
    pub fn finish(&self, limit: &str, stop: &str) -> String {
        self.finish.clone().unwrap_or_else(|| if self.limited { limit } else { stop }.to_owned())
    }

    pub fn whole_text(&self) -> String {
        "tok ".repeat(self.output.min(1 << 20) as usize)
    }

    /// One server-sent event.
    pub fn sse(&self, event: Option<&str>, data: &Value) -> Vec<u8> {
        let eol = self.eol;
        let name = event.map(|e| format!("event: {e}{eol}")).unwrap_or_default();
        format!("{name}data: {data}{eol}{eol}").into_bytes()
    }

    /// One line of NDJSON.
    pub fn line(&self, data: &Value) -> Vec<u8> {
        format!("{data}{}", self.eol).into_bytes()
    }
}

/// Content chunks.
pub enum Content {
    /// The same bytes so many times.
    Same(Vec<u8>, u64),
    Each(Vec<Vec<u8>>),
}

impl Content {
    pub fn count(&self) -> u64 {
        match self {
            Content::Same(_, n) => *n,
            Content::Each(all) => all.len() as u64,
        }
    }

    pub fn get(&self, i: u64) -> &[u8] {
        match self {
            Content::Same(bytes, _) => bytes,
            Content::Each(all) => &all[i as usize],
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Content::Same(bytes, n) => bytes.len() * *n as usize,
            Content::Each(all) => all.iter().map(Vec::len).sum(),
        }
    }
}

pub struct Script {
    pub content_type: &'static str,
    /// Events without content that come first.
    pub before: Vec<Vec<u8>>,
    pub content: Content,
    pub after: Vec<Vec<u8>>,
    /// The dialect's error inside a stream.
    pub error: Vec<u8>,
}

pub enum Reply {
    Whole {
        /// More header lines, each with its CRLF.
        headers: String,
        body: String,
    },
    Streamed(Script),
}

impl Reply {
    pub fn whole(body: &Value) -> Self {
        Reply::Whole { headers: String::new(), body: body.to_string() }
    }
}

/// Words of the prompt: strings anywhere under the keys in which the dialects carry text.
pub fn prompt_words(body: &Value) -> u64 {
    const TEXT: [&str; 11] = [
        "content",
        "prompt",
        "input",
        "inputs",
        "text",
        "text_1",
        "text_2",
        "text_input",
        "query",
        "documents",
        "system",
    ];
    fn words(v: &Value) -> u64 {
        match v {
            Value::String(s) => s.split_whitespace().count() as u64,
            Value::Array(all) => all.iter().map(|v| if v.is_object() { prompt_words(v) } else { words(v) }).sum(),
            Value::Object(_) => prompt_words(v),
            _ => 0,
        }
    }
    let Value::Object(map) = body else { return 0 };
    map.iter()
        .map(|(key, v)| match v {
            _ if TEXT.contains(&key.as_str()) => words(v),
            Value::Array(all) => all.iter().map(prompt_words).sum(),
            _ => 0,
        })
        .sum()
}

/// The token limit that the request gives, wherever its dialect puts it.
pub fn token_limit(body: &Value) -> Option<u64> {
    const LIMITS: [&str; 9] = [
        "/max_completion_tokens",
        "/max_tokens",
        "/max_output_tokens",
        "/n_predict",
        "/options/num_predict",
        "/sampling_params/max_new_tokens",
        "/parameters/max_new_tokens",
        "/parameters/max_tokens",
        "/max_new_tokens",
    ];
    LIMITS.iter().find_map(|p| body.pointer(p).and_then(Value::as_u64))
}

/// The answer's facts, from the behaviour and the request.
pub fn answer(how: &Behaviour, body: &Value, model: &str, serial: String, usage: bool) -> Answer {
    let limit = token_limit(body);
    let output = how.tokens.or(limit).unwrap_or(16);
    Answer {
        serial,
        model: body.get("model").and_then(Value::as_str).unwrap_or(model).to_owned(),
        input: how.input.unwrap_or_else(|| prompt_words(body)),
        output,
        cached: how.cached,
        chunks: output.div_ceil(how.per_chunk),
        limited: limit == Some(output),
        finish: how.finish.clone(),
        text: format!("tok~{}", " tok".repeat(how.per_chunk as usize - 1)),
        usage,
        done: how.done,
        eol: how.eol(),
    }
}
