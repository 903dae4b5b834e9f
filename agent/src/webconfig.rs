//! Who may ask this agent, and how: a web configuration file as of Prometheus's exporter toolkit, with bearer tokens beside.
//! It is read at the start and again when it or a file that it names has changed. Serves nothing itself.
#![forbid(unsafe_code)]

mod callers;
mod credentials;
mod current;
mod file;
mod peers;
mod read;
mod search;
mod tls;
mod yaml;

use std::path::{Path, PathBuf};

use hyper::header::{HeaderName, HeaderValue};

pub use credentials::Credentials;
pub use current::{Current, Look};
pub use tls::Tls;

use crate::config::{Problem, list_problems};

/// What a file has become. The default lets everyone in.
#[derive(Debug, Default)]
pub struct Rules {
    pub tls: Option<Tls>,
    /// Set on every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub credentials: Option<Credentials>,
    /// Which reading this is, from 1; 0 without a file.
    pub generation: u64,
}

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub enum WebConfigError {
    #[error("cannot read the web configuration {}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    /// Every problem of the file, one per line, each with `FILE:LINE:`.
    #[error("{}", list_problems(path, problems))]
    Invalid { path: PathBuf, problems: Vec<Problem> },
    /// The file is well, and what it names is not.
    #[error("{}: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
}

/// What is wrong with a file of this text in a folder, to which its paths are relative; nothing of the secrets in it. Reads
/// no other file.
pub fn problems(text: &str, folder: &Path) -> Vec<Problem> {
    file::read(text, folder).err().unwrap_or_default()
}

impl Rules {
    /// What keeps strangers out, each by its name.
    fn locks(&self) -> [(&'static str, bool); 3] {
        let verifies = self.tls.as_ref().is_some_and(|tls| tls.verifies_all);
        [("TLS", self.tls.is_some()), ("client certificates", verifies), ("credentials", self.credentials.is_some())]
    }

    /// What these rules would open that OTHER has locked.
    fn opens(&self, other: &Rules) -> Option<&'static str> {
        let pairs = other.locks().into_iter().zip(self.locks());
        let mut opened = pairs.filter(|((_, was), (_, is))| *was && !*is).map(|((name, _), _)| name);
        opened.next()
    }

    /// Why strangers may read, or listen in, if the agent listens on an address that is no loopback; None if they cannot.
    pub fn exposes(&self) -> Option<&'static str> {
        let verifies = self.tls.as_ref().is_some_and(|tls| tls.verifies_all);
        match (&self.tls, &self.credentials) {
            (None, None) => Some("without TLS and without credentials: whoever reaches it can read everything"),
            (None, Some(_)) => Some("without TLS: passwords, tokens and answers pass in clear text"),
            (Some(_), None) if !verifies => {
                Some("without credentials and without client certificates: whoever reaches it can read everything")
            }
            _ => None,
        }
    }
}
