//! The rules in force, and their replacement when the files have changed. A file that is wrong, or that would open what
//! was locked, changes nothing: it is said once and counted.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Rules, WebConfigError,
    read::{Gathered, Mark, gather},
};

/// How often the files are read at most: they are small, and connections are rare.
const PERIOD: Duration = Duration::from_secs(2);
/// A connection waits no longer for a disk that hangs: the rules as they were are good.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a look at the files found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Same,
    Taken,
    /// The former rules stay.
    Refused,
}

/// The rules of one file.
#[derive(Debug)]
pub struct Current {
    /// None: everyone is let in, for ever.
    path: Option<PathBuf>,
    rules: RwLock<Arc<Rules>>,
    seen: Mutex<Mark>,
    looked: Mutex<Instant>,
    looking: AtomicBool,
    taken: AtomicU64,
    refused: AtomicU64,
    /// The last look that found something new refused it.
    stale: AtomicBool,
}

impl Current {
    /// Reads the file for the first time; without one everyone is let in. Errors: the file is wrong, in all its lines.
    pub fn open(path: Option<&Path>) -> Result<Arc<Self>, WebConfigError> {
        let (mark, rules) = match path {
            Some(path) => {
                let gathered = gather(path);
                (gathered.mark, gathered.rules(1)?)
            }
            None => (Mark::default(), Rules::default()),
        };
        Ok(Arc::new(Self {
            path: path.map(Path::to_owned),
            rules: RwLock::new(Arc::new(rules)),
            seen: Mutex::new(mark),
            looked: Mutex::new(Instant::now()),
            looking: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stale: AtomicBool::new(false),
        }))
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is a file.
    pub fn has_file(&self) -> bool {
        self.path.is_some()
    }

    /// Changed files that were taken over, and that were refused.
    pub fn counts(&self) -> (u64, u64) {
        (self.taken.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Whether the files are others than those in force.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Looks at the files if it is time, off this thread; one caller at a time, the others go on with the rules as they are.
    pub async fn look_if_due(self: &Arc<Self>) {
        if self.path.is_none() || self.looked_at().elapsed() < PERIOD || self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let current = Arc::clone(self);
        let look = tokio::task::spawn_blocking(move || {
            current.look();
            current.looking.store(false, Ordering::Release);
        });
        if tokio::time::timeout(PATIENCE, look).await.is_err() {
            tracing::debug!("the web configuration takes long to be read: the former one is good meanwhile");
        }
    }

    fn looked_at(&self) -> Instant {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the files now.
    pub fn look(&self) -> Look {
        let Some(path) = &self.path else { return Look::Same };
        // Held from the first byte to the end: what was read before must not come after what was read later.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let look = self.consider(&mut seen, gather(path));
        drop(seen);
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        look
    }

    fn consider(&self, seen: &mut Mark, gathered: Gathered) -> Look {
        if gathered.mark == *seen {
            return Look::Same;
        }
        *seen = gathered.mark;
        let former = self.rules();
        let refused = match gathered.rules(former.generation + 1) {
            Ok(rules) => match rules.opens(&former) {
                None if rules.tls.is_some() != former.tls.is_some() => {
                    "TLS begins only with a start of inferscope".to_owned()
                }
                None => {
                    *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    self.stale.store(false, Ordering::Relaxed);
                    tracing::info!("the web configuration has changed and is taken over");
                    return Look::Taken;
                }
                Some(lock) => format!("it would do away with {lock}, which takes a new start of inferscope"),
            },
            Err(error) => error.to_string(),
        };
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.stale.store(true, Ordering::Relaxed);
        tracing::error!("the web configuration has changed and is not taken over, the former one stays: {refused}");
        Look::Refused
    }
}

#[cfg(test)]
#[path = "current_test.rs"]
mod tests;
