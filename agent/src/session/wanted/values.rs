//! The values of wanted fields, by number.

use super::{FieldId, Pick};
use crate::session::llm::{JsonValue, Sink, plain};

/// Longest text that is kept, in bytes.
const TEXT_BYTES: usize = 128;

/// A value that was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(Box<str>),
    Number(f64),
    Bool(bool),
}

impl Value {
    /// As a figure: true is 1, and a text is the number that it holds, if it does.
    pub fn number(&self) -> Option<f64> {
        let number = match self {
            Value::Number(number) => *number,
            Value::Bool(yes) => f64::from(u8::from(*yes)),
            Value::Text(text) => text.parse().ok()?,
        };
        number.is_finite().then_some(number)
    }

    /// As the value of a label.
    pub fn text(&self) -> String {
        match self {
            Value::Text(text) => text.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Bool(yes) => yes.to_string(),
        }
    }
}

/// A value for each wanted field, or none. Of several in one document the first holds, of several documents the last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    found: Vec<Option<Value>>,
    /// Fields that were counted: bytes that are missing make a number too small.
    counted: Vec<FieldId>,
    doubtful: bool,
}

impl Values {
    /// Of so many fields.
    pub fn new(fields: usize) -> Self {
        Self { found: vec![None; fields], counted: Vec::new(), doubtful: false }
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found.
    pub fn get(&self, id: FieldId) -> Option<&Value> {
        self.found.get(usize::from(id))?.as_ref()
    }

    /// As if the text had been found.
    #[cfg(test)]
    pub fn put(&mut self, id: FieldId, text: &str) {
        self.set_text(id, text);
    }

    pub(super) fn set_text(&mut self, id: FieldId, text: &str) {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES)];
        if !text.is_empty() {
            self.set(id, Value::Text(text.into()));
        }
    }

    fn set(&mut self, id: FieldId, value: Value) {
        if let Some(place) = self.found.get_mut(usize::from(id))
            && place.is_none()
        {
            *place = Some(value);
        }
    }

    /// Bytes of the document are missing: how often something comes in it cannot be told.
    pub(super) fn uncertain(&mut self) {
        self.doubtful = true;
    }

    /// Takes what a whole document said, which is empty then.
    pub(super) fn merge(&mut self, document: &mut Self) {
        let Self { found, counted, doubtful } = document;
        if *doubtful {
            counted.iter().for_each(|id| found[usize::from(*id)] = None);
        }
        for (place, found) in self.found.iter_mut().zip(&mut *found) {
            if let Some(value) = found.take() {
                *place = Some(value);
            }
        }
        document.clear();
    }

    pub(super) fn clear(&mut self) {
        self.found.fill(None);
        self.counted.clear();
        self.doubtful = false;
    }

    fn count(&mut self, id: FieldId) {
        if !self.counted.contains(&id) {
            self.counted.push(id);
        }
        if let Some(place) = self.found.get_mut(usize::from(id)) {
            let so_far = place.as_ref().and_then(Value::number).unwrap_or_default();
            *place = Some(Value::Number(so_far + 1.0));
        }
    }
}

impl Sink for Values {
    type Field = Pick;

    fn wants_text(&self, pick: Pick) -> bool {
        !pick.count
    }

    fn value(&mut self, pick: Pick, value: JsonValue<'_>) {
        match value {
            JsonValue::Close => {}
            _ if pick.count => self.count(pick.id),
            JsonValue::Text(raw) => {
                if let Some(text) = plain(raw) {
                    self.set_text(pick.id, &text);
                }
            }
            JsonValue::Uint(number) => self.set(pick.id, Value::Number(number as f64)),
            JsonValue::Float(number) if number.is_finite() => self.set(pick.id, Value::Number(number)),
            JsonValue::Bool(yes) => self.set(pick.id, Value::Bool(yes)),
            _ => {}
        }
    }
}
