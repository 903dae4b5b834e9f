//! What happens and is no request: a small record with a name, a service and a few attributes. It goes the way that
//! requests go (JSON lines, OTLP log records), and the last ones are kept for the API and the page. Sending never waits,
//! and what has no room on the way is counted there.
#![forbid(unsafe_code)]

mod journal;

use std::{sync::Arc, time::SystemTime};

use serde::{Serialize, Serializer, ser::SerializeMap};

pub use journal::{Journal, KEPT};

use crate::{correlate::Request, privacy::Content};

/// Most attributes of an event; those beyond them are left out.
pub const ATTRIBUTES: usize = 16;
/// Longest text of an attribute, in characters; a longer one is cut.
pub const TEXT_CHARS: usize = 512;

/// What kind of record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Something about a watched server, its host or the agent is not as it was.
    Change,
    /// A watched server wrote a message to its log.
    Log,
}

/// Every topic: the value of `record` in JSON lines, and OTLP's name of the event.
const TOPICS: [(Topic, &str, &str); 2] =
    [(Topic::Change, "change", "inferscope.change"), (Topic::Log, "log", "inferscope.log")];

impl Topic {
    /// The value of `record` in JSON lines and in the API.
    pub fn name(self) -> &'static str {
        TOPICS[self as usize].1
    }

    /// The topic of this name.
    pub fn named(name: &str) -> Option<Self> {
        TOPICS.iter().find(|(_, own, _)| *own == name).map(|(topic, ..)| *topic)
    }

    /// OTLP's `event_name`.
    pub fn event_name(self) -> &'static str {
        TOPICS[self as usize].2
    }
}

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Text(String),
    Number(i64),
    Figure(f64),
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        let end = text.char_indices().nth(TEXT_CHARS).map_or(text.len(), |(end, _)| end);
        Value::Text(text[..end].to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(figure: f64) -> Self {
        Value::Figure(figure)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Flag(flag)
    }
}

/// Names with their values, in the order in which they were added; bounded in number and in size.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(Vec<(&'static str, Value)>);

impl Attributes {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub topic: Topic,
    /// Which of its topic, such as `start`.
    pub name: &'static str,
    /// Nanoseconds of Unix time.
    pub unix_ns: u64,
    /// None if it is the host's, or the agent's own.
    pub service: Option<String>,
    /// Host's pid namespace.
    pub pid: Option<u32>,
    pub severity: Severity,
    pub attributes: Attributes,
}

impl Event {
    /// One of now.
    pub fn new(topic: Topic, name: &'static str, severity: Severity) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            topic,
            name,
            unix_ns: since.map_or(0, |since| since.as_nanos() as u64),
            service: None,
            pid: None,
            severity,
            attributes: Attributes::default(),
        }
    }

    /// Of a process of a service.
    pub fn of(mut self, service: &str, pid: u32) -> Self {
        self.service = Some(service.to_owned());
        self.pid = Some(pid);
        self
    }

    /// With an attribute; one for which there is no room is left out.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        if self.attributes.0.len() < ATTRIBUTES {
            self.attributes.0.push((name, value.into()));
        }
        self
    }

    /// With an attribute, if there is a value.
    pub fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// The line of `--records`; a request's has no `record`. Its time is exact to the microsecond.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("record", self.topic.name())?;
        map.serialize_entry("event", self.name)?;
        map.serialize_entry("time_unix_s", &((self.unix_ns / 1000) as f64 / 1e6))?;
        map.serialize_entry("service", &self.service)?;
        map.serialize_entry("pid", &self.pid)?;
        map.serialize_entry("severity", &self.severity)?;
        map.serialize_entry("attributes", &self.attributes)?;
        map.end()
    }
}

/// What outputs carry.
#[derive(Debug, Clone)]
pub enum Record {
    /// With prompt and completion, as far as the operator asked for them: logs have these, and nothing else does.
    Request(Arc<Request>, Option<Arc<Content>>),
    Event(Arc<Event>),
}

impl From<&Arc<Request>> for Record {
    fn from(request: &Arc<Request>) -> Self {
        Record::Request(Arc::clone(request), None)
    }
}

impl From<&Arc<Event>> for Record {
    fn from(event: &Arc<Event>) -> Self {
        Record::Event(Arc::clone(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_its_type() {
        assert!(TOPICS.iter().enumerate().all(|(at, (topic, ..))| *topic as usize == at));
    }

    #[test]
    fn a_line_says_what_it_is() {
        let event = Event { unix_ns: 1_700_000_000_123_456_789, ..Event::new(Topic::Change, "exit", Severity::Error) };
        let event = event.of("vllm", 7).with("exit_code", 3_u64).with("oom", false).with_some("signal", None::<&str>);
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"record":"change","event":"exit","time_unix_s":1700000000.123456,"service":"vllm","pid":7,"severity":"error","attributes":{"exit_code":3,"oom":false}}"#
        );
    }

    #[test]
    fn attributes_are_bounded() {
        let long = "\u{fc}".repeat(TEXT_CHARS + 1);
        let event =
            (0..ATTRIBUTES + 3).fold(Event::new(Topic::Change, "x", Severity::Info), |event, _| event.with("a", &long));
        assert_eq!(event.attributes.iter().count(), ATTRIBUTES);
        assert_eq!(event.attributes.get("a"), Some(&Value::Text("\u{fc}".repeat(TEXT_CHARS))));
    }
}
