//! Many streams read as fast as they come, for throughput: one thread, epoll, no parsing. Chunks with content are
//! counted by the `~` that the small server puts into each.

use crate::client::Request;
use crate::clock::now_ns;
use crate::transport::Target;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// What was read, from the first request's send to the last response's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Drained {
    pub chunks: u64,
    pub bytes: u64,
    pub seconds: f64,
    /// Connections whose response ended; the others were cut by the deadline.
    pub ended: usize,
}

impl Drained {
    pub fn chunks_per_second(&self) -> f64 {
        self.chunks as f64 / self.seconds
    }
}

/// Sends `request` once on each of `connections` connections and reads until all have ended, or for `at_most`.
/// Ask for `connection: close` ([`Request::close`]): the end of a response is the end of its connection.
pub fn drain_stream(target: &Target, request: &Request, connections: usize, at_most: Duration) -> Result<Drained> {
    ensure!(request.close, "a drained request must close its connection");
    let mut open: Vec<Option<File>> = Vec::new();
    for _ in 0..connections {
        open.push(Some(target.connect(Duration::from_secs(30))?));
    }
    let poll = Epoll::new()?;
    for (i, connection) in open.iter().flatten().enumerate() {
        poll.add(connection, i as u64)?;
    }
    let start_ns = now_ns();
    for connection in open.iter_mut().flatten() {
        connection.write_all(&request.to_bytes(target.host()))?;
        set_nonblocking(connection)?;
    }
    let end_ns = start_ns + at_most.as_nanos() as u64;
    let mut out = Drained::default();
    let mut buf = vec![0; 1 << 18];
    while out.ended < connections {
        let left_ms = end_ns.saturating_sub(now_ns()) / 1_000_000;
        if left_ms == 0 {
            break;
        }
        for at in poll.ready(left_ms.min(1000) as i32)? {
            let Some(connection) = &mut open[at] else { continue };
            match connection.read(&mut buf) {
                Ok(0) => {
                    open[at] = None;
                    out.ended += 1;
                }
                Ok(n) => {
                    out.bytes += n as u64;
                    out.chunks += count_marks(&buf[..n]);
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e).context("a drained connection"),
            }
        }
    }
    out.seconds = (now_ns() - start_ns) as f64 / 1e9;
    Ok(out)
}

/// Sums of at most 255 bytes at a time, which the compiler turns into vector code.
fn count_marks(bytes: &[u8]) -> u64 {
    bytes.chunks(255).map(|c| c.iter().fold(0u8, |n, b| n + u8::from(*b == b'~')) as u64).sum()
}

fn set_nonblocking(connection: &File) -> Result<()> {
    // SAFETY: flag calls on an open descriptor.
    let done = unsafe {
        let flags = libc::fcntl(connection.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(connection.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    ensure!(done == 0, "O_NONBLOCK: {}", std::io::Error::last_os_error());
    Ok(())
}

struct Epoll(std::os::fd::OwnedFd);

impl Epoll {
    fn new() -> Result<Self> {
        use std::os::fd::FromRawFd;
        // SAFETY: a plain call; the result is checked.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        ensure!(fd >= 0, "epoll: {}", std::io::Error::last_os_error());
        // SAFETY: `fd` was just created and belongs to nobody else.
        Ok(Self(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }))
    }

    fn add(&self, connection: &File, tag: u64) -> Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: tag };
        // SAFETY: both descriptors are open and the event is valid.
        let done =
            unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, connection.as_raw_fd(), &mut event) };
        ensure!(done == 0, "epoll_ctl: {}", std::io::Error::last_os_error());
        Ok(())
    }

    fn ready(&self, timeout_ms: i32) -> Result<Vec<usize>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: the array has room for 64 events.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 64, timeout_ms) };
        if n < 0 {
            let e = std::io::Error::last_os_error();
            if e.kind() == ErrorKind::Interrupted {
                return Ok(Vec::new());
            }
            bail!("epoll_wait: {e}");
        }
        Ok(events[..n as usize].iter().map(|e| e.u64 as usize).collect())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn marks_are_counted_across_blocks() {
        let bytes: Vec<u8> = (0..10_000).map(|i| if i % 3 == 0 { b'~' } else { b'x' }).collect();
        assert_eq!(super::count_marks(&bytes), 3334);
        assert_eq!(super::count_marks(&[b'~'; 1000]), 1000);
    }
}
