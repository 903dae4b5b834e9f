//! One JSON line per finished LLM request, written by a thread of its own: a slow disk or pipe costs counted records,
//! never the drain.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::correlate::Request;

/// Records that may wait for the writer.
const QUEUE: usize = 16_384;
/// How long a record may wait in the writer's buffer.
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// The sending side; dropping it lets the writer finish.
#[derive(Debug)]
pub struct Records {
    queue: Option<SyncSender<Arc<Request>>>,
    lost: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

impl Records {
    /// Appends to a file, or writes to standard output if `path` is `-`.
    pub fn open(path: &Path) -> Result<Self> {
        let out: Box<dyn Write + Send> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Box::new(file.with_context(|| format!("cannot open the records file {}", path.display()))?)
        };
        let (queue, received) = sync_channel::<Arc<Request>>(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let lost_here = Arc::clone(&lost);
        let writer = std::thread::Builder::new().name("records".into()).spawn(move || {
            let mut out = BufWriter::with_capacity(64 << 10, out);
            let mut failed = false;
            loop {
                let written = match received.recv_timeout(FLUSH_AFTER) {
                    Ok(request) => write_line(&mut out, &request),
                    Err(RecvTimeoutError::Timeout) => out.flush(),
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                if let Err(error) = written {
                    lost_here.fetch_add(1, Ordering::Relaxed);
                    if !std::mem::replace(&mut failed, true) {
                        tracing::error!(%error, "cannot write records; they are counted as lost from here on");
                    }
                }
            }
            let _ = out.flush();
        })?;
        Ok(Self { queue: Some(queue), lost, writer: Some(writer) })
    }

    /// Queues a record; never waits.
    pub fn send(&self, request: &Arc<Request>) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(Arc::clone(request)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts records that were not written.
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }
}

fn write_line(out: &mut impl Write, request: &Request) -> io::Result<()> {
    serde_json::to_writer(&mut *out, request)?;
    out.write_all(b"\n")
}

impl Drop for Records {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
