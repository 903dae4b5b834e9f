//! What the watched servers write to their outputs and log files: lines of messages, by level. The text itself goes no
//! further than to whoever is handed a line, which lasts only for the call.
#![forbid(unsafe_code)]

mod ansi;
mod files;
mod head;
mod json;
pub mod level;
pub mod lines;
pub mod message;
pub mod tell;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path};

use inferscope_abi::{FileKey, LOG_APPENDED, LOG_ASKING};
use rustc_hash::FxHashMap;

use crate::{decode::LogWrite, export::requests::OTHER};
use level::{LEVELS, Level};
use lines::Lines;
use message::Messages;

/// Descriptors that are followed at a time; the one that was written to least recently gives way.
const STREAMS: usize = 4096;
/// Services that are told apart, those that have ended with their series.
const SERVICES: usize = 8192;
/// Files of which the answer is remembered here too, until the kernel side's mark takes effect.
const ANSWERS: usize = 1024;

/// What one service has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Messages by level, in the order of [`LEVELS`].
    pub messages: [u64; LEVELS.len()],
    /// Bytes that the kernel side did not count, because it asked whether the file was a log.
    pub bytes: u64,
    /// Bytes of these that were not handed over.
    pub unread_bytes: u64,
}

/// What scrapes show.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub services: BTreeMap<String, Count>,
    /// Messages counted under `_other`.
    pub overflow: u64,
    /// Writes to files of which it could not be told whether they were logs.
    pub undecided: u64,
    /// Messages that were grave enough for a record, over the limit of their service.
    pub records_left_out: u64,
}

/// A message, as it is told of.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub level: Level,
    /// Its first line as it was written, cut at [`lines::LINE_BYTES`].
    pub line: &'a [u8],
    /// What of that line is missing beside.
    pub torn: Torn,
}

/// What was not seen of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Torn {
    /// It may have begun before what was seen of it.
    pub begin: bool,
    /// It may go on.
    pub end: bool,
}

#[derive(Debug, Default)]
struct Stream {
    lines: Lines,
    messages: Messages,
    /// Writes of its service without a record, as of its last record.
    skipped: u64,
    /// Its last write was cut: what follows does not go on with what was seen.
    cut: bool,
    /// Nothing was seen of what came before the line under way.
    torn: bool,
    service: String,
    last: u64,
}

impl Stream {
    fn take(&mut self, bytes: &[u8], out: &mut impl FnMut(Message<'_>)) {
        let Self { lines, messages, torn, .. } = self;
        lines.push(bytes, |line| told(messages, line, Torn { begin: std::mem::take(torn), end: false }, out));
    }

    /// What is there of a line is one; `cut`: there was more of it, or of what comes next the beginning is missing.
    fn end(&mut self, cut: bool, out: &mut impl FnMut(Message<'_>)) {
        let Self { lines, messages, torn, .. } = self;
        lines.end(|line| told(messages, line, Torn { begin: *torn, end: cut }, out));
        *torn = cut;
        messages.gap();
    }
}

fn told(messages: &mut Messages, line: &[u8], torn: Torn, out: &mut impl FnMut(Message<'_>)) {
    if let Some(level) = messages.line(line) {
        out(Message { level, line, torn });
    }
}

/// Follows every descriptor that logs are written through.
#[derive(Debug, Default)]
pub struct ServerLogs {
    /// By process and descriptor.
    streams: FxHashMap<(u32, u32), Stream>,
    counts: BTreeMap<String, Count>,
    answers: FxHashMap<FileKey, bool>,
    turn: u64,
    undecided: u64,
    overflow: u64,
}

impl ServerLogs {
    /// Takes a write of a process of this service. `mark` passes on whether a file is a log; `each` hears of every
    /// message.
    pub fn write(
        &mut self,
        write: &LogWrite<'_>,
        service: &str,
        mark: impl FnMut(FileKey, bool),
        each: &mut impl FnMut(&str, Message<'_>),
    ) {
        let head = &write.head;
        let asked = head.kind == LOG_APPENDED || head.kind == LOG_ASKING;
        if asked && !self.is_log(write, mark) {
            return;
        }
        let unread = head.written.saturating_sub(u64::from(head.captured));
        if asked {
            let count = self.count(service);
            count.bytes += head.written;
            count.unread_bytes += unread;
        }
        let key = (head.header.tgid, head.fd);
        self.make_room(key, each);
        self.turn += 1;
        let fresh = Stream { skipped: head.skipped, torn: head.skipped != 0, ..Stream::default() };
        let mut stream = self.streams.remove(&key).unwrap_or(fresh);
        service.clone_into(&mut stream.service);
        let mut counted = |message: Message<'_>| {
            self.count_message(service, message.level);
            each(service, message);
        };
        if stream.cut || stream.skipped != head.skipped {
            stream.end(true, &mut counted);
        }
        stream.take(write.data, &mut counted);
        stream.cut = unread != 0;
        stream.skipped = head.skipped;
        stream.last = self.turn;
        self.streams.insert(key, stream);
    }

    /// A process ended: what it wrote last is a line without its end.
    pub fn process_exit(&mut self, tgid: u32, mut each: impl FnMut(&str, u32, Message<'_>)) {
        let theirs: Vec<(u32, u32)> = self.streams.keys().filter(|(of, _)| *of == tgid).copied().collect();
        for key in theirs {
            self.end(key, false, &mut |service, message| each(service, key.1, message));
        }
    }

    /// Drops the counts of a service that has ended.
    pub fn forget(&mut self, service: &str) {
        self.counts.remove(service);
    }

    /// For scrapes; none of a service that has written nothing.
    pub fn figures(&self) -> Figures {
        let Self { overflow, undecided, .. } = *self;
        Figures { services: self.counts.clone(), overflow, undecided, records_left_out: 0 }
    }

    fn end(&mut self, key: (u32, u32), cut: bool, each: &mut impl FnMut(&str, Message<'_>)) {
        let Some(mut stream) = self.streams.remove(&key) else { return };
        let service = std::mem::take(&mut stream.service);
        stream.end(cut || stream.cut, &mut |message| {
            self.count_message(&service, message.level);
            each(&service, message);
        });
    }

    fn make_room(&mut self, key: (u32, u32), each: &mut impl FnMut(&str, Message<'_>)) {
        if self.streams.len() < STREAMS || self.streams.contains_key(&key) {
            return;
        }
        let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.last).map(|(key, _)| *key);
        if let Some(oldest) = oldest {
            self.end(oldest, true, each);
        }
    }

    fn count(&mut self, service: &str) -> &mut Count {
        let room = self.counts.len() < SERVICES || self.counts.contains_key(service);
        let name = if room { service } else { OTHER };
        self.counts.entry(name.to_owned()).or_default()
    }

    fn count_message(&mut self, service: &str, level: Level) {
        if self.counts.len() >= SERVICES && !self.counts.contains_key(service) {
            self.overflow += 1;
        }
        self.count(service).messages[level as usize] += 1;
    }

    /// Whether the file that was written to is a log; the answer goes to `mark` too.
    fn is_log(&mut self, write: &LogWrite<'_>, mut mark: impl FnMut(FileKey, bool)) -> bool {
        let head = &write.head;
        if let Some(known) = self.answers.get(&head.file) {
            // Asked before the answer was there, or after it was forgotten.
            mark(head.file, *known);
            return *known;
        }
        let answer = files::is_log(Path::new("/proc"), head.header.tgid, head.fd, head.file.inode);
        let Some(is_log) = answer.filter(|_| head.file != FileKey::default()) else {
            // A file that nobody appends to and that is closed at once is no log.
            self.undecided += u64::from(head.kind == LOG_APPENDED);
            return false;
        };
        if self.answers.len() >= ANSWERS {
            self.answers.clear();
        }
        self.answers.insert(head.file, is_log);
        mark(head.file, is_log);
        is_log
    }
}
