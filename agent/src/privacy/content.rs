//! The contents of a finished request as records tell them: what the mode allows of what was held.

use std::fmt;

use serde::Serialize;

use super::{
    Cut, Guard, Kept, Mode,
    hold::{Kind, Missing, Piece, Speaker, Taken},
};

/// What was held of a request, with the mode that it was held for.
#[derive(Clone)]
pub struct Said {
    pub mode: Mode,
    pub prompt: (Taken, Missing),
    pub completion: (Taken, Missing),
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Said").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// A part of a prompt or of a completion.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub text: String,
}

/// Contents of a request. Its Debug form shows none of them.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Content {
    pub mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_hash: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prompt: Vec<Part>,
    /// There was more of it: it was not seen, or not kept for its length.
    pub prompt_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_hash: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub completion: Vec<Part>,
    pub completion_cut: bool,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Guard {
    /// The contents of a request as this model's may be told; None if the mode allows nothing, or is another one now.
    pub fn content(&self, said: Said, model: Option<&str>) -> Option<Content> {
        if said.mode != self.mode() || said.mode == Mode::Off || said.mode == Mode::Full && !self.names(model) {
            return None;
        }
        let mut content = Content { mode: said.mode.name(), ..Content::default() };
        for (taken, missing, parts, hash, is_cut) in [
            (said.prompt.0, said.prompt.1, &mut content.prompt, &mut content.prompt_hash, &mut content.prompt_cut),
            (
                said.completion.0,
                said.completion.1,
                &mut content.completion,
                &mut content.completion_hash,
                &mut content.completion_cut,
            ),
        ] {
            *is_cut = missing.end || missing.parts;
            match taken {
                Taken::Nothing => {}
                Taken::Hash(told) => {
                    *hash = Some(told.hash);
                    content.key_id = Some(told.key_id);
                }
                Taken::Text { bytes, pieces } => {
                    *is_cut |= self.parts(said.mode, model, &bytes, &pieces, missing.end, parts)
                }
            }
        }
        Some(content)
    }

    /// Whether they had to be cut.
    fn parts(
        &self,
        mode: Mode,
        model: Option<&str>,
        bytes: &[u8],
        pieces: &[Piece],
        cut: bool,
        parts: &mut Vec<Part>,
    ) -> bool {
        let mut room = self.max_chars();
        let mut start = 0;
        for (at, piece) in pieces.iter().enumerate() {
            let text = String::from_utf8_lossy(&bytes[start..piece.end]);
            let text = zeroize::Zeroizing::new(text.into_owned());
            start = piece.end;
            let ending = if cut && at + 1 == pieces.len() { Cut::End } else { Cut::No };
            let Some(Kept::Text { text, cut }) = self.kept_within(mode, model, &text, ending, room) else {
                return true;
            };
            room -= text.chars().count().min(room);
            parts.push(Part { role: piece.speaker.map(Speaker::name), kind: piece.kind.name(), text });
            if cut {
                return true;
            }
        }
        false
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Reasoning => "reasoning",
            Kind::ToolCall => "tool_call",
            Kind::Error => "error",
        }
    }
}

impl Speaker {
    /// The role of a message; `developer` is another word for `system`.
    pub fn of(role: &[u8]) -> Option<Self> {
        match role {
            b"system" | b"developer" => Some(Speaker::System),
            b"user" => Some(Speaker::User),
            b"assistant" | b"model" => Some(Speaker::Assistant),
            b"tool" | b"function" => Some(Speaker::Tool),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Speaker::System => "system",
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
            Speaker::Tool => "tool",
        }
    }
}
