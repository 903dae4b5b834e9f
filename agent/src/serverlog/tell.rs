//! Records of messages: one event each, as grave as the operator asked for and as many as the limit allows, with the
//! requests that were in flight. The text is kept only where it was asked for, and then without secrets.

use std::sync::Arc;

use inferscope_abi::LogEvent;
use rustc_hash::FxHashMap;

use super::{Message, ansi, level::Level, lines::LINE_BYTES};
use crate::{
    clock::monotonic_ns,
    config::{LogRecords, LogText, Logs},
    events::{Event, Journal, Severity, TEXT_CHARS, Topic},
    privacy,
};

/// A service that said nothing for long may have so many seconds' records at once.
const BURST_S: f64 = 10.0;
/// Requests of which a record tells when they began.
const REQUESTS: usize = 24;

/// An LLM request in flight.
#[derive(Debug, Clone, Copy)]
pub struct Flying<'a> {
    /// `start_ns` of its record.
    pub start_ns: u64,
    pub request_id: Option<&'a str>,
}

/// Who wrote a message, and through what.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    pub service: &'a str,
    pub pid: u32,
    pub comm: &'a str,
    /// 1 and 2 are the standard ones; any other is a file, or was duplicated from them. None where that is not known.
    pub fd: Option<u32>,
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
}

impl<'a> Writer<'a> {
    /// The writer of a record of the ring.
    pub fn of(head: &LogEvent, service: &'a str, comm: &'a str) -> Self {
        Self { service, pid: head.header.tgid, comm, fd: Some(head.fd), at_ns: head.header.at_ns }
    }
}

struct Bucket {
    tokens: f64,
    at_ns: u64,
}

/// Makes events of messages.
pub struct Teller {
    journal: Arc<Journal>,
    settings: Logs,
    /// By service, of which there is a bounded number: forgotten with their series.
    buckets: FxHashMap<String, Bucket>,
    /// Records over the limit.
    pub left_out: u64,
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Debug => Severity::Debug,
        Level::Unknown | Level::Info => Severity::Info,
        Level::Warning => Severity::Warn,
        Level::Error => Severity::Error,
        Level::Critical => Severity::Fatal,
    }
}

fn least(records: LogRecords) -> Option<Level> {
    match records {
        LogRecords::Off => None,
        LogRecords::Error => Some(Level::Error),
        LogRecords::Warning => Some(Level::Warning),
        LogRecords::Info => Some(Level::Info),
    }
}

/// What may be kept of a line, and whether there was more.
fn kept(text: LogText, message: &Message<'_>) -> Option<(String, bool)> {
    let cut = message.torn.end || message.line.len() >= LINE_BYTES;
    let plain = ansi::plain(message.line);
    let whole = String::from_utf8_lossy(plain.trim_ascii_end());
    // The beginning of a secret is not known as one.
    let safe = if cut { privacy::cut_end(&whole) } else { &whole };
    let safe = match text {
        LogText::Off => return None,
        // Nor is the end of one.
        _ if message.torn.begin => return Some((String::new(), true)),
        LogText::Redacted => privacy::redact(safe),
        LogText::Full => privacy::scrub(safe),
    };
    let end = safe.char_indices().nth(TEXT_CHARS).map(|(end, _)| end);
    Some((safe[..end.unwrap_or(safe.len())].to_owned(), cut || end.is_some()))
}

/// Words with blanks between, as many as there is room for whole.
fn joined(words: impl Iterator<Item = String>) -> Option<String> {
    let mut all = String::new();
    for word in words {
        if all.chars().count() + 1 + word.chars().count() > TEXT_CHARS {
            break;
        }
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(&word);
    }
    (!all.is_empty()).then_some(all)
}

impl Teller {
    pub fn new(journal: Arc<Journal>, settings: Logs) -> Self {
        Self { journal, settings, buckets: FxHashMap::default(), left_out: 0 }
    }

    /// Tells of a message, if it is grave enough. `flying`: the service's LLM requests in flight.
    pub fn message<'f>(&mut self, writer: &Writer<'_>, message: Message<'_>, flying: impl FnOnce() -> Vec<Flying<'f>>) {
        if least(self.settings.records).is_none_or(|least| message.level < least) {
            return;
        }
        if !self.pay(writer.service, writer.at_ns) {
            self.left_out += 1;
            return;
        }
        self.journal.tell(self.event(writer, message, &flying()));
    }

    /// Forgets a service that has ended.
    pub fn forget(&mut self, service: &str) {
        self.buckets.remove(service);
    }

    fn pay(&mut self, service: &str, at_ns: u64) -> bool {
        let rate = f64::from(self.settings.records_per_second);
        if !self.buckets.contains_key(service) {
            self.buckets.insert(service.to_owned(), Bucket { tokens: rate * BURST_S, at_ns });
        }
        let Some(bucket) = self.buckets.get_mut(service) else { return false };
        let passed_s = at_ns.saturating_sub(bucket.at_ns) as f64 / 1e9;
        bucket.at_ns = bucket.at_ns.max(at_ns);
        bucket.tokens = (bucket.tokens + passed_s * rate).min(rate * BURST_S);
        let enough = bucket.tokens >= 1.0;
        bucket.tokens -= f64::from(u8::from(enough));
        enough
    }

    fn event(&self, writer: &Writer<'_>, message: Message<'_>, flying: &[Flying<'_>]) -> Event {
        let stream = match writer.fd {
            Some(1) => "stdout",
            Some(2) => "stderr",
            _ => "file",
        };
        let event = Event::new(Topic::Log, "message", severity(message.level)).of(writer.service, writer.pid);
        // The clock that the event was made by is read later than the kernel's.
        let late_ns = monotonic_ns().saturating_sub(writer.at_ns);
        let event = Event { unix_ns: event.unix_ns.saturating_sub(late_ns), ..event };
        let (text, cut) = kept(self.settings.text, &message).unzip();
        let starts = flying.iter().take(REQUESTS).map(|one| one.start_ns.to_string());
        let named = flying.iter().take(REQUESTS).filter_map(|one| one.request_id);
        let ids = named.map(|id| privacy::name(id).into_owned());
        event
            .with("level", message.level.label())
            .with("comm", writer.comm)
            .with("stream", stream)
            .with("requests_in_flight", flying.len() as u64)
            .with_some("request_starts_ns", joined(starts).as_ref())
            .with_some("request_ids", joined(ids).as_ref())
            .with_some("text", text.as_ref())
            .with_some("text_cut", cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{events::Value, serverlog::Torn};

    const WRITER: Writer<'_> = Writer { service: "svc", pid: 7, comm: "python3", fd: Some(2), at_ns: 1 };

    fn told(settings: Logs, messages: &[(Level, &[u8])]) -> (Vec<Arc<Event>>, u64) {
        let journal = Arc::new(Journal::default());
        let mut teller = Teller::new(Arc::clone(&journal), settings);
        for (level, line) in messages {
            let flying =
                || vec![Flying { start_ns: 55, request_id: Some("r-1") }, Flying { start_ns: 66, request_id: None }];
            teller.message(&WRITER, Message { level: *level, line, torn: Torn::default() }, flying);
        }
        let mut told = journal.last(Topic::Log);
        told.reverse();
        (told, teller.left_out)
    }

    fn text<'e>(event: &'e Event, name: &str) -> Option<&'e str> {
        match event.attributes.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn by_default_warnings_and_worse_are_told_and_no_text() {
        let secret: &[u8] = b"ERROR: key sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD of eve@example.com";
        let (events, _) = told(
            Logs::default(),
            &[(Level::Info, b"INFO: x"), (Level::Unknown, b"x"), (Level::Warning, b"w"), (Level::Error, secret)],
        );
        let levels: Vec<_> = events.iter().map(|event| (text(event, "level"), event.severity)).collect();
        assert_eq!(levels, [(Some("warning"), Severity::Warn), (Some("error"), Severity::Error)]);
        let error = &events[1];
        assert_eq!((error.service.as_deref(), error.pid), (Some("svc"), Some(7)));
        assert_eq!((text(error, "stream"), text(error, "comm")), (Some("stderr"), Some("python3")));
        assert_eq!(error.attributes.get("requests_in_flight"), Some(&Value::Number(2)));
        assert_eq!((text(error, "request_starts_ns"), text(error, "request_ids")), (Some("55 66"), Some("r-1")));
        let line = serde_json::to_string(error.as_ref()).unwrap();
        assert!(
            !line.contains("eve@") && !line.contains("sk-proj") && error.attributes.get("text").is_none(),
            "{line}"
        );
    }

    #[test]
    fn text_is_kept_without_secrets_and_redacted_without_personal_data() {
        let line: &[u8] =
            b"\x1b[31mERROR\x1b[0m: key sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD of eve@example.com";
        let with = |text| told(Logs { text, ..Logs::default() }, &[(Level::Error, line)]).0.remove(0);
        let (redacted, full) = (with(LogText::Redacted), with(LogText::Full));
        let (redacted, full) = (text(&redacted, "text").unwrap(), text(&full, "text").unwrap());
        assert!(redacted.starts_with("ERROR: key ") && full.starts_with("ERROR: key "), "{redacted} {full}");
        assert!(!redacted.contains("eve@") && full.contains("eve@example.com"), "{redacted} {full}");
        assert!(!redacted.contains("sk-proj") && !full.contains("sk-proj"), "{redacted} {full}");
    }

    #[test]
    fn a_line_that_was_cut_ends_before_the_word_that_was() {
        let line = [b"ERROR ".as_slice(), &b"a ".repeat(500), b"s3cretbegin"].concat();
        let line = &line[..LINE_BYTES.min(line.len())];
        let long = [line, &b"x".repeat(LINE_BYTES)].concat();
        let of = |line: &[u8], torn| kept(LogText::Full, &Message { level: Level::Error, line, torn }).unwrap();
        let (text, cut) = of(&long[..LINE_BYTES], Torn::default());
        assert!(cut && !text.contains("s3cret"), "{text}");
        let (end, begin) = (Torn { end: true, begin: false }, Torn { end: false, begin: true });
        assert_eq!(of(b"ERROR key hf_abcdef", end), ("ERROR key ".into(), true));
        assert_eq!(of(b"ter22 ERROR", begin), (String::new(), true));
        let (text, cut) = of(&[b"ERROR ".as_slice(), &[b'x'; 700]].concat(), Torn::default());
        assert_eq!((text.len(), cut), (TEXT_CHARS, true));
    }

    #[test]
    fn ids_are_whole() {
        let long = |n: usize| (0..n).map(|_| "i".repeat(200));
        assert_eq!(joined(long(9)), Some(long(2).collect::<Vec<_>>().join(" ")));
        assert_eq!(joined(long(0)), None);
    }

    #[test]
    fn what_is_over_the_limit_is_counted() {
        let settings = Logs { records_per_second: 2, ..Logs::default() };
        let (events, left_out) = told(settings, &[(Level::Error, b"x" as &[u8]); 50]);
        assert_eq!((events.len(), left_out), (20, 30));
        let (events, _) = told(Logs { records: LogRecords::Off, ..settings }, &[(Level::Critical, b"x")]);
        assert!(events.is_empty());
        let (events, _) =
            told(Logs { records: LogRecords::Info, ..settings }, &[(Level::Info, b"x"), (Level::Debug, b"x")]);
        assert_eq!(events.len(), 1);
    }
}
