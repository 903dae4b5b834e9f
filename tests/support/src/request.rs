//! A request as this client sends it, and the client's manners: how it writes, how it reads, when it goes away.

use serde_json::{Value, json};
use std::time::Duration;

/// One request, and how this client behaves while it sends it and reads the response.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET when there is no body.
    pub path: String,
    /// Extra header lines, e.g. `("x-test-tokens", "5")`.
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    pub stream: bool,
    /// Ask the server to close afterwards.
    pub close: bool,
    /// Send `Expect: 100-continue` and wait for the go-ahead before the body.
    pub expect_continue: bool,
    /// Send the body in HTTP chunks of this size.
    pub body_chunks: Option<usize>,
    /// Head and body leave in this many writes.
    pub writes: usize,
    /// Go away after so many chunks with content.
    pub abort_after: Option<u64>,
    /// Pause before each read.
    pub slow: Option<Duration>,
    /// Most bytes of one read.
    pub read_size: usize,
    /// SO_RCVBUF of the connection, if this request opens it (TCP over IPv4).
    pub receive_buffer: Option<usize>,
}

impl Request {
    pub fn get(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
            stream: false,
            close: false,
            expect_continue: false,
            body_chunks: None,
            writes: 1,
            abort_after: None,
            slow: None,
            read_size: 65536,
            receive_buffer: None,
        }
    }

    pub fn post(path: &str, body: &Value, stream: bool) -> Self {
        Self { body: Some(body.to_string().into_bytes()), stream, ..Self::get(path) }
    }

    /// OpenAI chat; streamed with usage.
    pub fn chat(model: &str, prompt: &str, max_tokens: u64, stream: bool) -> Self {
        let mut body = json!({
            "model": model, "messages": [{ "role": "user", "content": prompt }], "max_tokens": max_tokens,
            "temperature": 0, "stream": stream,
        });
        if stream {
            body["stream_options"] = json!({ "include_usage": true });
        }
        Self::post("/v1/chat/completions", &body, stream)
    }

    /// OpenAI completions; streamed with usage.
    pub fn completion(model: &str, prompt: &str, max_tokens: u64, stream: bool) -> Self {
        let mut body =
            json!({ "model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": stream });
        if stream {
            body["stream_options"] = json!({ "include_usage": true });
        }
        Self::post("/v1/completions", &body, stream)
    }

    /// The same without asking for usage in the stream.
    pub fn without_usage(mut self) -> Self {
        let body = self.body.as_deref().and_then(|body| serde_json::from_slice::<Value>(body).ok());
        if let Some(Value::Object(mut fields)) = body {
            fields.remove("stream_options");
            self.body = Some(Value::Object(fields).to_string().into_bytes());
        }
        self
    }

    /// Adds `x-test-KEY: VALUE`, the small server's behaviour for this request.
    pub fn test(mut self, key: &str, value: impl ToString) -> Self {
        self.headers.push((format!("x-test-{key}"), value.to_string()));
        self
    }

    /// The request as one piece.
    pub(crate) fn to_bytes(&self, host: &str) -> Vec<u8> {
        let (head, body) = self.parts(host);
        [head, body].concat()
    }

    /// Head and framed body.
    pub(crate) fn parts(&self, host: &str) -> (Vec<u8>, Vec<u8>) {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let mut head = format!("{method} {} HTTP/1.1\r\nhost: {host}\r\n", self.path);
        let mut body = self.body.clone().unwrap_or_default();
        if self.body.is_some() {
            head.push_str("content-type: application/json\r\n");
            match self.body_chunks {
                None => head.push_str(&format!("content-length: {}\r\n", body.len())),
                Some(size) => {
                    head.push_str("transfer-encoding: chunked\r\n");
                    body = in_chunks(&body, size);
                }
            }
        }
        if self.expect_continue {
            head.push_str("expect: 100-continue\r\n");
        }
        if self.close {
            head.push_str("connection: close\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        (head.into_bytes(), body)
    }
}

fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in body.chunks(size.max(1)) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
