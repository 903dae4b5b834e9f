//! The pods of this node as the API server tells them: listed once, then watched from there on. A watch that ends is taken
//! up where it was; one that is too old begins with a list again. What cannot be done is tried again, ever more slowly.

use std::{path::PathBuf, time::Duration};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use rustc_hash::FxHashSet;
use serde::Deserialize;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Identities, Settings, Source,
    account::get,
    failure::{Failure, Kind},
    items::{ELEMENT_BYTES, Items},
    object::{Event, ListMetadata, PodObject},
};

/// Times between attempts, and of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Before the second attempt, doubled for each further one up to `most`; also between two watches.
    pub first: Duration,
    pub most: Duration,
    /// For an answer to begin, and for its next bytes while a list is read.
    pub answer: Duration,
    /// How long the server is asked to keep a watch.
    pub watch: Duration,
    /// After a change, how long further ones are left to gather. Each would wake the thread, which costs more than to
    /// read it.
    pub gather: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let (first, gather) = (Duration::from_millis(500), Duration::from_millis(500));
        Self { first, most: seconds(60), answer: seconds(30), watch: seconds(240), gather }
    }
}

/// The longest time for a whole list.
const LIST: Duration = Duration::from_secs(300);
/// How much longer than asked for a watch may be silent.
const GRACE: Duration = Duration::from_secs(30);
/// No further bytes for so long: all that came at once was read.
const ALL_READ: Duration = Duration::from_millis(2);

/// The source of pods.
pub struct Watch<'a> {
    api: &'a str,
    account: PathBuf,
    /// Path and query of the node's pods.
    path: String,
    identities: &'a Identities,
    /// Told when a pod has changed.
    changed: &'a Notify,
    pace: Pace,
    /// How far the watch is; none: the pods must be listed.
    version: Option<String>,
    /// Whether something came since the last rest.
    changes: bool,
}

#[derive(Deserialize)]
struct ListFrame {
    metadata: ListMetadata,
}

impl<'a> Watch<'a> {
    pub fn new(settings: &'a Settings, identities: &'a Identities, changed: &'a Notify, pace: Pace) -> Self {
        // A name of a node needs no escapes.
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", settings.node);
        let account = settings.service_account.clone();
        Self { api: &settings.api, account, path, identities, changed, pace, version: None, changes: false }
    }

    /// Lists and watches for as long as it is let.
    pub async fn run(mut self) {
        let mut pause = self.pace.first;
        loop {
            let began = Instant::now();
            let ended = self.turn().await;
            // What worked for a while is not to blame for what went wrong before.
            if ended.is_ok() || began.elapsed() > self.pace.most {
                pause = self.pace.first;
            }
            let Err(failure) = ended else {
                sleep(pause).await;
                continue;
            };
            let state = self.identities.state();
            match failure.kind {
                // The server goes on: only the place in its history is gone.
                Kind::Expired => state.count(Source::Api, failure.kind),
                _ => state.fails(Source::Api, &failure),
            }
            if matches!(failure.kind, Kind::Expired | Kind::Answer | Kind::TooLarge) {
                self.version = None;
            }
            let jitter = 0.5 + fastrand::f64() / 2.0;
            sleep(pause.mul_f64(jitter).max(failure.after.unwrap_or_default())).await;
            pause = (pause * 2).min(self.pace.most);
        }
    }

    /// Lists once.
    pub(super) async fn try_list(&mut self) -> Result<(), Failure> {
        self.version = Some(self.list().await?);
        Ok(())
    }

    /// Begins to watch from there, and no more.
    pub(super) async fn try_watch(&self) -> Result<(), Failure> {
        self.get(&self.watch_query()).await.map(drop)
    }

    /// Lists if need be, and watches until the server ends it.
    async fn turn(&mut self) -> Result<(), Failure> {
        if self.version.is_none() {
            let listed = timeout(LIST, self.list()).await;
            self.version = Some(listed.map_err(|_| Failure::new(Kind::Timeout, "its list has no end"))??);
            self.identities.state().answers(Source::Api);
        }
        self.watch().await
    }

    /// All pods of the node; from which version on to watch. Version 0 lets the server answer from its memory, where it
    /// finds a node's pods without looking at all others.
    async fn list(&self) -> Result<String, Failure> {
        let mut body = self.get("&resourceVersion=0").await?;
        let (mut items, mut listed) = (Items::default(), FxHashSet::default());
        while let Some(bytes) = self.next(&mut body, Instant::now() + self.pace.answer).await? {
            items.feed(&bytes, |element| {
                let object = serde_json::from_slice::<PodObject>(element).map_err(not_understood)?;
                listed.insert(self.apply(object));
                Ok(())
            })?;
        }
        let frame: ListFrame = serde_json::from_slice(items.frame()).map_err(not_understood)?;
        self.identities.change(|table, now| table.keep(&listed, now));
        self.changed.notify_one();
        Ok(frame.metadata.resource_version)
    }

    async fn watch(&mut self) -> Result<(), Failure> {
        let mut body = self.get(&self.watch_query()).await?;
        self.identities.state().answers(Source::Api);
        let end = Instant::now() + self.pace.watch + GRACE;
        let mut line = Vec::new();
        while let Some(bytes) = self.next_gathered(&mut body, end).await? {
            for (at, part) in bytes.split(|&byte| byte == b'\n').enumerate() {
                if at > 0 {
                    self.event(&line)?;
                    line.clear();
                    line.shrink_to(ELEMENT_BYTES / 64);
                }
                line.extend_from_slice(part);
            }
            if line.len() > ELEMENT_BYTES {
                return Err(Failure::new(Kind::TooLarge, "an event of its watch is too long"));
            }
        }
        Ok(())
    }

    fn watch_query(&self) -> String {
        let version = self.version.as_deref().unwrap_or_default();
        let seconds = self.pace.watch.as_secs();
        format!("&watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}")
    }

    fn event(&mut self, line: &[u8]) -> Result<(), Failure> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let version = match serde_json::from_slice(line).map_err(not_understood)? {
            Event::Added(object) | Event::Modified(object) => {
                let version = object.version().map(str::to_owned);
                self.apply(object);
                version
            }
            Event::Deleted(object) => {
                let version = object.version().map(str::to_owned);
                self.identities.change(|table, now| table.end(&object.into_pod().uid, now));
                version
            }
            Event::Bookmark(bookmark) => {
                self.version = Some(bookmark.metadata.resource_version);
                return Ok(());
            }
            Event::Error(status) => {
                let why = format!("its watch ends: {} {} {}", status.code, status.reason, status.message);
                return Err(Failure::of_status(status.code, why, None));
            }
        };
        self.version = version.or(self.version.take());
        self.changed.notify_one();
        Ok(())
    }

    /// Takes a pod into the table; its uid.
    fn apply(&self, object: PodObject) -> String {
        let pod = object.into_pod();
        let uid = pod.uid.clone();
        let labels = self.identities.chosen(&pod.labels);
        if !self.identities.change(|table, now| table.apply(pod, labels, now)) {
            self.identities.state().count(Source::Api, Kind::Room);
        }
        uid
    }

    async fn get(&self, query: &str) -> Result<Incoming, Failure> {
        let path = format!("{}{query}", self.path);
        Ok(get(self.api, &self.account, &path, self.pace.answer).await?.into_body())
    }

    /// As `next`, of a watch: what is there at once, else after a rest.
    async fn next_gathered(&mut self, body: &mut Incoming, until: Instant) -> Result<Option<Bytes>, Failure> {
        if self.changes && !self.pace.gather.is_zero() {
            let soon = (Instant::now() + ALL_READ).min(until);
            match self.next(body, soon).await {
                Err(failure) if failure.kind == Kind::Timeout && soon < until => {}
                read => return read,
            }
            self.changes = false;
            // The thread itself: as a task alone it would be woken for every packet. The other source can wait so long.
            std::thread::sleep(self.pace.gather);
        }
        let bytes = self.next(body, until).await?;
        self.changes = true;
        Ok(bytes)
    }

    /// The next bytes of an answer; none at its end.
    async fn next(&self, body: &mut Incoming, until: Instant) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = timeout_at(until, body.frame()).await;
            match frame.map_err(|_| Failure::new(Kind::Timeout, "its answer does not go on"))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(Failure::of(Kind::Connect, &error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

fn not_understood(error: serde_json::Error) -> Failure {
    Failure::new(Kind::Answer, format!("its answer is not what Kubernetes says: {error}"))
}
