//! Whom the server turned away, by reason. Written by connections, read by scrapes.

use std::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering},
};

use ::prometheus::proto::MetricFamily;

use crate::{
    export::{family::Family, metrics},
    webconfig::Current,
};

/// Why a connection or a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No client certificate, or none that is good.
    ClientCertificate,
    /// No user and no token, or none that is good.
    Credentials,
    /// There was no room, or others needed it more.
    Crowded,
    /// TLS that came to nothing.
    Handshake,
    /// No HTTP.
    Malformed,
    /// HTTP where TLS is wanted.
    PlainHttp,
    /// No whole request in time.
    Slow,
    /// An answer that was not read in time.
    Unread,
}

const REASONS: [(Reason, &str); 8] = [
    (Reason::ClientCertificate, "client_certificate"),
    (Reason::Credentials, "credentials"),
    (Reason::Crowded, "crowded"),
    (Reason::Handshake, "handshake"),
    (Reason::Malformed, "malformed"),
    (Reason::PlainHttp, "plain_http"),
    (Reason::Slow, "slow"),
    (Reason::Unread, "unread"),
];

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; REASONS.len()]);

impl Counts {
    /// Counts one, and says the first of each reason.
    pub fn reject(&self, reason: Reason, detail: impl Display) {
        let name = REASONS[reason as usize].1;
        if self.0[reason as usize].fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(reason = name, "a caller is turned away: {detail}; more of these are only counted");
        } else {
            tracing::debug!(reason = name, "a caller is turned away: {detail}");
        }
    }

    /// How many so far.
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// Their family.
    pub fn family(&self) -> Option<MetricFamily> {
        let mut rejected = Family::new(&metrics::HTTP_REJECTED);
        for (reason, name) in REASONS {
            rejected.add(&[name], self.of(reason) as f64);
        }
        rejected.finish()
    }
}

/// What became of the web configuration; nothing without one.
pub fn web_config(current: &Current) -> Vec<MetricFamily> {
    if !current.has_file() {
        return Vec::new();
    }
    let (taken, refused) = current.counts();
    let mut reloads = Family::new(&metrics::WEB_CONFIG_RELOADS);
    reloads.add(&["taken"], taken as f64);
    reloads.add(&["refused"], refused as f64);
    let mut stale = Family::new(&metrics::WEB_CONFIG_STALE);
    stale.add(&[], f64::from(u8::from(current.is_stale())));
    let rules = current.rules();
    let mut expires = Family::new(&metrics::WEB_CERTIFICATE_EXPIRES);
    expires.add_some(&[], rules.tls.as_ref().map(|tls| tls.expires_unix_s as f64));
    let mut begins = Family::new(&metrics::WEB_CERTIFICATE_BEGINS);
    begins.add_some(&[], rules.tls.as_ref().map(|tls| tls.begins_unix_s as f64));
    [reloads, stale, expires, begins].into_iter().filter_map(Family::finish).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_series() {
        assert!(REASONS.iter().enumerate().all(|(at, (reason, _))| *reason as usize == at));
        let counts = Counts::default();
        counts.reject(Reason::Slow, "as the test wants it");
        let text = ::prometheus::TextEncoder::new().encode_to_string(&[counts.family().unwrap()]).unwrap();
        assert!(text.contains("inferscope_http_rejected_total{reason=\"slow\"} 1\n"), "{text}");
        assert!(text.contains("inferscope_http_rejected_total{reason=\"crowded\"} 0\n"), "{text}");
    }
}
