//! What the server did, in memory shared by all its processes: the truth that an observer is measured against.
//! Requests to `/test/` are not counted.

use anyhow::{Result, bail};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[repr(C)]
pub struct Stats {
    pub connections: AtomicU64,
    pub requests: AtomicU64,
    /// Requests that an LLM dialect answered.
    pub llm_requests: AtomicU64,
    /// Responses written to their end.
    pub completed: AtomicU64,
    /// Responses ended early, on purpose or because the client went away.
    pub cut: AtomicU64,
    /// Chunks with content whose write returned.
    pub content_chunks: AtomicU64,
    pub bytes_sent: AtomicU64,
    pub bytes_received: AtomicU64,
    /// Writing system calls.
    pub writes: AtomicU64,
    /// Reading system calls that gave something.
    pub reads: AtomicU64,
    /// Source of ids.
    pub next_id: AtomicU64,
}

impl Stats {
    /// Zeroed counters that children of this process share.
    pub fn shared() -> Result<&'static Self> {
        // SAFETY: a fresh anonymous mapping, checked below, large enough, zeroed, page-aligned and never unmapped.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Self>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            bail!("no shared memory: {}", std::io::Error::last_os_error());
        }
        // SAFETY: as above; zero is a valid value of every field.
        Ok(unsafe { &*at.cast::<Self>() })
    }

    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    pub fn to_json(&self) -> String {
        let get = |c: &AtomicU64| c.load(Relaxed);
        serde_json::json!({
            "connections": get(&self.connections),
            "requests": get(&self.requests),
            "llm_requests": get(&self.llm_requests),
            "completed": get(&self.completed),
            "cut": get(&self.cut),
            "content_chunks": get(&self.content_chunks),
            "bytes_sent": get(&self.bytes_sent),
            "bytes_received": get(&self.bytes_received),
            "writes": get(&self.writes),
            "reads": get(&self.reads),
        })
        .to_string()
    }
}
