//! What lines are written to: a file of our own, which can be set back to its last whole line, or standard output and
//! pipes, into which only as much is written at once as they take whole.
#![forbid(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
    sync::mpsc::sync_channel,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, poll};

/// Linux: a pipe that has room takes so many bytes whole and without waiting.
const PIPE_BUF: usize = 4096;

/// An output as the writer of lines wants it.
pub trait Output: Send + 'static {
    /// Waits until there is room and writes at least one byte; how many were written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// The most bytes that one write should have.
    fn at_once(&self) -> usize;
    /// Takes the last bytes that were written back; false if they stay.
    fn take_back(&mut self, bytes: u64) -> bool;
    /// Whether it ends in half a line from before.
    fn ends_torn(&self) -> bool;
}

/// A file, a pipe, a terminal.
#[derive(Debug)]
pub struct Out {
    file: File,
    regular: bool,
    /// Nobody else writes through this description, so that its position is where our last bytes end.
    ours: bool,
    torn: bool,
}

impl Out {
    /// Appends to the file, which is made if it is not there. Errors: it cannot be opened, or is a pipe without a reader.
    pub fn append(path: &Path) -> io::Result<Self> {
        // A pipe without a reader is an error with this flag, and an endless wait without it.
        let file = OpenOptions::new().create(true).append(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let regular = file.metadata()?.is_file();
        let torn = regular && last_byte(path).is_ok_and(|byte| byte.is_some_and(|byte| byte != b'\n'));
        Ok(Out { file, regular, ours: true, torn })
    }

    /// Standard output.
    pub fn stdout() -> io::Result<Self> {
        Self::shared(io::stdout().as_fd())
    }

    /// Standard error.
    pub fn stderr() -> io::Result<Self> {
        Self::shared(io::stderr().as_fd())
    }

    /// Not through the library's buffer, whose lock a blocked writer would hold at the end of the process.
    pub(super) fn shared(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<Self> {
        let file = File::from(fd.try_clone_to_owned()?);
        Ok(Out { regular: file.metadata()?.is_file(), file, ours: false, torn: false })
    }
}

/// The last byte of a file; None if it is empty.
fn last_byte(path: &Path) -> io::Result<Option<u8>> {
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(Some(byte[0]))
}

impl Output for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if !self.regular {
                match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                result => return result,
            }
        }
    }

    fn at_once(&self) -> usize {
        if self.regular { usize::MAX / 2 } else { PIPE_BUF }
    }

    fn take_back(&mut self, bytes: u64) -> bool {
        if !self.regular || !self.ours {
            return false;
        }
        let Ok(end) = self.file.stream_position() else { return false };
        // Longer: someone else has appended since.
        let last = self.file.metadata().is_ok_and(|file| file.len() == end);
        last && self.file.set_len(end - bytes).is_ok()
    }

    fn ends_torn(&self) -> bool {
        self.torn
    }
}

/// Writes a text, and waits for that no longer than `patience`: false if it was not taken in that time. Its thread is
/// then left behind, to end with the process.
pub fn write_within(out: io::Result<Out>, text: String, patience: Duration) -> io::Result<bool> {
    let mut out = out?;
    let (done, is_done) = sync_channel(1);
    std::thread::Builder::new().name("words".into()).spawn(move || {
        let mut bytes = text.as_bytes();
        let result = loop {
            let part = &bytes[..bytes.len().min(out.at_once())];
            match out.write(part) {
                Ok(written) if written < bytes.len() => bytes = &bytes[written..],
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // Nobody waits any more when that took too long.
        let _ = done.send(result);
    })?;
    match is_done.recv_timeout(patience) {
        Ok(result) => result.map(|()| true),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_out_of_a_file_is_the_last_that_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        std::fs::write(&path, "old\nhal").unwrap();
        let mut out = Out::append(&path).unwrap();
        assert!(out.ends_torn(), "the file ends in half a line");
        assert_eq!(out.write(b"\nnew\nagain ha").unwrap(), 13);
        assert!(out.take_back(8));
        assert_eq!(out.write(b"next\n").unwrap(), 5);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\nhal\nnew\nnext\n");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"another's\n").unwrap();
        assert!(!out.take_back(5), "another process' line must not be cut");
        assert!(!Out::append(&path).unwrap().ends_torn());
    }

    #[test]
    fn a_pipe_without_a_reader_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = Out::append(&path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
        let _reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        assert!(Out::append(&path).is_ok());
    }

    #[test]
    fn a_text_is_not_waited_for_longer_than_it_may_take() {
        let (reader, writer) = io::pipe().unwrap();
        let out = || Out::shared(writer.as_fd());
        assert!(write_within(out(), "short".into(), Duration::from_secs(20)).unwrap());
        assert!(!write_within(out(), "x".repeat(1 << 20), Duration::from_millis(20)).unwrap());
        drop(reader);
        let error = write_within(out(), "unread".into(), Duration::from_secs(20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}
