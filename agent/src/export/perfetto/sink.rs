//! Packets to a file, written by a thread of its own in blocks of whole packets: a slow disk costs counted packets, and
//! what is in the file can be read at any time.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use prost::Message;
use rustix::fs::fstatvfs;

use super::proto::Packet;
use crate::tasks::Guard;

/// A block goes to the writer when it is so long.
const BLOCK_BYTES: usize = 64 << 10;
/// Blocks that may wait for the disk.
const BLOCKS: usize = 128;
/// A block that finds no room grows to so much; then packets that can be missed are.
const HELD_BYTES: usize = 8 << 20;
/// Room on the disk without which there is no use in beginning.
const LEAST_ROOM: u64 = 16 << 20;
/// Field 1 of Trace, length-delimited.
const PACKET_TAG: u8 = 0x0a;

/// An empty file for a recording. One that is there is only emptied when there is room for another. Errors: it cannot be
/// made, or the disk is all but full.
pub fn create(path: &Path) -> io::Result<File> {
    create_if_room(path, LEAST_ROOM)
}

fn create_if_room(path: &Path, least_bytes: u64) -> io::Result<File> {
    let was_there = path.exists();
    let file = File::options().write(true).create(true).truncate(false).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Ok(file);
    }
    let room = fstatvfs(&file)?;
    if room.f_bavail.saturating_mul(room.f_frsize).saturating_add(about.len()) < least_bytes {
        if !was_there {
            std::fs::remove_file(path)?;
        }
        return Err(io::ErrorKind::StorageFull.into());
    }
    file.set_len(0)?;
    Ok(file)
}

/// The packets' way into the file.
pub struct Sink {
    block: Vec<u8>,
    blocks: Option<SyncSender<Vec<u8>>>,
    writer: Option<JoinHandle<()>>,
    failed: Arc<AtomicBool>,
    error: Arc<Mutex<Option<io::Error>>>,
    /// Bytes handed over.
    pub bytes: u64,
}

impl Sink {
    /// Makes the file. Errors: it cannot be made, the disk is all but full, or there is no thread.
    pub fn create(path: &Path, guard: Guard) -> io::Result<Self> {
        let mut file = create(path)?;
        let (blocks, received) = sync_channel::<Vec<u8>>(BLOCKS);
        let (failed, error) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let (fails, told) = (Arc::clone(&failed), Arc::clone(&error));
        let writer = std::thread::Builder::new().name("timeline".into()).spawn(move || {
            let mut whole = 0;
            let written = received.iter().try_for_each(|block| {
                file.write_all(&block)?;
                whole += block.len() as u64;
                Ok(())
            });
            if let Err(error) = written {
                // A packet that is there in part makes the rest of a trace unreadable.
                let _ = file.set_len(whole);
                fails.store(true, Ordering::Relaxed);
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                // The thread's end before that of the recording would be taken for a fault of its own.
                received.iter().for_each(drop);
            }
            drop(guard);
        })?;
        Ok(Self {
            block: Vec::with_capacity(BLOCK_BYTES),
            blocks: Some(blocks),
            writer: Some(writer),
            failed,
            error,
            bytes: 0,
        })
    }

    /// Bytes so far, written or not.
    pub fn total(&self) -> u64 {
        self.bytes + self.block.len() as u64
    }

    /// Whether there is room for packets that can be missed.
    pub fn has_room(&self) -> bool {
        self.block.len() < HELD_BYTES && !self.has_failed()
    }

    /// Whether the disk refused a block: nothing more is written.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Adds a packet of a Perfetto trace.
    pub fn packet(&mut self, packet: &Packet) {
        self.put(|block| {
            block.push(PACKET_TAG);
            // A Vec takes any length.
            let _ = packet.encode_length_delimited(block);
        });
    }

    /// Adds what may not be cut in two.
    pub fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.block);
        if self.block.len() >= BLOCK_BYTES {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let Some(blocks) = &self.blocks else { return };
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES));
        let bytes = block.len() as u64;
        match blocks.try_send(block) {
            Ok(()) => self.bytes += bytes,
            Err(TrySendError::Full(block)) => self.block = block,
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// Writes what is left and waits for it. Errors: the disk's.
    pub fn finish(&mut self) -> io::Result<u64> {
        if let Some(blocks) = self.blocks.take() {
            self.bytes += self.block.len() as u64;
            let _ = blocks.send(std::mem::take(&mut self.block));
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        match self.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_room_nothing_is_made_and_nothing_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        std::fs::write(&old, "of yesterday").unwrap();
        for path in [&new, &old] {
            assert_eq!(create_if_room(path, u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        assert!(!new.exists());
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "of yesterday");
        for path in [&new, &old] {
            assert_eq!(create_if_room(path, 1).unwrap().metadata().unwrap().len(), 0);
        }
        // What has no room of its own, such as a pipe, is not asked for it.
        assert!(create_if_room(Path::new("/dev/null"), u64::MAX).is_ok());
    }
}
