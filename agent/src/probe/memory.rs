//! Another process' memory, read without stopping it: many pieces with one system call.

use std::io;

/// Pieces of one call; the kernel's limit (IOV_MAX).
pub const PIECES: usize = 1024;

/// Reads `(address, bytes)` pieces one behind the other into `into`, which is made as long as what was read. Errors:
/// the process is gone, reading is not allowed, or not every piece is there.
pub fn read(pid: u32, pieces: &[(u64, usize)], into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    for pieces in pieces.chunks(PIECES) {
        let want: usize = pieces.iter().map(|(_, bytes)| bytes).sum();
        let begin = into.len();
        into.resize(begin + want, 0);
        let local = libc::iovec { iov_base: into[begin..].as_mut_ptr().cast(), iov_len: want };
        let remote: Vec<libc::iovec> =
            pieces.iter().map(|(at, bytes)| libc::iovec { iov_base: *at as *mut _, iov_len: *bytes }).collect();
        // SAFETY: the local piece is `want` bytes of `into`; the remote ones are only addresses of another process.
        let got = unsafe {
            libc::process_vm_readv(pid as libc::pid_t, &raw const local, 1, remote.as_ptr(), remote.len() as u64, 0)
        };
        match usize::try_from(got) {
            Err(_) => return Err(io::Error::last_os_error()),
            Ok(got) if got < want => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_one_behind_the_other() {
        let (one, two) = (*b"abc", *b"defg");
        let mut into = Vec::new();
        read(std::process::id(), &[(one.as_ptr() as u64, 3), (two.as_ptr() as u64, 4)], &mut into).unwrap();
        assert_eq!(into, b"abcdefg");
        assert!(read(std::process::id(), &[(one.as_ptr() as u64, 3), (8, 4)], &mut into).is_err());
    }
}
