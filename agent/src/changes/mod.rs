//! Changes of watched servers, of their host and of the agent's own configuration: each is an event and is counted.
//!
//! The pipeline tells of servers that begin and end and of requests that load something; a thread of its own compares them
//! with what it knows, and looks now and then at what changes without a word: files, limits, executables, the driver.
//! A value that may be a secret is in none of it (`secrets.rs`). What the pipeline could not hand over is counted.
#![forbid(unsafe_code)]

mod compare;
mod counts;
mod exit;
mod facts;
mod files;
mod host;
mod ledger;
mod oom;
mod secrets;
mod wire;

use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub use counts::Counts;
pub use exit::Exit;
pub use facts::Reader;
pub use oom::{Evidence, Oom};
pub use secrets::{MASK, is_secret_name, looks_secret, units};
pub use wire::{Asked, Used};

use crate::{
    config,
    correlate::Request,
    discover::Found,
    events::Journal,
    poll::{cgroup::Cgroups, nvml::NvmlHandle},
    shared::Live,
    tasks::Tasks,
};
use host::Host;
use ledger::{Around, Ledger};

/// Words to the thread that may wait.
const PENDING: usize = 4096;

/// What the thread is told.
#[derive(Debug)]
pub enum Tell {
    /// A service that begins to be watched, or something new about its root process.
    Service { index: u32, service: String, found: Box<Found>, begins: bool },
    /// A process of a service ended.
    Exit { service: String, pid: u32, at_ns: u64, exit: Exit },
    /// The service of this root is not watched any more.
    LetGo { pid: u32, at_ns: u64 },
    /// A request asked for a change.
    Asked { service: String, pid: u32, at_ns: u64, asked: Asked },
    /// A key of the agent's own configuration has another value.
    Agent { key: &'static str, restart: bool },
    /// The series of a service go.
    Forget { service: String },
}

/// The way to the thread; the thread ends with the last one.
#[derive(Debug, Clone)]
pub struct Teller {
    tells: Option<SyncSender<Tell>>,
    live: Arc<Live>,
    pub oom: Arc<Oom>,
}

/// What the thread needs from elsewhere.
pub struct Needs {
    pub groups: Cgroups,
    pub journal: Arc<Journal>,
    pub counts: Arc<Counts>,
    pub live: Arc<Live>,
    pub nvml: Option<Arc<NvmlHandle>>,
}

impl Teller {
    /// Tells; never waits. What there is no room for is counted.
    pub fn tell(&self, tell: Tell) {
        if let Some(tells) = &self.tells
            && tells.try_send(tell).is_err()
        {
            self.live.changes_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells of the change that a finished request of a server asked for, if it did.
    pub fn request(&self, used: &mut Used, index: u32, request: &Request, at_ns: u64) {
        if request.role != "server" || self.tells.is_none() {
            return;
        }
        let first = used.first(index, request);
        for asked in wire::asked(request).into_iter().chain(first) {
            self.tell(Tell::Asked { service: request.service.clone(), pid: request.pid, at_ns, asked });
        }
    }
}

/// Starts the thread `changes`, without which the process cannot do; if changes are not wanted, nothing is told. Errors: the system refuses a thread.
pub fn start(
    config: &config::Changes,
    needs: Needs,
    tasks: &Tasks,
) -> std::io::Result<(Teller, Option<JoinHandle<()>>)> {
    let Needs { groups, journal, counts, live, nvml } = needs;
    let oom = Arc::new(Oom::new(groups.clone()));
    if !config.enabled {
        return Ok((Teller { tells: None, live, oom }, None));
    }
    let (tells, told) = sync_channel(PENDING);
    let around = Around {
        reader: Reader::new(config.environment.clone()),
        groups,
        oom: Arc::clone(&oom),
        journal,
        counts,
        host: Host::new(nvml),
    };
    let (mut ledger, interval, held) = (Ledger::new(around), config.interval, tasks.guard("changes"));
    let thread = std::thread::Builder::new().name("changes".into()).spawn(move || {
        let _held = held;
        run(&mut ledger, &told, interval);
    })?;
    Ok((Teller { tells: Some(tells), live, oom }, Some(thread)))
}

fn run(ledger: &mut Ledger, told: &Receiver<Tell>, interval: Duration) {
    let mut next = Instant::now() + interval;
    loop {
        match told.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(tell) => ledger.hear(tell),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next {
            ledger.look();
            next = Instant::now() + interval;
        }
    }
}
