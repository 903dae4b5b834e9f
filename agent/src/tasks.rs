//! The threads that the process cannot do without: each holds a guard, and the process learns which one ended first.
//! Whether an end was wanted is the listener's affair: it stops listening before it tells anyone to stop.
#![forbid(unsafe_code)]

use std::io;

use anyhow::{Error, Result, anyhow};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
};

/// The first end is what counts; of a few more the names may be had.
const ROOM: usize = 4;

/// Makes guards.
#[derive(Debug, Clone)]
pub struct Tasks(mpsc::Sender<&'static str>);

/// Hears of ends.
#[derive(Debug)]
pub struct Ended(mpsc::Receiver<&'static str>);

/// Held by a thread for as long as it works; tells on drop, and so in a panic too. What the thread's end makes others
/// end for must be dropped after it, or the others are blamed.
#[derive(Debug)]
pub struct Guard {
    task: &'static str,
    ended: mpsc::Sender<&'static str>,
}

/// Both ends for one process.
pub fn supervised() -> (Tasks, Ended) {
    let (ended, hears) = mpsc::channel(ROOM);
    (Tasks(ended), Ended(hears))
}

impl Tasks {
    /// A guard for the thread of this name.
    pub fn guard(&self, task: &'static str) -> Guard {
        Guard { task, ended: self.0.clone() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Without room others have told of an end; without a listener an end is wanted.
        let _ = self.ended.try_send(self.task);
    }
}

impl Ended {
    /// Done when the first task has ended; then what to say of it.
    pub async fn first(&mut self) -> Error {
        match self.0.recv().await {
            Some(task) => anyhow!(
                "the {task} thread failed, and without it the figures would be wrong: start inferscope again, and \
                 please report the messages above"
            ),
            None => std::future::pending().await,
        }
    }
}

/// The signals that `run` answers to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes them from now on. Errors: the system refuses.
    pub fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())?, hangup: signal(SignalKind::hangup())? })
    }
}

/// Waits for a signal to end, and calls `reload` at each SIGHUP. Errors: a task that ended before, or the HTTP server.
pub async fn until_end(
    signals: &mut Signals,
    ended: &mut Ended,
    server: &mut JoinHandle<Result<()>>,
    mut reload: impl FnMut(),
) -> Result<()> {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            failure = ended.first() => return Err(failure),
            served = &mut *server => {
                let failure = match served {
                    Ok(Ok(())) => anyhow!("it stopped serving"),
                    Ok(Err(error)) => error,
                    Err(panic) => panic.into(),
                };
                return Err(failure.context("the HTTP server failed: start inferscope again, and please report this"));
            }
            _ = signals.hangup.recv() => reload(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::cgroup::Cgroups;
    use crate::poll::procfs::{ProcPoller, ProcReader};
    use std::time::Duration;

    #[tokio::test]
    async fn the_first_thread_that_panics_is_named() {
        let (tasks, mut ended) = supervised();
        let lives = tasks.guard("procfs");
        let guard = tasks.guard("scout");
        let thread = std::thread::spawn(move || {
            let _guard = guard;
            panic!("as the test wants it");
        });
        assert!(thread.join().is_err());
        drop(lives);
        assert!(ended.first().await.to_string().contains("the scout thread failed"));
    }

    #[test]
    fn ends_after_the_first_need_no_room() {
        let (tasks, ended) = supervised();
        let guards: Vec<Guard> = (0..10 * ROOM).map(|_| tasks.guard("one of many")).collect();
        drop(guards);
        drop(ended);
        drop(tasks.guard("late"));
    }

    async fn ends_with(
        server: impl Future<Output = Result<()>> + Send + 'static,
        fails: Option<&'static str>,
    ) -> String {
        let (tasks, mut ended) = supervised();
        let _lives = tasks.guard("pipeline");
        let failing = fails.map(|task| {
            let guard = tasks.guard(task);
            std::thread::spawn(move || {
                let _guard = guard;
                panic!("as the test wants it");
            })
        });
        let mut signals = Signals::new().unwrap();
        let mut server = tokio::spawn(server);
        let failure = until_end(&mut signals, &mut ended, &mut server, || {}).await.unwrap_err();
        assert!(failing.is_none_or(|thread| thread.join().is_err()));
        crate::commands::in_words(&failure)
    }

    #[tokio::test]
    async fn a_task_that_dies_ends_the_process_with_its_name() {
        let said = ends_with(std::future::pending(), Some("scout")).await;
        assert!(said.contains("the scout thread failed"), "{said}");
        let said = ends_with(async { panic!("as the test wants it") }, None).await;
        assert!(said.contains("the HTTP server failed") && said.contains("panicked"), "{said}");
        let said = ends_with(async { Err(anyhow!("no more descriptors")) }, None).await;
        assert!(said.contains("the HTTP server failed") && said.contains("no more descriptors"), "{said}");
    }

    #[tokio::test]
    async fn the_poller_of_proc_tells_of_its_end() {
        let (tasks, mut ended) = supervised();
        drop(
            ProcPoller::spawn(ProcReader::new(), Cgroups::new(None), Duration::from_secs(60), tasks.guard("procfs"))
                .unwrap(),
        );
        assert!(ended.first().await.to_string().contains("the procfs thread failed"));
    }
}
