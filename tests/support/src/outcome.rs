//! What a client saw of one request. The fields' places in every dialect's JSON are the tables at the end.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Gaps between chunks that are kept of one request.
const GAPS: usize = 4096;

/// Times are CLOCK_MONOTONIC nanoseconds; 0 means that the instant never came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub path: String,
    pub stream: bool,
    /// 0 when no response head came.
    pub status: u16,
    pub id: Option<String>,
    pub model: Option<String>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub finish_reason: Option<String>,
    /// Type or message of an error object, in a body or in a stream.
    pub error: Option<String>,
    /// Before the first byte of the request is written.
    pub t_send_ns: u64,
    pub t_first_byte_ns: u64,
    /// First chunk with content.
    pub t_first_content_ns: u64,
    pub t_last_content_ns: u64,
    /// Last byte of the response, or the instant at which it broke off.
    pub t_end_ns: u64,
    /// From send to first content; None without content chunks.
    pub ttft_ns: Option<u64>,
    pub content_chunks: u64,
    /// From one content chunk to the next; the first [`GAPS`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps_ns: Vec<u64>,
    /// Events of any kind.
    pub events: u64,
    pub reads: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// This client went away on purpose.
    pub aborted: bool,
    /// Why the response is incomplete, if it is.
    pub failure: Option<String>,
}

impl Outcome {
    pub fn duration_ns(&self) -> u64 {
        self.t_end_ns.saturating_sub(self.t_send_ns)
    }

    /// The response came to its proper end.
    pub fn complete(&self) -> bool {
        self.status > 0 && self.failure.is_none() && !self.aborted
    }

    /// Notes one event's (or a whole body's) JSON that arrived at `at_ns`.
    pub(crate) fn absorb(&mut self, v: &Value, at_ns: u64) {
        self.events += 1;
        let text = |places: &[&str]| places.iter().find_map(|p| v.pointer(p)?.as_str().map(str::to_owned));
        let number = |places: &[&str]| places.iter().find_map(|p| v.pointer(p)?.as_u64());
        self.id = text(IDS).or(self.id.take());
        self.model = text(MODELS).or(self.model.take());
        self.input_tokens = number(INPUTS).or(self.input_tokens);
        self.output_tokens = number(OUTPUTS).or(self.output_tokens);
        self.finish_reason = text(FINISHES).filter(|f| f != "in_progress").or(self.finish_reason.take());
        self.error = error_of(v).or(self.error.take());
        if self.stream && CONTENTS.iter().any(|p| v.pointer(p).and_then(Value::as_str).is_some_and(|s| !s.is_empty())) {
            self.content_chunks += 1;
            if self.t_last_content_ns != 0 && self.gaps_ns.len() < GAPS {
                self.gaps_ns.push(at_ns - self.t_last_content_ns);
            }
            self.t_last_content_ns = at_ns;
            if self.t_first_content_ns == 0 {
                self.t_first_content_ns = at_ns;
                self.ttft_ns = Some(at_ns - self.t_send_ns);
            }
        }
    }
}

fn error_of(v: &Value) -> Option<String> {
    let e = v.get("error").or_else(|| v.pointer("/response/error")).filter(|e| !e.is_null());
    let e = e.or_else(|| v.get("object").filter(|o| *o == "error").map(|_| v))?;
    let word = e.get("type").or_else(|| e.get("code")).or_else(|| e.get("message")).unwrap_or(e);
    Some(word.as_str().map_or_else(|| word.to_string(), str::to_owned))
}

const IDS: &[&str] = &["/id", "/response/id", "/message/id", "/meta_info/id"];
const MODELS: &[&str] = &["/model", "/response/model", "/message/model", "/model_name"];
const INPUTS: &[&str] = &[
    "/usage/prompt_tokens",
    "/usage/input_tokens",
    "/message/usage/input_tokens",
    "/response/usage/input_tokens",
    "/meta_info/prompt_tokens",
    "/tokens_evaluated",
    "/prompt_eval_count",
    "/details/input_length",
];
const OUTPUTS: &[&str] = &[
    "/usage/completion_tokens",
    "/usage/output_tokens",
    "/response/usage/output_tokens",
    "/meta_info/completion_tokens",
    "/tokens_predicted",
    "/eval_count",
    "/details/generated_tokens",
];
const FINISHES: &[&str] = &[
    "/choices/0/finish_reason",
    "/delta/stop_reason",
    "/stop_reason",
    "/meta_info/finish_reason/type",
    "/stop_type",
    "/done_reason",
    "/details/finish_reason",
    "/response/status",
    "/status",
];
const CONTENTS: &[&str] = &[
    "/choices/0/delta/content",
    "/choices/0/delta/reasoning_content",
    "/choices/0/delta/reasoning",
    "/choices/0/text",
    "/delta/text",
    "/delta",
    "/content",
    "/text",
    "/message/content",
    "/response",
    "/token/text",
    "/text_output",
];
