//! As whom the agent is asked, and how it must show itself. Secrets come from files, so that they are in no list of processes,
//! and are shown by nothing.

use std::{
    fmt,
    io::{self, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use crate::cli::AccessArgs;

/// Longer than any secret is.
const MOST_SECRET_BYTES: u64 = 64 << 10;

/// Read once at the start.
#[derive(Clone, Default)]
pub struct Access {
    /// Value of the header `Authorization`.
    authorization: Option<String>,
    /// None for plain HTTP.
    tls: Option<Arc<ClientConfig>>,
    server_name: Option<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access {{ authorization: {}, tls: {} }}", self.authorization.is_some(), self.tls.is_some())
    }
}

impl Access {
    /// `secure`: TLS is spoken. Errors: files that cannot be read or used.
    pub fn new(args: &AccessArgs, secure: bool) -> Result<Self> {
        if !secure && (args.ca_file.is_some() || args.cert_file.is_some() || args.server_name.is_some()) {
            bail!("--ca-file, --cert-file and --server-name are about TLS: write --url https://HOST:PORT");
        }
        let authorization = match (&args.token_file, &args.user, &args.password_file) {
            (Some(file), ..) => Some(format!("Bearer {}", secret(file, "--token-file")?)),
            (None, Some(user), Some(file)) => {
                let pair = format!("{user}:{}", secret(file, "--password-file")?);
                Some(format!("Basic {}", BASE64_STANDARD.encode(pair)))
            }
            _ => None,
        };
        let tls = secure.then(|| client(args)).transpose()?.map(Arc::new);
        Ok(Self { authorization, tls, server_name: args.server_name.clone() })
    }

    /// Header lines of a request.
    pub(super) fn headers(&self) -> String {
        self.authorization.as_ref().map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default()
    }

    /// The connection, after the handshake if there is one. Errors: TLS fails.
    pub(super) fn open(&self, mut stream: TcpStream, host: &str) -> io::Result<Stream> {
        let Some(config) = &self.tls else { return Ok(Stream::Plain(stream)) };
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, stream))))
    }
}

/// The first line of a file.
fn secret(file: &Path, option: &str) -> Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(MOST_SECRET_BYTES).read_to_string(&mut text))
        .with_context(|| format!("{option}: cannot read {}", file.display()))?;
    // A file of the agent may hold several tokens, with comments.
    let line =
        text.lines().map(|line| line.trim_end_matches('\r')).find(|line| !line.is_empty() && !line.starts_with('#'));
    match line {
        Some(line) if !line.chars().any(char::is_control) => Ok(line.to_owned()),
        _ => bail!("{option}: {} holds no line that can be sent", file.display()),
    }
}

fn client(args: &AccessArgs) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &args.ca_file {
        Some(file) => {
            for certificate in certificates(file, "--ca-file")? {
                roots.add(certificate).with_context(|| format!("--ca-file: {} cannot be used", file.display()))?;
            }
        }
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?
        .with_root_certificates(roots);
    match (&args.cert_file, &args.key_file) {
        (Some(cert), Some(key_file)) => {
            let key = PrivateKeyDer::from_pem_file(key_file).ok().with_context(|| {
                format!("--key-file: no private key in PEM can be read from {}", key_file.display())
            })?;
            let chain = certificates(cert, "--cert-file")?;
            builder.with_client_auth_cert(chain, key).context("--cert-file and --key-file do not fit each other")
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(file: &PathBuf, option: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let read = read.ok().filter(|read| !read.is_empty());
    read.with_context(|| format!("{option}: no certificates in PEM can be read from {}", file.display()))
}

/// A connection, plain or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// For timeouts.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
