//! How a process ended, as an event.

use super::{ledger::change, oom::Evidence};
use crate::{
    events::{Event, Severity},
    exits::Cause,
};

/// Set in the kernel's exit code where a core was dumped.
const CORE: u32 = 0x80;
/// Signals by which people and managers end a process.
const ORDERED: [&str; 4] = ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"];

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The kernel's; None if nobody saw it.
    pub code: Option<u32>,
    pub oom: Option<Evidence>,
}

impl Exit {
    /// Whether it ended by itself with exit code 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    fn cause(&self) -> Option<Cause> {
        self.code.map(|code| Cause::new(code, self.oom.is_some()))
    }

    /// In a few words: `exit code 3`, `SIGKILL (OOM)`.
    pub fn words(&self) -> String {
        let (Some(code), Some(cause)) = (self.code, self.cause()) else { return "not seen".to_owned() };
        match cause.signal {
            "" => format!("exit code {}", code >> 8),
            signal if self.oom.is_some() => format!("{signal} (OOM)"),
            signal => signal.to_owned(),
        }
    }

    /// Of a service's root process, or of another one of its.
    pub fn event(&self, root: bool) -> Event {
        let process = if root { "root" } else { "child" };
        let Some((code, cause)) = self.code.zip(self.cause()) else {
            return change("exit", Severity::Warn).with("cause", "unknown").with("process", process);
        };
        let severity = match cause.name {
            "success" => Severity::Info,
            "exit_code" if !root => Severity::Warn,
            "signal" if ORDERED.contains(&cause.signal) => Severity::Warn,
            _ => Severity::Error,
        };
        let event = change("exit", severity).with("cause", cause.name).with("process", process);
        if cause.signal.is_empty() {
            return event.with("exit_code", u64::from(code >> 8));
        }
        let event = event.with("signal", cause.signal).with("signal_number", u64::from(code & 0x7f));
        let event = event.with("core_dumped", code & CORE != 0);
        event.with_some("oom_evidence", self.oom.map(Evidence::name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_words() {
        let exit = |code, oom| Exit { code, oom };
        for (exit, words, severity, attributes) in [
            (
                exit(Some(0), None),
                "exit code 0",
                Severity::Info,
                r#"{"cause":"success","process":"root","exit_code":0}"#,
            ),
            (
                exit(Some(3 << 8), None),
                "exit code 3",
                Severity::Error,
                r#"{"cause":"exit_code","process":"root","exit_code":3}"#,
            ),
            (
                exit(Some(11 | CORE), None),
                "SIGSEGV",
                Severity::Error,
                r#"{"cause":"signal","process":"root","signal":"SIGSEGV","signal_number":11,"core_dumped":true}"#,
            ),
            (
                exit(Some(9), None),
                "SIGKILL",
                Severity::Warn,
                r#"{"cause":"signal","process":"root","signal":"SIGKILL","signal_number":9,"core_dumped":false}"#,
            ),
            (
                exit(Some(9), Some(Evidence::Group)),
                "SIGKILL (OOM)",
                Severity::Error,
                r#"{"cause":"oom_kill","process":"root","signal":"SIGKILL","signal_number":9,"core_dumped":false,"oom_evidence":"cgroup"}"#,
            ),
            (exit(None, None), "not seen", Severity::Warn, r#"{"cause":"unknown","process":"root"}"#),
        ] {
            let event = exit.event(true);
            assert_eq!((exit.words().as_str(), event.severity), (words, severity));
            assert_eq!(serde_json::to_string(&event.attributes).unwrap(), attributes);
        }
    }
}
