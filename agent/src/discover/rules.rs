//! The operator's rules for discovery: the `[discover]` section of the configuration. What to watch beside what is
//! recognised, what to leave alone, and how services are called.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::pattern;

/// The `[discover]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Recognise engines by themselves. Off: only what `include` names.
    pub enabled: bool,
    /// Watch unrecognised processes that listen on TCP until they show what they speak.
    pub wire: bool,
    /// The least time from one look at all processes to the next.
    #[serde(with = "crate::config::duration_text")]
    pub interval: Duration,
    /// Patterns of executables, scripts or their paths that are never watched, unless their pid is given.
    pub exclude: Vec<String>,
    pub include: Include,
    /// Names for services; the first rule that fits wins.
    pub service: Vec<NameRule>,
}

/// Processes to watch whatever they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Include {
    /// Processes that run when the rules are set; the next owner of an id is not meant.
    pub pids: Vec<u32>,
    /// Patterns of executables, scripts or their paths.
    pub exe: Vec<String>,
    /// TCP ports that the process listens on.
    pub ports: Vec<u16>,
}

/// A name for the services that fit all of the given conditions. Texts are patterns with `*` and `?`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameRule {
    pub name: String,
    pub engine: Option<String>,
    pub model: Option<String>,
    pub exe: Option<String>,
    pub port: Option<u16>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            enabled: true,
            wire: true,
            interval: Duration::from_secs(10),
            exclude: Vec::new(),
            include: Include::default(),
            service: Vec::new(),
        }
    }
}

impl Rules {
    /// Whether the operator wants this program left alone.
    pub(super) fn excludes(&self, command: &Command<'_>, exe: &str) -> bool {
        self.exclude.iter().any(|pattern| fits_program(pattern, command, exe))
    }

    /// Whether the operator wants this program watched.
    pub(super) fn includes(&self, command: &Command<'_>, exe: &str) -> bool {
        self.include.exe.iter().any(|pattern| fits_program(pattern, command, exe))
    }
}

fn fits_program(pattern: &str, command: &Command<'_>, exe: &str) -> bool {
    pattern::matches(pattern, exe)
        || command.names.iter().any(|name| pattern::matches(pattern, name))
        || command.script.as_deref().is_some_and(|script| pattern::matches(pattern, script))
}

/// What a name rule looks at.
pub(super) struct Subject<'a> {
    pub engine: &'a str,
    pub model: Option<&'a str>,
    /// The model that the root process itself names: unlike a child's, it does not depend on when one looks.
    pub own_model: Option<&'a str>,
    pub exe: &'a str,
    /// Ports that the service listens on or was told to.
    pub ports: &'a [u16],
}

impl NameRule {
    pub(super) fn fits(&self, subject: &Subject<'_>) -> bool {
        let fits = |pattern: &Option<String>, text: Option<&str>| match pattern {
            Some(pattern) => text.is_some_and(|text| pattern::matches(pattern, text)),
            None => true,
        };
        fits(&self.engine, Some(subject.engine))
            && fits(&self.model, subject.model)
            && fits(&self.exe, Some(subject.exe))
            && self.port.is_none_or(|port| subject.ports.contains(&port))
    }
}
