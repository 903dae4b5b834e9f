//! The connection's system calls: one reader and one writer of each family, chosen by the behaviour.

use crate::behaviour::{Behaviour, Reader, Writer};
use crate::stats::Stats;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

pub struct Socket {
    fd: OwnedFd,
    pub stats: &'static Stats,
    pub counted: bool,
}

impl Socket {
    pub fn new(fd: OwnedFd, stats: &'static Stats) -> Self {
        let on: libc::c_int = 1;
        // SAFETY: a valid option of the right size; on a unix socket the call fails and nothing depends on it.
        unsafe {
            libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), 4);
        }
        Self { fd, stats, counted: true }
    }

    pub fn set_nonblocking(&self, on: bool) {
        let raw = self.fd.as_raw_fd();
        // SAFETY: plain flag calls on a descriptor that we own.
        unsafe {
            let flags = libc::fcntl(raw, libc::F_GETFL);
            let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
            libc::fcntl(raw, libc::F_SETFL, flags);
        }
    }

    /// Goes on with a duplicate of the descriptor; the original is closed.
    pub fn duplicate(&mut self) -> Result<()> {
        // SAFETY: dup of an open descriptor; the new one is ours alone.
        let new = unsafe { libc::dup(self.fd.as_raw_fd()) };
        if new < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: `new` was just returned by dup.
        self.fd = unsafe { OwnedFd::from_raw_fd(new) };
        Ok(())
    }

    /// Closes the connection by putting another file in the descriptor's place.
    pub fn replace(&self) {
        // SAFETY: duplicates a standard stream onto a descriptor that we own.
        unsafe { libc::dup2(2, self.fd.as_raw_fd()) };
    }

    /// Closes the connection with close_range(2), and puts another file where the descriptor was.
    pub fn close_range(&self) {
        let fd = self.fd.as_raw_fd();
        // SAFETY: closes a descriptor that we own, and gives it a file again before anyone else can: the call after
        // takes this very number or, if another thread was quicker, closes what that one opened, in a test.
        unsafe {
            libc::syscall(libc::SYS_close_range, fd, fd, 0);
            libc::dup2(2, fd);
        }
    }

    /// Makes the coming close a reset.
    pub fn reset_on_close(&self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let len = size_of::<libc::linger>() as u32;
        // SAFETY: a valid option of the right size.
        unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len);
        }
    }

    /// Waits until the descriptor is ready for `events` (POLLIN, POLLOUT).
    fn wait(&self, events: libc::c_short) {
        let mut one = libc::pollfd { fd: self.fd.as_raw_fd(), events, revents: 0 };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&mut one, 1, -1) };
    }

    fn again(&self, events: libc::c_short, mut call: impl FnMut() -> isize) -> Result<usize> {
        loop {
            let n = call();
            if n >= 0 {
                return Ok(n as usize);
            }
            let error = Error::last_os_error();
            match error.kind() {
                ErrorKind::WouldBlock => self.wait(events),
                ErrorKind::Interrupted => {}
                _ => return Err(error),
            }
        }
    }

    /// Reads what is there into `buf`; 0 at the end of the stream.
    pub fn read(&self, how: &Behaviour, buf: &mut [u8]) -> Result<usize> {
        let len = buf.len().min(how.read_size);
        let buf = &mut buf[..len];
        let n = self.again(libc::POLLIN, || read_once(self.fd.as_raw_fd(), how.reader, buf))?;
        if self.counted {
            Stats::add(&self.stats.bytes_received, n as u64);
            Stats::add(&self.stats.reads, u64::from(n > 0));
        }
        Ok(n)
    }

    /// Writes all of it, cut as the behaviour says.
    pub fn write_all(&self, how: &Behaviour, bytes: &[u8]) -> Result<()> {
        let part = if how.split == 0 { 1 } else { bytes.len().div_ceil(how.split) };
        for piece in bytes.chunks(part.max(1)) {
            let mut rest = piece;
            while !rest.is_empty() {
                let n = self.again(libc::POLLOUT, || write_once(self.fd.as_raw_fd(), how.writer, how.iovecs, rest))?;
                rest = &rest[n..];
                if self.counted {
                    Stats::add(&self.stats.bytes_sent, n as u64);
                    Stats::add(&self.stats.writes, 1);
                }
            }
        }
        Ok(())
    }
}

/// The buffer in two halves, the first one small, so that a read crosses buffers.
fn halves(buf: &mut [u8]) -> [libc::iovec; 2] {
    let (a, b) = buf.split_at_mut(buf.len().min(13));
    [a, b].map(|s| libc::iovec { iov_base: s.as_mut_ptr().cast(), iov_len: s.len() })
}

fn read_once(fd: i32, reader: Reader, buf: &mut [u8]) -> isize {
    let (at, len) = (buf.as_mut_ptr().cast(), buf.len());
    let mut iov = halves(buf);
    // SAFETY: all calls fill at most the buffer, through itself or through its two halves.
    unsafe {
        match reader {
            Reader::Read => libc::read(fd, at, len),
            Reader::Recv => libc::recv(fd, at, len, 0),
            Reader::Peek => match libc::recv(fd, at, len, libc::MSG_PEEK) {
                n if n > 0 => libc::recv(fd, at, n as usize, 0),
                n => n,
            },
            Reader::Readv => libc::readv(fd, iov.as_ptr(), 2),
            Reader::Recvmsg => libc::recvmsg(fd, &mut message(&mut iov), 0),
            Reader::Recvmmsg => {
                let mut one = libc::mmsghdr { msg_hdr: message(&mut iov), msg_len: 0 };
                match libc::recvmmsg(fd, &mut one, 1, libc::MSG_WAITFORONE as _, std::ptr::null_mut()) {
                    n if n > 0 => one.msg_len as isize,
                    n => n as isize,
                }
            }
        }
    }
}

fn write_once(fd: i32, writer: Writer, iovecs: usize, bytes: &[u8]) -> isize {
    match writer {
        // SAFETY: the buffer is valid for its length.
        Writer::Write => return unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) },
        Writer::Send => {
            // SAFETY: the buffer is valid for its length.
            return unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        }
        _ => {}
    }
    let mut iov: Vec<libc::iovec> = bytes
        .chunks(bytes.len().div_ceil(iovecs))
        .map(|s| libc::iovec { iov_base: s.as_ptr().cast_mut().cast(), iov_len: s.len() })
        .collect();
    if writer == Writer::Sendmmsg {
        return send_messages(fd, &mut iov);
    }
    // SAFETY: the vectors point into `bytes` and are only read.
    unsafe {
        match writer {
            Writer::Writev => libc::writev(fd, iov.as_ptr(), iov.len() as i32),
            _ => libc::sendmsg(fd, &message(&mut iov), libc::MSG_NOSIGNAL),
        }
    }
}

fn send_messages(fd: i32, iov: &mut [libc::iovec]) -> isize {
    let mut all: Vec<libc::mmsghdr> =
        iov.chunks_mut(1).map(|one| libc::mmsghdr { msg_hdr: message(one), msg_len: 0 }).collect();
    // SAFETY: each header points to one valid vector.
    let sent = unsafe { libc::sendmmsg(fd, all.as_mut_ptr(), all.len() as u32, libc::MSG_NOSIGNAL as _) };
    if sent < 0 {
        return sent as isize;
    }
    all[..sent as usize].iter().map(|m| m.msg_len as isize).sum()
}

fn message(iov: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all-zero is a valid msghdr.
    let mut m: libc::msghdr = unsafe { std::mem::zeroed() };
    m.msg_iov = iov.as_mut_ptr();
    m.msg_iovlen = iov.len() as _;
    m
}
