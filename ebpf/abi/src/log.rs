//! What watched processes write to their output and to log files, and how much of it was not looked at.

use crate::Header;

/// Most bytes captured of one write.
pub const LOG_BYTES: usize = 8192;
/// Most bytes captured of a write to a file that was not opened for appending, while it is not known to be a log.
pub const LOG_ASKING_BYTES: usize = 512;
/// Buffers of one writev(2) that are looked at.
pub const LOG_VECTORS: u32 = 8;
/// What a record costs beside its bytes, in bytes of the limit.
pub const LOG_RECORD_COST: u64 = 128;
/// A service that was quiet may write for so long what its limit allows, at once.
pub const LOG_BURST_NS: u64 = 1_000_000_000;

/// A call that writes no log; value of [`Thread::log`](crate::Thread::log).
pub const LOG_NONE: u32 = 0;
/// Standard output or error, or the same file through another descriptor.
pub const LOG_OUTPUT: u32 = 1;
/// A file that the agent says is a log.
pub const LOG_FILE: u32 = 2;
/// A file that was opened for appending; the agent is to say whether it is a log.
pub const LOG_APPENDED: u32 = 3;
/// Another regular file, likewise.
pub const LOG_ASKING: u32 = 4;

/// Values of the map LOG_MARK from here on are the agent's answers; below, how often it was asked.
pub const LOG_MARK_FILE: u32 = 1000;
/// The file is no log.
pub const LOG_MARK_OTHER: u32 = 1001;
/// How often the agent is asked of a file before it has answered, unless that is opened for appending.
pub const LOG_ASKS: u32 = 64;

/// A regular file, for as long as it lives: numbers of inodes are given out again, with another generation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileKey {
    pub inode: u64,
    /// The kernel's dev_t.
    pub device: u32,
    pub generation: u32,
}

/// Record of [`Kind::Log`](crate::Kind::Log); `captured` bytes follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEvent {
    pub header: Header,
    /// Only where the agent is asked, else zeroes.
    pub file: FileKey,
    /// Bytes that the call wrote.
    pub written: u64,
    /// Writes of the service so far of which there is no record.
    pub skipped: u64,
    pub service: u32,
    pub fd: u32,
    pub captured: u32,
    /// A `LOG_*`.
    pub kind: u32,
}

/// What a service has written: value of the array LOG_ROW, index as in SERVICE.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogRow {
    /// Bytes written to outputs and log files.
    pub bytes: u64,
    /// Bytes of these that were not handed over.
    pub unread_bytes: u64,
    /// Writes of which there is no record.
    pub skipped: u64,
    /// When what was handed over will have been paid for, at the service's limit.
    pub paid_at_ns: u64,
}

const _: () = {
    assert!(size_of::<FileKey>() == 16 && size_of::<LogRow>() == 32);
    assert!(size_of::<LogEvent>() == 72 && size_of::<LogEvent>().is_multiple_of(8));
};
