//! Texts of requests in flight, held in memory until their request is over: bounded for each and for all, and wiped when
//! they are let go. Mode `hash` holds none: texts are hashed as they pass.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use zeroize::{Zeroize, Zeroizing};

use super::{
    Guard, Mode,
    keys::{Hash, Hashing},
};

/// Pieces of a text that are told apart, such as messages.
const PIECES: usize = 256;
/// Room is taken in steps of so much.
const STEP: usize = 1024;

/// What a piece of a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    Text,
    Reasoning,
    /// Arguments of a tool call.
    ToolCall,
    /// A message of an error.
    Error,
}

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

/// A piece that ends at `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub kind: Kind,
    pub speaker: Option<Speaker>,
    pub end: usize,
}

/// Bytes held for all requests in flight.
#[derive(Debug, Default)]
pub struct Held(AtomicUsize);

impl Held {
    fn take(&self, bytes: usize, most: usize) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= most;
        if !fits {
            self.0.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is missing of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// More followed.
    pub end: bool,
    /// Whole parts, such as another choice.
    pub parts: bool,
}

/// A prompt or a completion under way.
pub struct Holding {
    store: Store,
    pub missing: Missing,
}

enum Store {
    Text(Text),
    Hash { hashing: Hashing, last: Option<Kind> },
}

struct Text {
    bytes: Zeroizing<Vec<u8>>,
    pieces: Vec<Piece>,
    /// Something had no room: what follows is not kept either.
    full: bool,
    /// What was there before it was begun anew, until it is known which of the two holds.
    aside: Option<Aside>,
    most: usize,
    most_of_all: usize,
    held: Arc<Held>,
}

struct Aside {
    bytes: Zeroizing<Vec<u8>>,
    pieces: Vec<Piece>,
    full: bool,
}

/// A place to go back to.
pub struct Place(Back);

enum Back {
    Text { anew: bool, bytes: usize, pieces: usize, full: bool },
    Hash(Hashing, Option<Kind>),
}

/// What was held, at the end.
#[derive(Clone)]
pub enum Taken {
    Text {
        bytes: Zeroizing<Vec<u8>>,
        pieces: Vec<Piece>,
    },
    Hash(Hash),
    /// Nothing came.
    Nothing,
}

impl fmt::Debug for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holding").field("missing", &self.missing).finish_non_exhaustive()
    }
}

impl Holding {
    /// For one side of a request, as the guard says in this mode.
    pub fn new(guard: &Guard, mode: Mode, hashing: &Hashing) -> Self {
        let store = if mode == Mode::Hash {
            Store::Hash { hashing: hashing.clone(), last: None }
        } else {
            let ((most, most_of_all), held) = (guard.bounds(), guard.held());
            let (bytes, pieces) = (Zeroizing::default(), Vec::new());
            Store::Text(Text { bytes, pieces, full: false, aside: None, most, most_of_all, held })
        };
        Holding { store, missing: Missing::default() }
    }

    /// Adds to the last piece, or begins a new one if that is not to be joined or is of another kind.
    pub fn add(&mut self, bytes: &[u8], kind: Kind, speaker: Option<Speaker>, joins: bool) {
        match &mut self.store {
            Store::Text(text) => self.missing.end |= !text.add(bytes, Piece { kind, speaker, end: 0 }, joins),
            Store::Hash { hashing, last } => {
                // No byte of UTF-8 is like this: pieces cannot be mistaken for one text.
                if last.is_some_and(|last| !joins || last != kind) || last.is_none() && kind != Kind::Text {
                    hashing.add(&[0xff, kind as u8]);
                }
                hashing.add(bytes);
                *last = Some(kind);
            }
        }
    }

    /// How many pieces there are, as far as they are told apart.
    pub fn pieces(&self) -> usize {
        match &self.store {
            Store::Text(text) => text.pieces.len(),
            Store::Hash { .. } => 0,
        }
    }

    /// Says of the pieces from this one on who says them.
    pub fn said_by(&mut self, from: usize, speaker: Option<Speaker>) {
        if let Store::Text(text) = &mut self.store {
            text.pieces.iter_mut().skip(from).for_each(|piece| piece.speaker = speaker);
        }
    }

    pub fn place(&self) -> Place {
        Place(match &self.store {
            Store::Text(text) => Back::Text {
                anew: text.aside.is_some(),
                bytes: text.bytes.len(),
                pieces: text.pieces.len(),
                full: text.full,
            },
            Store::Hash { hashing, last } => Back::Hash(hashing.clone(), *last),
        })
    }

    /// Forgets what came since, and that it was begun anew since.
    pub fn back_to(&mut self, place: &Place) {
        match (&mut self.store, &place.0) {
            (Store::Text(text), Back::Text { anew, bytes, pieces, full }) => {
                if !anew {
                    text.take_back();
                }
                text.cut(*bytes, *pieces);
                text.full = *full;
            }
            (Store::Hash { hashing, last }, Back::Hash(old, old_last)) => (*hashing, *last) = (old.clone(), *old_last),
            _ => {}
        }
    }

    /// Begins anew at `beginning`, where nothing was held yet. What was held is kept aside for [`Holding::back_to`] until
    /// [`Holding::settle`].
    pub fn begin_anew(&mut self, beginning: &Place) {
        match &mut self.store {
            Store::Text(text) => text.put_aside(),
            Store::Hash { .. } => self.back_to(beginning),
        }
    }

    /// What was begun anew holds: what was there before is forgotten.
    pub fn settle(&mut self) {
        if let Store::Text(text) = &mut self.store
            && let Some(aside) = text.aside.take()
        {
            text.give_back(aside.bytes);
        }
    }

    /// What came, which may be nothing.
    pub fn take(self) -> (Taken, Missing) {
        let taken = match self.store {
            Store::Text(mut text) if !text.bytes.is_empty() => {
                Taken::Text { bytes: text.release(), pieces: std::mem::take(&mut text.pieces) }
            }
            Store::Hash { hashing, last: Some(_) } => Taken::Hash(hashing.end()),
            _ => Taken::Nothing,
        };
        (taken, self.missing)
    }
}

impl Text {
    /// False if not all of it is held.
    fn add(&mut self, bytes: &[u8], piece: Piece, joins: bool) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let joins = joins && self.pieces.last().is_some_and(|last| last.kind == piece.kind);
        let apart = joins || self.pieces.len() < PIECES;
        let fits = if self.full || !apart { 0 } else { self.room(bytes.len()).min(bytes.len()) };
        self.full = fits < bytes.len();
        if fits == 0 {
            return false;
        }
        self.bytes.extend_from_slice(&bytes[..fits]);
        let end = self.bytes.len();
        match self.pieces.last_mut() {
            Some(last) if joins => last.end = end,
            _ => self.pieces.push(Piece { end, ..piece }),
        }
        fits == bytes.len()
    }

    /// Makes room for so many more bytes, as far as there may be; how many there is room for.
    fn room(&mut self, bytes: usize) -> usize {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        let wanted = (len + bytes).min(self.most);
        if wanted > capacity {
            let grown = wanted.max(capacity * 2).next_multiple_of(STEP);
            if self.held.take(grown - capacity, self.most_of_all) {
                // A vector that grows by itself leaves its text where it was.
                let mut larger = Zeroizing::new(Vec::with_capacity(grown));
                let got = larger.capacity();
                larger.extend_from_slice(&self.bytes);
                self.bytes = larger;
                self.held.0.fetch_add(got - grown, Ordering::Relaxed);
            }
        }
        self.bytes.capacity().min(self.most) - len
    }

    fn cut(&mut self, bytes: usize, pieces: usize) {
        // Begun anew twice since, it may be shorter.
        let bytes = bytes.min(self.bytes.len());
        self.bytes[bytes..].zeroize();
        self.bytes.truncate(bytes);
        self.pieces.truncate(pieces);
        if let Some(last) = self.pieces.last_mut() {
            last.end = last.end.min(bytes);
        }
    }

    fn put_aside(&mut self) {
        let full = std::mem::take(&mut self.full);
        if self.aside.is_some() {
            return self.cut(0, 0);
        }
        let (bytes, pieces) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.pieces));
        self.aside = Some(Aside { bytes, pieces, full });
    }

    fn take_back(&mut self) {
        if let Some(aside) = self.aside.take() {
            let bytes = std::mem::replace(&mut self.bytes, aside.bytes);
            (self.pieces, self.full) = (aside.pieces, aside.full);
            self.give_back(bytes);
        }
    }

    fn release(&mut self) -> Zeroizing<Vec<u8>> {
        if let Some(aside) = self.aside.take() {
            self.give_back(aside.bytes);
        }
        self.held.0.fetch_sub(self.bytes.capacity(), Ordering::Relaxed);
        std::mem::take(&mut self.bytes)
    }

    fn give_back(&self, bytes: Zeroizing<Vec<u8>>) {
        self.held.0.fetch_sub(bytes.capacity(), Ordering::Relaxed);
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
#[path = "hold_test.rs"]
mod tests;
