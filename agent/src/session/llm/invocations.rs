//! The one route of SageMaker's containers, on which vLLM, SGLang and others take the bodies of OpenAI's APIs. The bodies
//! tell which; what tells of neither chat nor vectors is a completion.

use super::field::{
    CHAT_ASKS, CHOICES, COMPLAINTS, Dialect, ERRORS, Field, LLAMA_TIMINGS, MODEL_AND_STREAM, OPENAI_REPLY, PROMPTS,
    TYPED_ERRORS,
};
use super::json_paths::Rows;
use super::{openai_chat, openai_completions};

pub const DIALECT: Dialect = Dialect {
    paths: &["/invocations"],
    certain: false,
    request: &[MODEL_AND_STREAM, CHOICES, PROMPTS, ASKED],
    response: &[OPENAI_REPLY, openai_chat::DELTAS, ANSWERED, LLAMA_TIMINGS, ERRORS, TYPED_ERRORS],
    asks: &[CHAT_ASKS, openai_completions::ASKS, &[("input", Field::Said), ("input[]", Field::Said)]],
    says: &[openai_chat::SAYS, openai_completions::SAYS, COMPLAINTS],
    ..openai_completions::DIALECT
};

const ASKED: Rows = &[
    ("messages", Field::Speaks("openai_chat", None)),
    ("prompt", Field::Speaks("openai_completions", None)),
    ("input", Field::Speaks("openai_embeddings", None)),
];

const ANSWERED: Rows = &[
    ("choices[].message", Field::Speaks("openai_chat", None)),
    ("choices[].delta", Field::Speaks("openai_chat", None)),
    ("choices[].text", Field::Content),
    ("data[].embedding", Field::Speaks("openai_embeddings", None)),
];
