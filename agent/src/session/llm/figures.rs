//! Collects what one exchange's documents say. A document's values go into a `Draft` first, so that a broken event
//! leaves no trace; `Figures` adds the drafts up to the exchange's.

use super::counts::{Asked, Counts};
use super::field::Field;
use super::json_value::{Raw, Sink, Value, plain, word};

/// Reasons, types and codes longer than this, or with other characters than names have, may be text of users.
const NAME_CAP: usize = 64;

/// Values of one JSON document.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub model: Option<String>,
    pub id: Option<String>,
    pub stream: Option<bool>,
    pub asked: Asked,
    pub content: bool,
    pub ended: bool,
    pub speaks: Option<&'static str>,
    pub engine: Option<&'static str>,
    telling: bool,
    /// These are known already: they are not read again.
    known_model: bool,
    known_id: bool,
    last_events: &'static [&'static str],
    counts: Counts,
    choice: u64,
    choice_finish: Option<String>,
    finish: Option<(u64, String)>,
    status: Option<String>,
    error: bool,
    /// The response says that it failed, with or without an error object.
    failed: bool,
    error_type: Option<String>,
    error_code: Option<String>,
    object_type: Option<String>,
}

impl Draft {
    pub fn new(last_events: &'static [&'static str]) -> Self {
        Self { last_events, ..Self::default() }
    }

    /// For the next document of a stream.
    pub fn renew(&mut self) {
        *self = Self { known_model: self.known_model, known_id: self.known_id, ..Self::new(self.last_events) };
    }

    /// Whether the document had content, and nothing that one with other content would say again in other words.
    pub fn is_only_content(&self) -> bool {
        let Self { model, id, stream, content, ended, choice_finish, finish, status, error, failed, .. } = self;
        let named = [model, id, choice_finish, status].into_iter().any(Option::is_some);
        *content && !named && stream.is_none() && !ended && finish.is_none() && !error && !failed
    }

    /// Marks the document as an error, whatever is in it.
    pub fn is_error(&mut self) {
        self.error = true;
    }

    /// Not all of the document was seen: it may have had a choice.
    pub fn was_cut(&mut self) {
        self.counts.of_choice = true;
    }

    fn text(&mut self, field: Field, raw: Raw<'_>) {
        match field {
            Field::Model => self.model = plain(raw),
            Field::Id => self.id = plain(raw),
            Field::Finish if self.choice_finish.is_none() => {
                self.choice_finish = name(raw).filter(|reason| reason != "none");
            }
            Field::Status => {
                self.status = name(raw).filter(|s| s != "in_progress" && s != "queued");
                self.failed |= self.status.as_deref() == Some("failed");
            }
            Field::ErrorType => {
                self.error = true;
                self.error_type = name(raw);
            }
            Field::ErrorCode => self.error_code = name(raw),
            Field::Object => {
                let object = word(raw);
                self.error |= *object == *b"error";
                self.telling |= *object == *b"response";
            }
            Field::ObjectType => self.object_type = name(raw),
            Field::EventType => {
                let event = word(raw);
                self.ended |= self.last_events.iter().any(|last| *last.as_bytes() == *event);
                self.error |= *event == *b"error";
                self.failed |= *event == *b"response.failed";
            }
            Field::Fingerprint => self.engine = self.engine.or(fingerprint(&word(raw))),
            _ => {}
        }
    }

    fn number(&mut self, field: Field, number: u64) {
        match field {
            Field::ErrorCode => self.error_code = Some(number.to_string()),
            Field::Choices | Field::ChoicesEach | Field::PromptEach => self.asked.number(field, number),
            _ => {
                if field == Field::ChoiceIndex {
                    self.choice = number;
                }
                self.counts.set(field, number);
            }
        }
    }

    /// A finish reason's scope is over: it counts if no choice before this one has finished.
    fn settle_finish(&mut self) {
        let Some(reason) = self.choice_finish.take() else { return };
        if self.finish.as_ref().is_none_or(|(choice, _)| self.choice < *choice) {
            self.finish = Some((self.choice, reason));
        }
    }

    fn error_name(&mut self) -> Option<String> {
        if !self.error && !self.failed {
            return None;
        }
        let named = [self.error_type.take(), self.object_type.take(), self.error_code.take()];
        let unnamed = if self.failed { "failed" } else { "error" };
        Some(named.into_iter().flatten().next().unwrap_or_else(|| unnamed.to_owned()))
    }
}

impl Sink for Draft {
    type Field = Field;

    fn wants_text(&self, field: Field) -> bool {
        match field {
            Field::Model => !self.known_model && self.model.is_none(),
            Field::Id => !self.known_id && self.id.is_none(),
            Field::Finish
            | Field::Status
            | Field::ErrorType
            | Field::ErrorCode
            | Field::Object
            | Field::ObjectType
            | Field::EventType
            | Field::Fingerprint => true,
            _ => false,
        }
    }

    fn value(&mut self, field: Field, value: Value<'_>) {
        match (field, value) {
            (Field::Engine(engine), _) => self.engine = Some(engine),
            (Field::Telling, Value::Open | Value::Filled(true) | Value::Uint(_) | Value::Float(_)) => {
                self.telling = true
            }
            (Field::Speaks(dialect, engine), _) => {
                self.telling = true;
                self.speaks = Some(dialect);
                self.engine = engine.or(self.engine);
            }
            (Field::Choice, Value::Open) => {
                (self.choice, self.telling) = (0, true);
                self.counts.of_choice = true;
            }
            (Field::PromptEach, Value::Open | Value::Filled(_)) => self.asked.prompt(),
            (Field::Choice, Value::Close) => self.settle_finish(),
            // A number is a token's.
            (Field::Content, Value::Open | Value::Filled(true) | Value::Uint(_)) => self.content = true,
            (Field::Error, Value::Open | Value::Filled(true)) => self.error = true,
            (Field::Stream, Value::Bool(stream)) => self.stream = Some(stream),
            (Field::Last, Value::Bool(true)) => self.ended = true,
            (_, Value::Text(raw)) => self.text(field, raw),
            (_, Value::Uint(number)) => self.number(field, number),
            _ => {}
        }
    }
}

/// What an exchange's response has said so far.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub model: Option<String>,
    pub id: Option<String>,
    pub speaks: Option<&'static str>,
    pub engine: Option<&'static str>,
    pub error: Option<String>,
    pub ended: bool,
    pub telling: bool,
    pub counts: Counts,
    finish: Option<(u64, String)>,
}

impl Figures {
    /// Adds a document's values.
    pub fn merge(&mut self, draft: &mut Draft) {
        draft.settle_finish();
        if self.model.is_none() {
            self.model = draft.model.take();
        }
        if self.id.is_none() {
            self.id = draft.id.take();
        }
        self.speaks = draft.speaks.or(self.speaks);
        self.engine = self.engine.or(draft.engine);
        self.ended |= draft.ended;
        self.telling |= draft.telling;
        self.counts.merge(&draft.counts);
        let status = draft.status.take().map(|status| (0, status));
        if let Some((choice, reason)) = draft.finish.take().or(status)
            && self.finish.as_ref().is_none_or(|(known, _)| choice < *known)
        {
            self.finish = Some((choice, reason));
        }
        if self.error.is_none() {
            self.error = draft.error_name();
        }
        draft.known_model = self.model.is_some();
        draft.known_id = self.id.is_some();
    }

    pub fn take_finish(&mut self) -> Option<String> {
        self.finish.take().map(|(_, reason)| reason)
    }
}

/// A word of a protocol. What does not look like one is not kept, since it may be a message with a user's text in it.
fn name(raw: Raw<'_>) -> Option<String> {
    let word = word(raw);
    let fits = (1..=NAME_CAP).contains(&word.len())
        && word.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'));
    fits.then(|| String::from_utf8_lossy(&word).into_owned())
}

fn fingerprint(text: &[u8]) -> Option<&'static str> {
    match text {
        b"fp_ollama" => Some("ollama"),
        b"local" => Some("mistral_rs"),
        _ if text.starts_with(b"vllm-") => Some("vllm"),
        _ if memchr::memmem::find(text, b"-sha-").is_some() => Some("tgi"),
        _ => None,
    }
}
