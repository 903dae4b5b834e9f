//! One question to each source and no more, for `inferscope check`.

use std::{io, path::Path, time::Duration};

use tokio::{sync::Notify, time::timeout};

use super::{
    Identities, Settings,
    failure::{Failure, Kind},
    pod_resources, watch,
};

/// What the sources answer.
#[derive(Debug)]
pub struct Answers {
    /// Pods of this node.
    pub list: Result<usize, Failure>,
    pub watch: Result<(), Failure>,
    /// GPUs that containers have, parts and shares of GPUs counted one by one.
    pub pod_resources: Result<usize, Failure>,
}

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks both sources; at most some seconds. Errors: the system gives no runtime.
pub fn ask(settings: &Settings) -> io::Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let ((list, watch), pod_resources) = tokio::join!(pods(settings), kubelet(&settings.pod_resources));
        Answers { list, watch, pod_resources }
    }))
}

async fn pods(settings: &Settings) -> (Result<usize, Failure>, Result<(), Failure>) {
    let identities = Identities::new(&settings.node, Vec::new());
    let changed = Notify::new();
    let pace = watch::Pace { answer: PATIENCE, ..watch::Pace::default() };
    let mut source = watch::Watch::new(settings, &identities, &changed, pace);
    let listed = in_time(source.try_list()).await;
    // Without the list's version there is nothing to watch from: the same failure.
    let watched = match &listed {
        Ok(()) => in_time(source.try_watch()).await,
        Err(failure) => Err(failure.clone()),
    };
    (listed.map(|()| identities.pods()), watched)
}

async fn kubelet(socket: &Path) -> Result<usize, Failure> {
    let answer = in_time(pod_resources::list(socket)).await?;
    Ok(pod_resources::uses(answer).len())
}

async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(PATIENCE * 2, work).await.unwrap_or_else(|_| Err(Failure::new(Kind::Timeout, "no answer in time")))
}
