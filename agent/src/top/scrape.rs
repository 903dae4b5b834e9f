//! One HTTP GET of a text, with deadlines and a bound. HTTP/1.0, so that the answer ends with the connection.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::access::{Access, Stream};

/// Where an agent serves, and as whom it is asked.
#[derive(Clone, Debug)]
pub struct Target {
    secure: bool,
    host: String,
    port: u16,
    /// Path before `/metrics`, without a slash at its end.
    prefix: String,
    pub access: Access,
}

/// Why there are no metrics, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    #[error("\"{0}\" is no address of an agent: write http://HOST:PORT or https://HOST:PORT")]
    Url(String),
    #[error("no agent answers ({0}); start one with `inferscope run`, or name it with --url")]
    Connect(io::Error),
    #[error("TLS fails: {0}; see --ca-file, --server-name and --cert-file")]
    Tls(io::Error),
    #[error("the agent wants to know who asks, or does not know who did: see --token-file and --user")]
    Unauthorized,
    #[error("the answer broke off: {0}")]
    Read(io::Error),
    #[error("the answer took longer than {} s", DEADLINE.as_secs())]
    Slow,
    #[error("the answer is longer than {MAX_BYTES} bytes")]
    Long,
    #[error("the answer is no HTTP")]
    NoHttp,
    #[error("the server answers with status {0}; is it inferscope?")]
    Status(u16),
    #[error("the metrics there are not inferscope's: name the agent's own address with --url")]
    Stranger,
}

const DEADLINE: Duration = Duration::from_secs(5);
const MAX_BYTES: usize = 64 << 20;
const MAX_HEADERS: usize = 64;

impl Target {
    /// Reads `http[s]://HOST[:PORT][/PREFIX]`; a missing port is the agent's own.
    pub fn parse(url: &str) -> Result<Self, ScrapeError> {
        let wrong = || ScrapeError::Url(url.to_owned());
        let (secure, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(wrong()),
            None => (false, url),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (authority, 9770),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(char::is_whitespace) || path.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let prefix = path.trim_end_matches('/').trim_end_matches("/metrics").to_owned();
        Ok(Target { secure, host: host.to_owned(), port, prefix, access: Access::default() })
    }

    /// Whether TLS is spoken.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The body of `path`.
    pub(super) fn get(&self, path: &str) -> Result<String, ScrapeError> {
        let ends = Instant::now() + DEADLINE;
        let mut stream = self.open()?;
        let request = format!(
            "GET {}{path} HTTP/1.0\r\nHost: {}:{}\r\nAccept: text/plain\r\n{}\r\n",
            self.prefix,
            self.host,
            self.port,
            self.access.headers()
        );
        stream.write_all(request.as_bytes()).and_then(|()| stream.flush()).map_err(failure)?;
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ScrapeError::Slow);
            }
            stream.socket().set_read_timeout(Some(left)).map_err(ScrapeError::Read)?;
            match stream.read(&mut buffer) {
                Ok(0) => return body(&answer),
                Ok(read) => answer.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failure(error)),
            }
            if answer.len() > MAX_BYTES {
                return Err(ScrapeError::Long);
            }
        }
    }

    fn open(&self) -> Result<Stream, ScrapeError> {
        let stream = self.connect().map_err(ScrapeError::Connect)?;
        stream.set_write_timeout(Some(DEADLINE)).map_err(ScrapeError::Connect)?;
        stream.set_read_timeout(Some(DEADLINE)).map_err(ScrapeError::Connect)?;
        self.access.open(stream, &self.host).map_err(|error| match failure(error) {
            ScrapeError::Read(error) => ScrapeError::Tls(error),
            other => other,
        })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, DEADLINE) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// What an error of a connection means.
fn failure(error: io::Error) -> ScrapeError {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ScrapeError::Slow,
        _ if is_tls => ScrapeError::Tls(error),
        _ => ScrapeError::Read(error),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{open}{}{close}:{}{}", self.host, self.port, self.prefix)
    }
}

fn body(answer: &[u8]) -> Result<String, ScrapeError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(answer) else { return Err(ScrapeError::NoHttp) };
    match response.code {
        Some(200) => Ok(String::from_utf8_lossy(&answer[head..]).into_owned()),
        Some(401) => Err(ScrapeError::Unauthorized),
        Some(code) => Err(ScrapeError::Status(code)),
        None => Err(ScrapeError::NoHttp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn addresses() {
        for (url, shown) in [
            ("http://127.0.0.1:9770", "http://127.0.0.1:9770"),
            ("localhost:1", "http://localhost:1"),
            ("http://host", "http://host:9770"),
            ("http://[::1]:8/metrics", "http://[::1]:8"),
            ("http://[::1]", "http://[::1]:9770"),
            ("https://[::1]:8/metrics", "https://[::1]:8"),
            ("http://proxy/node7/metrics/", "http://proxy:9770/node7"),
        ] {
            assert_eq!(Target::parse(url).unwrap().to_string(), shown);
        }
        for url in ["", "ftp://x", "http://", "https://", "http://x:port", "http://x:99999", "a b"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    fn answers(bytes: &'static [u8]) -> Result<String, ScrapeError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(bytes).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let answer = Target::parse(&format!("http://127.0.0.1:{port}")).unwrap().get("/metrics");
        assert!(server.join().unwrap().starts_with("GET /metrics HTTP/1.0\r\n"));
        answer
    }

    #[test]
    fn answers_are_read_to_their_end() {
        assert_eq!(answers(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nup 1\n").unwrap(), "up 1\n");
        assert!(matches!(answers(b"HTTP/1.1 404 Not Found\r\n\r\n"), Err(ScrapeError::Status(404))));
        assert!(matches!(answers(b"HTTP/1.1 401 Unauthorized\r\n\r\n"), Err(ScrapeError::Unauthorized)));
        assert!(matches!(answers(b"SSH-2.0-x\r\n"), Err(ScrapeError::NoHttp)));
        assert!(matches!(answers(b""), Err(ScrapeError::NoHttp)));
    }

    #[test]
    fn nobody_listens() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = Target::parse(&format!("127.0.0.1:{port}")).unwrap().get("/metrics").unwrap_err();
        assert!(matches!(error, ScrapeError::Connect(_)), "{error}");
    }
}
