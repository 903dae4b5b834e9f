//! Where a server listens, and connections to it as plain descriptors, so that every transport reads and writes alike.

use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::Error;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::Duration;

/// `http://HOST:PORT`, `HOST:PORT`, `unix:/path` or `unix:@abstract`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(String);

impl Target {
    pub fn parse(url: &str) -> Result<Self> {
        let at = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        if at.is_empty() || url.starts_with("https://") {
            bail!("`{url}` is no address of the form http://HOST:PORT, HOST:PORT, unix:/path or unix:@name");
        }
        Ok(Self(at.to_owned()))
    }

    /// Value for the Host header.
    pub fn host(&self) -> &str {
        if self.0.starts_with("unix:") { "localhost" } else { &self.0 }
    }

    /// Path, of unix sockets that have one.
    pub fn path(&self) -> Option<&Path> {
        self.0.strip_prefix("unix:").filter(|p| !p.starts_with('@')).map(Path::new)
    }

    /// Port, of TCP addresses.
    pub fn port(&self) -> Option<u16> {
        if self.0.starts_with("unix:") { None } else { self.0.rsplit(':').next()?.parse().ok() }
    }

    /// Connects. Reads and writes that take longer than `timeout` fail.
    pub fn connect(&self, timeout: Duration) -> Result<File> {
        let fail = || format!("cannot connect to {}", self.0);
        if let Some(path) = self.0.strip_prefix("unix:") {
            let s = match path.strip_prefix('@') {
                Some(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
                None => UnixStream::connect(path),
            }
            .with_context(fail)?;
            s.set_read_timeout(Some(timeout))?;
            s.set_write_timeout(Some(timeout))?;
            return Ok(File::from(OwnedFd::from(s)));
        }
        let s = TcpStream::connect(&self.0).with_context(fail)?;
        s.set_nodelay(true)?;
        s.set_read_timeout(Some(timeout))?;
        s.set_write_timeout(Some(timeout))?;
        Ok(File::from(OwnedFd::from(s)))
    }
}

impl Target {
    /// Connects over IPv4 with a receive buffer of this size, set before the connection offers its window.
    pub fn connect_narrow(&self, timeout: Duration, receive_buffer: usize) -> Result<File> {
        let address: SocketAddrV4 =
            self.0.parse().with_context(|| format!("{} is no IPv4 address and port", self.0))?;
        // SAFETY: makes a descriptor out of integers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        ensure!(fd >= 0, "socket: {}", Error::last_os_error());
        // SAFETY: the descriptor is new and nobody else's.
        let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let bytes = receive_buffer as libc::c_int;
        // SAFETY: one int, with its size.
        let done = unsafe {
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const bytes).cast(), size)
        };
        ensure!(done == 0, "SO_RCVBUF: {}", Error::last_os_error());
        let name = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
            sin_zero: [0; 8],
        };
        // SAFETY: one address, with its size.
        let done =
            unsafe { libc::connect(fd, (&raw const name).cast(), size_of::<libc::sockaddr_in>() as libc::socklen_t) };
        ensure!(done == 0, "cannot connect to {}: {}", self.0, Error::last_os_error());
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(File::from(OwnedFd::from(stream)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_their_spellings() {
        for (url, host, port) in [
            ("http://127.0.0.1:18080", "127.0.0.1:18080", Some(18080)),
            ("http://[::1]:80/", "[::1]:80", Some(80)),
            ("localhost:1", "localhost:1", Some(1)),
            ("unix:/tmp/x", "localhost", None),
        ] {
            let t = Target::parse(url).unwrap();
            assert_eq!((t.host(), t.port()), (host, port), "{url}");
        }
        assert!(Target::parse("https://x:1").is_err());
    }
}
