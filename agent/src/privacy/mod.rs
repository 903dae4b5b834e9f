//! What may be kept of texts that are not ours: prompts, completions, lines and messages of watched servers. Whatever
//! keeps such a text goes through a [`Guard`]; secrets are taken out in every mode.
#![forbid(unsafe_code)]

mod checks;
mod content;
mod dump;
mod entropy;
mod guard;
mod hold;
mod keys;
mod patterns;
mod redact;
#[cfg(test)]
mod tests;
mod values;
mod words;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use content::{Content, Part, Said};
pub use dump::forbid_dumps;
pub use guard::{Guard, Kept};
pub use hold::{Held, Holding, Kind, Missing, Place, Speaker, Taken};
pub use keys::Hashing;
pub use patterns::labels;
pub use redact::{Cut, cut_end, name, redact, scrub};

use crate::config;

/// The agent's guard; says in the log if it keeps anything.
pub fn guard(settings: &config::Privacy) -> Arc<Guard> {
    if settings.mode != Mode::Off {
        tracing::warn!(mode = settings.mode.name(), "contents of requests are kept in records");
    }
    Arc::new(Guard::new(settings))
}

/// How much of a text is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Mode {
    /// Nothing.
    #[default]
    Off,
    /// A keyed hash: equal texts are told from others while a key lasts.
    Hash,
    /// The text without secrets and personal data, cut.
    Redacted,
    /// The text without secrets, cut: of named models only, and of a part of the requests.
    Full,
}

impl Mode {
    /// The word of the configuration and of records.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::Hash => "hash",
            Mode::Redacted => "redacted",
            Mode::Full => "full",
        }
    }
}
