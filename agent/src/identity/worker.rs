//! The thread that asks: both sources side by side on a runtime of its own. Whatever they do, nobody waits for them.

use std::{io, time::Duration};

use anyhow::Result;
use tokio::sync::{Notify, watch};

use super::{Identities, Settings, pod_resources, watch as pods};
use crate::{
    config::Kubernetes,
    tasks::{Guard, Tasks},
};

/// How often what has ended long ago is looked for.
const PRUNE: Duration = Duration::from_secs(60);

/// The running thread. Dropped, it ends by itself.
#[derive(Debug)]
pub struct Running {
    _stop: watch::Sender<()>,
}

/// When who is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    pub pods: pods::Pace,
    pub pod_resources: pod_resources::Pace,
}

/// Starts the thread if Kubernetes is on, with what the environment of this process says. Errors: something is missing
/// in the configuration, or the system refuses a thread.
pub fn begin(config: &Kubernetes, tasks: &Tasks) -> Result<Option<(Identities, Running)>> {
    let settings = Settings::of(config, |name| std::env::var(name).ok())?;
    let start = |settings| start_at(settings, tasks.guard("kubernetes"), Pace::default());
    Ok(settings.map(start).transpose()?)
}

/// Starts the thread, which has `held` until it ends. Errors: the system refuses a thread.
pub fn start_at(settings: Settings, held: Guard, pace: Pace) -> io::Result<(Identities, Running)> {
    let identities = Identities::new(&settings.node, settings.pod_labels.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, mut stopped) = watch::channel(());
    let known = identities.clone();
    std::thread::Builder::new().name("kubernetes".into()).spawn(move || {
        let _held = held;
        runtime.block_on(async {
            let changed = Notify::new();
            let work = async {
                tokio::join!(
                    pods::Watch::new(&settings, &known, &changed, pace.pods).run(),
                    pod_resources::run(&settings.pod_resources, &known, &changed, pace.pod_resources),
                    prune(&known),
                )
            };
            tokio::select! {
                _ = work => {}
                _ = stopped.changed() => {}
            }
        });
        runtime.shutdown_background();
    })?;
    Ok((identities, Running { _stop: stop }))
}

async fn prune(identities: &Identities) {
    loop {
        tokio::time::sleep(PRUNE).await;
        identities.change(|table, now| table.prune(now));
    }
}
