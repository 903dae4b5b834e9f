//! What is kept of prompts, completions and messages.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration_text;
use crate::privacy::Mode;

/// The `[privacy]` section. Secrets are kept in no mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    pub mode: Mode,
    /// Models of which mode `full` keeps contents; patterns.
    pub models: Vec<String>,
    /// Mode `full` keeps one of so many requests.
    pub one_in: u32,
    /// What is read of a prompt, and of a completion, at most; bytes.
    pub max_bytes: u32,
    /// What is held at most of all requests in flight; bytes.
    pub total_bytes: u32,
    /// What is left of each text in the end; characters.
    pub max_chars: u32,
    /// How long the key of mode `hash` lasts.
    #[serde(with = "duration_text")]
    pub key_interval: Duration,
}

impl Default for Privacy {
    fn default() -> Self {
        Privacy {
            mode: Mode::Off,
            models: Vec::new(),
            one_in: 100,
            max_bytes: 32 << 10,
            total_bytes: 64 << 20,
            max_chars: 4096,
            key_interval: Duration::from_secs(24 * 60 * 60),
        }
    }
}
