//! Says what may be kept, by the settings of now. One guard serves the whole agent; a reload changes its settings.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Instant,
};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    Mode, cut_end,
    keys::{Hash, Hashing, Keys},
    redact::{Cut, redact, scrub},
};
use crate::{config, discover::matches_pattern};

/// What may be kept of a text. Shows no text in its Debug form.
#[derive(Clone, PartialEq, Eq)]
pub enum Kept {
    /// Of the whole text; equal texts have equal hashes while the key is the same.
    Hash { hash: String, key_id: String },
    /// Without what must not be kept; `cut` if there was more.
    Text { text: String, cut: bool },
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kept::Hash { hash, key_id } => f.debug_struct("Hash").field("hash", hash).field("key_id", key_id).finish(),
            Kept::Text { text, cut } => {
                f.debug_struct("Text").field("bytes", &text.len()).field("cut", cut).finish_non_exhaustive()
            }
        }
    }
}

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Kept::Hash { hash, key_id } => {
                map.serialize_entry("hash", hash)?;
                map.serialize_entry("key_id", key_id)?;
            }
            Kept::Text { text, cut } => {
                map.serialize_entry("text", text)?;
                map.serialize_entry("cut", cut)?;
            }
        }
        map.end()
    }
}

impl From<Hash> for Kept {
    fn from(hash: Hash) -> Self {
        Kept::Hash { hash: hash.hash, key_id: hash.key_id }
    }
}

/// Stands between foreign texts and whatever would keep them.
#[derive(Debug)]
pub struct Guard {
    /// Of the settings below, to be read without a lock.
    mode: AtomicU8,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: config::Privacy,
    keys: Keys,
}

const MODES: [Mode; 4] = [Mode::Off, Mode::Hash, Mode::Redacted, Mode::Full];

impl Default for Guard {
    /// Keeps nothing.
    fn default() -> Self {
        Self::new(&config::Privacy::default())
    }
}

impl Guard {
    pub fn new(settings: &config::Privacy) -> Self {
        let inner = Inner { settings: settings.clone(), keys: Keys::new(Instant::now()) };
        Guard { mode: AtomicU8::new(settings.mode as u8), inner: Mutex::new(inner) }
    }

    pub fn mode(&self) -> Mode {
        MODES[usize::from(self.mode.load(Ordering::Relaxed)) % MODES.len()]
    }

    /// Takes other settings; texts that are under way are kept by neither the old nor the new ones if the mode differs.
    pub fn change(&self, settings: &config::Privacy) {
        let old = {
            let mut inner = self.inner();
            self.mode.store(settings.mode as u8, Ordering::Relaxed);
            std::mem::replace(&mut inner.settings, settings.clone())
        };
        if old.mode != settings.mode {
            tracing::warn!(from = old.mode.name(), to = settings.mode.name(), "what is kept of contents has changed");
        }
    }

    /// What may be kept of a text that is at hand whole, such as a server's message: nothing in mode `off`; in `full`
    /// nothing unless the model is named and the draw is for it.
    pub fn text(&self, model: Option<&str>, text: &str) -> Option<Kept> {
        match self.mode() {
            Mode::Off => None,
            Mode::Full if !self.drawn() => None,
            _ => self.kept(self.mode(), model, text, Cut::No),
        }
    }

    /// What mode `mode` may keep of a text, without a draw. None if that is not the mode any more.
    pub fn kept(&self, mode: Mode, model: Option<&str>, text: &str, cut: Cut) -> Option<Kept> {
        if mode != self.mode() {
            return None;
        }
        match mode {
            Mode::Off => None,
            Mode::Hash => {
                let mut hashing = self.hashing();
                hashing.add(text.as_bytes());
                Some(hashing.end().into())
            }
            Mode::Full if !self.names(model) => None,
            Mode::Redacted | Mode::Full => Some(self.shortened(mode, text, cut)),
        }
    }

    fn shortened(&self, mode: Mode, text: &str, cut: Cut) -> Kept {
        let text = if cut == Cut::End { cut_end(text) } else { text };
        let clean = if mode == Mode::Full { scrub(text) } else { redact(text) };
        let most = self.inner().settings.max_chars as usize;
        let end = clean.char_indices().nth(most).map(|(at, _)| at);
        Kept::Text { text: clean[..end.unwrap_or(clean.len())].to_owned(), cut: cut == Cut::End || end.is_some() }
    }

    /// Whether this request is one of those of which the whole may be kept.
    pub fn drawn(&self) -> bool {
        let one_in = self.inner().settings.one_in;
        fastrand::u32(..one_in.max(1)) == 0
    }

    /// Whether the model is one of those whose contents may be kept whole.
    pub fn names(&self, model: Option<&str>) -> bool {
        let inner = self.inner();
        model.is_some_and(|model| inner.settings.models.iter().any(|pattern| matches_pattern(pattern, model)))
    }

    /// A hash with the key of now.
    pub fn hashing(&self) -> Hashing {
        let mut inner = self.inner();
        let interval = inner.settings.key_interval;
        inner.keys.begin(Instant::now(), interval)
    }

    /// How much of a prompt or of a completion may be held while it is read, and of all of them, bytes.
    pub fn bounds(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.settings.max_bytes as usize, inner.settings.total_bytes as usize)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
