//! What a dialect may want from a JSON document, the rows that several dialects share, and the description of a
//! dialect. Only names, counts and reasons are ever wanted as text: prompts and completions are looked at for
//! being empty, and never kept.

use super::json_paths::Rows;

/// The meaning of a wanted place in a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Model,
    Id,
    /// `stream` of a request.
    Stream,
    /// How many completions of each prompt a request asks for.
    Choices,
    /// The same, of one prompt among several.
    ChoicesEach,
    /// One prompt of several, or a token of the only one.
    PromptEach,
    /// Output for the client: a string that is not empty, a container, or the number of a token.
    Content,
    /// One choice of several, with the two below in it.
    Choice,
    ChoiceIndex,
    Finish,
    /// How a Responses object stands; the finish reason, unless a reason is given.
    Status,
    /// Which prompt of a batch an event is about: counts of one are not the counts of all.
    BatchIndex,
    Input,
    Output,
    Cached,
    /// Cached tokens that the figure for the input leaves out (Anthropic).
    CacheRead,
    /// One document of a batch: its tokens add up.
    InputEach,
    OutputEach,
    /// Holds unless the `usage` block says otherwise.
    InputOtherwise,
    /// llama.cpp `timings`, of one choice: prompt tokens computed, and taken from the cache, whose sum is the input, and
    /// tokens predicted.
    PromptComputed,
    PromptCached,
    Predicted,
    /// `true`: the last event of the stream.
    Last,
    /// Name of the event, compared with the dialect's `last_events`.
    EventType,
    /// An object or a message: an error.
    Error,
    ErrorType,
    ErrorCode,
    /// `object`, which is `error` in SGLang's and older vLLM's errors.
    Object,
    /// `type` beside it.
    ObjectType,
    Fingerprint,
    /// A message of a prompt, with its role and its texts in it.
    Message,
    Role,
    /// Text of a prompt or of a completion. Only looked at where texts are kept.
    Said,
    /// Text of a system prompt that stands outside the messages.
    Instructions,
    Reasoned,
    /// Arguments of a tool call; an object of them is not kept.
    Arguments,
    /// All of the completion so far, in each event.
    SaidSoFar,
    /// All of the completion, maybe again.
    SaidAgain,
    /// A picture or the like, which is not kept, by what stands for it.
    Media(&'static str),
    /// The message of an error.
    Complaint,
    /// A place that only an answer of a model has.
    Telling,
    /// A place that only this engine writes.
    Engine(&'static str),
    /// A place that tells apart the dialects which share a path, and in responses maybe the engine.
    Speaks(&'static str, Option<&'static str>),
}

/// An LLM API as spoken over HTTP/1.1.
#[derive(Debug)]
pub struct Dialect {
    pub name: &'static str,
    /// `gen_ai.operation.name`
    pub operation: &'static str,
    /// Ends of paths, by whole segments; `*` is any one segment. `/` is the root alone.
    pub paths: &'static [&'static str],
    /// The paths say for sure that this is an LLM's API; otherwise the bodies must.
    pub certain: bool,
    pub streams_by_default: bool,
    pub request: &'static [Rows],
    /// For a whole response as for each event of a streamed one.
    pub response: &'static [Rows],
    /// Where the texts of a prompt stand, and those of a completion. Read only where they are kept.
    pub asks: &'static [Rows],
    pub says: &'static [Rows],
    /// Values of `EventType` after which nothing comes.
    pub last_events: &'static [&'static str],
}

impl Dialect {
    /// The values that most dialects have; the rest must be given.
    pub const BASE: Self = Self {
        name: "",
        operation: "",
        paths: &[],
        certain: true,
        streams_by_default: false,
        request: &[MODEL_AND_STREAM],
        response: &[],
        asks: &[],
        says: &[],
        last_events: &[],
    };
}

pub const MODEL_AND_STREAM: Rows = &[("model", Field::Model), ("stream", Field::Stream)];

/// What OpenAI's requests ask for several of.
pub const CHOICES: Rows = &[("n", Field::Choices)];
pub const PROMPTS: Rows = &[("prompt[]", Field::PromptEach)];

/// All the ways in which servers spell an error.
pub const ERRORS: Rows = &[
    ("error", Field::Error),
    ("error.type", Field::ErrorType),
    ("error.code", Field::ErrorCode),
    ("error_type", Field::ErrorType),
    ("object", Field::Object),
    ("code", Field::ErrorCode),
];
/// For dialects in which `type` names no event.
pub const TYPED_ERRORS: Rows = &[("type", Field::ObjectType)];

/// What every OpenAI reply has.
pub const OPENAI_REPLY: Rows = &[
    ("id", Field::Id),
    ("model", Field::Model),
    ("system_fingerprint", Field::Fingerprint),
    ("usage.prompt_tokens", Field::Input),
    ("usage.completion_tokens", Field::Output),
    ("usage.prompt_tokens_details.cached_tokens", Field::Cached),
    ("usage.avg_tok_per_sec", Field::Engine("mistral_rs")),
    ("prompt_logprobs", Field::Engine("vllm")),
    ("kv_transfer_params", Field::Engine("vllm")),
    ("ec_transfer_params", Field::Engine("vllm")),
    ("choices[]", Field::Choice),
    ("choices[].index", Field::ChoiceIndex),
    ("choices[].finish_reason", Field::Finish),
    ("choices[].matched_stop", Field::Engine("sglang")),
    ("choices[].disaggregated_params", Field::Engine("tensorrt_llm")),
];

/// Texts of an OpenAI chat's messages.
pub const CHAT_ASKS: Rows = &[
    ("messages[]", Field::Message),
    ("messages[].role", Field::Role),
    ("messages[].content", Field::Said),
    ("messages[].content[].text", Field::Said),
    ("messages[].content[].content", Field::Said),
    ("messages[].content[].content[].text", Field::Said),
    ("messages[].content[].thinking", Field::Reasoned),
    ("messages[].content[].image_url", Field::Media("[image]")),
    ("messages[].content[].image", Field::Media("[image]")),
    ("messages[].content[].source", Field::Media("[image]")),
    ("messages[].content[].input_audio", Field::Media("[audio]")),
    ("messages[].content[].video_url", Field::Media("[video]")),
    ("messages[].content[].file", Field::Media("[file]")),
    ("messages[].content[].input", Field::Arguments),
    ("messages[].images[]", Field::Media("[image]")),
    ("messages[].reasoning_content", Field::Reasoned),
    ("messages[].thinking", Field::Reasoned),
    ("messages[].tool_calls[].function.arguments", Field::Arguments),
];

/// What servers say of an error, in which they repeat what they were asked.
pub const COMPLAINTS: Rows = &[
    ("error", Field::Complaint),
    ("error.message", Field::Complaint),
    ("error.param", Field::Complaint),
    ("message", Field::Complaint),
    ("detail", Field::Complaint),
    ("detail[].msg", Field::Complaint),
    ("detail[].input", Field::Complaint),
];

/// llama.cpp adds these to its replies in every dialect.
pub const LLAMA_TIMINGS: Rows = &[
    ("timings", Field::Engine("llama_cpp")),
    ("timings.cache_n", Field::PromptCached),
    ("timings.prompt_n", Field::PromptComputed),
    ("timings.predicted_n", Field::Predicted),
];
