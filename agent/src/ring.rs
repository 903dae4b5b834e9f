//! The ring buffer's reading end: batches, and a wait that ends on time or when much has gathered.
#![forbid(unsafe_code)]

use std::{mem::MaybeUninit, os::fd::OwnedFd, time::Duration};

use anyhow::{Context, Result};
use aya::maps::{MapData, RingBuf};
use rustix::event::{Timespec, epoll};

/// The reading end.
pub struct Ring {
    buffer: RingBuf<MapData>,
    /// Becomes ready each time that the kernel side asks for attention.
    asks: OwnedFd,
}

impl Ring {
    /// Takes over the map. Errors: no descriptor is left.
    pub fn new(buffer: RingBuf<MapData>) -> Result<Self> {
        let asks = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot wait for the ring buffer")?;
        // Level-triggered it would be ready whenever the ring holds anything at all, which under load is always.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&asks, &buffer, epoll::EventData::new_u64(0), flags).context("cannot wait for the ring buffer")?;
        Ok(Self { buffer, asks })
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

    /// Waits until the kernel side asks for attention or `patience` is over. Records do not wake by themselves, and
    /// the kernel side asks once, as the ring fills: what was left in it has to be drained first.
    pub fn wait(&self, patience: Duration) {
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; 1];
        let timeout = Timespec::try_from(patience).ok();
        // An error or a signal is a wait that ended early.
        let _ = epoll::wait(&self.asks, &mut events, timeout.as_ref());
    }
}
