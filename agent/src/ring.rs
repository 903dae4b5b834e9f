//! The ring buffer's reading end: batches, and a wait that ends on time or when much has gathered.

use std::{os::fd::AsRawFd, time::Duration};

use aya::maps::{MapData, RingBuf};

/// The reading end.
pub struct Ring {
    buffer: RingBuf<MapData>,
}

impl Ring {
    /// Takes over the map.
    pub fn new(buffer: RingBuf<MapData>) -> Self {
        Self { buffer }
    }

    /// Hands over at most `most` records; how many there were.
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        for taken in 0..most {
            match self.buffer.next() {
                Some(record) => take(&record),
                None => return taken,
            }
        }
        most
    }

    /// Waits until the kernel side asks for attention or `patience` is over. Records do not wake by themselves.
    pub fn wait(&self, patience: Duration) {
        let mut poll = libc::pollfd { fd: self.buffer.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd that lives through the call. An error or a signal is a wait that ended early.
        unsafe { libc::poll(&raw mut poll, 1, patience.as_millis() as libc::c_int) };
    }
}
