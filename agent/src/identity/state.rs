//! How each source goes: up or not, and how often it failed in which way. Says in the log what changes, not what recurs.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::failure::{Failure, KINDS, Kind};

/// Who tells of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Source {
    Api,
    PodResources,
}

/// Every source, with its word.
pub const SOURCES: [(Source, &str); 2] = [(Source::Api, "api"), (Source::PodResources, "pod_resources")];

/// What is known of both.
#[derive(Debug, Default)]
pub struct State {
    errors: [[AtomicU64; KINDS.len()]; SOURCES.len()],
    of: [Mutex<Told>; SOURCES.len()],
}

#[derive(Debug, Default)]
struct Told {
    up: bool,
    was_up: bool,
    /// What was said since it was up last.
    said: Vec<Kind>,
}

impl State {
    /// Whether a source answered last.
    pub fn is_up(&self, source: Source) -> bool {
        self.told(source).up
    }

    /// Failures so far.
    pub fn errors(&self, source: Source, kind: Kind) -> u64 {
        self.errors[source as usize][kind as usize].load(Ordering::Relaxed)
    }

    /// A source answers.
    pub(super) fn answers(&self, source: Source) {
        let mut told = self.told(source);
        if !std::mem::replace(&mut told.up, true) {
            let source = SOURCES[source as usize].1;
            match told.was_up || !told.said.is_empty() {
                true => tracing::info!(source, "Kubernetes answers again"),
                false => tracing::info!(source, "Kubernetes answers"),
            }
        }
        told.was_up = true;
        told.said.clear();
    }

    /// Counts something that went wrong while the source goes on.
    pub(super) fn count(&self, source: Source, kind: Kind) {
        self.errors[source as usize][kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A source does not answer.
    pub(super) fn fails(&self, source: Source, failure: &Failure) {
        self.count(source, failure.kind);
        let mut told = self.told(source);
        told.up = false;
        if !told.said.contains(&failure.kind) {
            told.said.push(failure.kind);
            let source = SOURCES[source as usize].1;
            tracing::warn!(source, error = failure.why, "{}", advice(source, failure.kind));
        }
    }

    fn told(&self, source: Source) -> std::sync::MutexGuard<'_, Told> {
        self.of[source as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is missing, and what to do.
fn advice(source: &str, kind: Kind) -> &'static str {
    match (source, kind) {
        ("pod_resources", Kind::Connect) => {
            "no GPUs by container: mount the kubelet's folder, or set kubernetes.pod_resources to its socket"
        }
        ("pod_resources", _) => "no GPUs by container: the kubelet does not tell them; it is asked again",
        (_, Kind::Account) => {
            "no names of pods: the service account cannot be used; mount its token, or set kubernetes.enabled = false"
        }
        (_, Kind::Forbidden) => {
            "no names of pods: let the service account get, list and watch pods (ClusterRole), or set \
             kubernetes.enabled = false"
        }
        (_, Kind::Unauthorized) => "no names of pods: the API server does not take the token; it is read again",
        _ => "no names of new pods: the API server does not answer; it is asked again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_counted_by_kind() {
        for (at, (kind, _)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, at);
        }
        for (at, (source, _)) in SOURCES.iter().enumerate() {
            assert_eq!(*source as usize, at);
        }
        let state = State::default();
        assert!(!state.is_up(Source::Api));
        state.answers(Source::Api);
        assert!(state.is_up(Source::Api) && !state.is_up(Source::PodResources));
        state.count(Source::Api, Kind::Expired);
        assert!(state.is_up(Source::Api));
        (0..3).for_each(|_| state.fails(Source::Api, &Failure::new(Kind::Server, "500")));
        assert!(!state.is_up(Source::Api));
        assert_eq!((state.errors(Source::Api, Kind::Server), state.errors(Source::Api, Kind::Expired)), (3, 1));
        assert_eq!(state.of[0].lock().unwrap().said, [Kind::Server], "said once");
    }
}
