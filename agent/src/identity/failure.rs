//! What goes wrong with a source: a word for the counter, and a sentence for the log.

use std::time::Duration;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// The service account's files cannot be read or used.
    Account,
    /// No connection, or it broke off.
    Connect,
    Unauthorized,
    Forbidden,
    /// Asked to come later.
    Throttled,
    /// The other side failed.
    Server,
    Timeout,
    /// The place in the watch is too old: the pods are listed again.
    Expired,
    /// An answer that is not understood.
    Answer,
    TooLarge,
    /// More pods or containers than there is room for.
    Room,
}

/// Every kind, with its word.
pub const KINDS: [(Kind, &str); 11] = [
    (Kind::Account, "account"),
    (Kind::Connect, "connect"),
    (Kind::Unauthorized, "unauthorized"),
    (Kind::Forbidden, "forbidden"),
    (Kind::Throttled, "throttled"),
    (Kind::Server, "server"),
    (Kind::Timeout, "timeout"),
    (Kind::Expired, "expired"),
    (Kind::Answer, "answer"),
    (Kind::TooLarge, "too_large"),
    (Kind::Room, "room"),
];

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    pub why: String,
    /// Not before then, if the other side says so.
    pub after: Option<Duration>,
}

impl Failure {
    pub fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into(), after: None }
    }

    /// An error and its causes: the outermost says little.
    pub fn of(kind: Kind, error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(error.source(), |error| error.source());
        Self::new(kind, causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
    }

    /// Of a status of HTTP that is no success.
    pub fn of_status(code: u16, why: String, after: Option<Duration>) -> Self {
        let kind = match code {
            401 => Kind::Unauthorized,
            403 => Kind::Forbidden,
            410 => Kind::Expired,
            429 => Kind::Throttled,
            500.. => Kind::Server,
            _ => Kind::Answer,
        };
        Self { kind, why, after }
    }
}
